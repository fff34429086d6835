"""Small trainable modules that are inserted into a frozen network.

Each exists in a light and a dense form, and with two initialisations. "neutral" starts as the exact identity, so that
training begins from the pretrained function. "reference" is the published SEEM fine-tuning initialisation
(Kaiming-normal, fan-out), which changes the features from the first step on.

Letters in shapes: B batch, H and W rows and columns, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .linear import Linear

VARIANTS = ("light", "dense")
INITS = ("neutral", "reference")


class Adapter(nn.Module):
    """Marks a module whose parameters were inserted for fine-tuning; tables and policies go by it."""


class BottleneckAdapter(Adapter):
    """Residual bottleneck (Houlsby et al., arXiv 1902.00751): x + up(dropout(ReLU(down x))).

    Args:
        dim: channels C.
        variant: "dense" halves the channels, "light" divides them by ``ratio``.
        init: "neutral" or "reference".
        ratio: of outer to inner channels of the light variant.
    """

    def __init__(self, dim: int, variant: str = "light", init: str = "neutral", ratio: int = 4) -> None:
        super().__init__()
        check_choice(variant, init)
        hidden = bottleneck_width(dim, variant, ratio)
        self.down_proj = Linear(dim, hidden)
        self.up_proj = Linear(hidden, dim)
        self.dropout = nn.Dropout(0.1)
        init_projections(self.down_proj, self.up_proj)
        if init == "neutral":
            nn.init.zeros_(self.up_proj.weight)
            nn.init.zeros_(self.up_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., C) to (..., C)."""
        return x + self.up_proj(self.dropout(F.relu(self.down_proj(x))))


class MaskEmbeddingAdapter(Adapter):
    """Correction that is added to a mask embedding: LN(scale * up(dropout(ReLU(down(LN x))))).

    The neutral start zeroes the output norm's weight: with a zero projection instead, that norm would blow the first
    small update up to unit size.

    Args:
        dim: channels of the decoder.
        out_dim: channels of the mask embedding; default ``dim``.
        variant: "dense" halves the channels, "light" divides them by ``ratio``.
        init: "neutral" or "reference".
        ratio: of outer to inner channels of the light variant.
    """

    def __init__(
        self, dim: int, out_dim: int | None = None, variant: str = "light", init: str = "neutral", ratio: int = 4
    ) -> None:
        super().__init__()
        check_choice(variant, init)
        out_dim = dim if out_dim is None else out_dim
        hidden = bottleneck_width(dim, variant, ratio)
        self.layer_norm_input = nn.LayerNorm(dim)
        self.down_proj = Linear(dim, hidden)
        self.up_proj = Linear(hidden, out_dim)
        self.scale = nn.Parameter(torch.ones(1))
        self.layer_norm_output = nn.LayerNorm(out_dim)
        self.dropout = nn.Dropout(0.1)
        init_projections(self.down_proj, self.up_proj)
        if init == "neutral":
            nn.init.zeros_(self.layer_norm_output.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps normalised decoder states (..., dim) to a correction (..., out_dim)."""
        hidden = self.dropout(F.relu(self.down_proj(self.layer_norm_input(x))))
        return self.layer_norm_output(self.scale * self.up_proj(hidden))


class DenseSpatialAdapter(Adapter):
    """Channel gate and a strided convolution pair on feature maps; 25.5 C^2 + 2C parameters.

    y = ReLU(transposed-conv(ReLU(conv(gate(x))))), cropped to the size of x. The reference form is LN(x + y), which
    cannot be neutral; the neutral form is x + LN(y) with the norm's weight started at zero. The parameters are the
    same, so weights trained with one form belong to that form.

    Args:
        dim: channels C, at least 4.
        init: "neutral" or "reference".
    """

    def __init__(self, dim: int, init: str = "neutral") -> None:
        super().__init__()
        check_choice("dense", init)
        self.neutral = init == "neutral"
        hidden = max(dim // 4, 1)
        self.channel = nn.Sequential(
            Linear(dim, hidden, bias=False), nn.ReLU(), Linear(hidden, dim, bias=False), nn.Sigmoid()
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(dim, dim, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.ConvTranspose2d(dim, dim, 4, stride=2, padding=1, bias=False),
            nn.ReLU(),
        )
        self.norm = nn.LayerNorm(dim)
        init_projections(self.channel[0], self.channel[2], self.spatial[0], self.spatial[2])
        if self.neutral:
            nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, C) to (B, H, W, C), any H and W."""
        gated = x * self.channel(x.mean(dim=(1, 2)))[:, None, None]
        y = self.spatial(gated.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        # Halving rounds odd sizes up, so that doubling can give one row or column too many.
        y = y[:, : x.shape[1], : x.shape[2]]
        return x + self.norm(y) if self.neutral else self.norm(x + y)


class LightSpatialAdapter(Adapter):
    """Residual bottleneck with a depthwise 3x3 convolution: x + up(GELU(depthwise(down x))); 2 C^2 / ratio parameters.

    Args:
        dim: channels C.
        init: "neutral" or "reference".
        ratio: of outer to inner channels.
    """

    def __init__(self, dim: int, init: str = "neutral", ratio: int = 4) -> None:
        super().__init__()
        check_choice("light", init)
        hidden = bottleneck_width(dim, "light", ratio)
        self.down_proj = Linear(dim, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.up_proj = Linear(hidden, dim)
        init_projections(self.down_proj, self.up_proj)
        if init == "neutral":
            nn.init.zeros_(self.up_proj.weight)
            nn.init.zeros_(self.up_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, C) to (B, H, W, C)."""
        hidden = self.depthwise(self.down_proj(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.up_proj(F.gelu(hidden))


def spatial_adapter(dim: int, variant: str = "light", init: str = "neutral", ratio: int = 4) -> Adapter:
    """Returns the adapter for (B, H, W, ``dim``) feature maps; ``ratio`` matters for the light variant only."""
    check_choice(variant, init)
    return LightSpatialAdapter(dim, init, ratio) if variant == "light" else DenseSpatialAdapter(dim, init)


def bottleneck_width(dim: int, variant: str, ratio: int) -> int:
    """Returns the inner width of a bottleneck: ``dim`` / 2 (dense) or / ``ratio`` (light), at least 1."""
    return max(dim // (2 if variant == "dense" else ratio), 1)


def init_projections(*layers: nn.Module) -> None:
    """Kaiming-normal weights (fan-out, ReLU); biases keep the framework's default."""
    for layer in layers:
        nn.init.kaiming_normal_(layer.get_parameter("weight"), mode="fan_out", nonlinearity="relu")


def check_choice(variant: str, init: str) -> None:
    """Raises ValueError unless ``variant`` and ``init`` are known."""
    if variant not in VARIANTS:
        raise ValueError(f"adapter variant must be one of {VARIANTS}, not {variant!r}")
    if init not in INITS:
        raise ValueError(f"adapter init must be one of {INITS}, not {init!r}")
