"""Focal modulation and the block around it (Focal Modulation Networks, arXiv 2203.11926), channels last.

Letters in shapes: B batch, H and W rows and columns, C channels, L focal levels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layers.conv import PointwiseLinear
from ...layers.drop_path import DropPath
from ...layers.linear import Linear
from ...layers.mlp import GELUFeedForward


class FocalModulation(nn.Module):
    """Replaces attention: each position is modulated by gated context of growing range (section 3.2 of the paper).

    Args:
        dim: channels C.
        focal_window: side of the first level's depthwise kernel; level l adds 2 l.
        focal_level: number L of depthwise levels; one global level follows.
        proj_drop: dropout of the output.
        use_postln: normalise the modulated query.
        scaling_modulator: divide the sum of the levels by L + 1.
    """

    def __init__(
        self,
        dim: int,
        focal_window: int,
        focal_level: int,
        *,
        proj_drop: float = 0.0,
        use_postln: bool = False,
        scaling_modulator: bool = False,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.focal_level = focal_level
        self.scaling_modulator = scaling_modulator
        self.f = Linear(dim, 2 * dim + focal_level + 1)
        self.h = PointwiseLinear(dim, dim)
        self.proj = Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self.focal_layers = nn.ModuleList(
            nn.Sequential(depthwise_conv(dim, focal_window + 2 * level, bias=False), nn.GELU())
            for level in range(focal_level)
        )
        self.ln = nn.LayerNorm(dim) if use_postln else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, C) to the same shape."""
        query, context, gates = self.f(x).split((self.dim, self.dim, self.focal_level + 1), dim=-1)
        # Channels-last view: the convolutions read and write it without a copy of their own.
        context = context.contiguous().permute(0, 3, 1, 2)
        gates = gates.permute(0, 3, 1, 2)
        modulator: Tensor | None = None
        for level, layer in enumerate(self.focal_layers):
            context = layer(context)
            gate = gates[:, level : level + 1]
            modulator = context * gate if modulator is None else torch.addcmul(modulator, context, gate)
        overall = F.gelu(context.mean(2, keepdim=True).mean(3, keepdim=True))
        gate = gates[:, self.focal_level :]
        modulator = overall * gate if modulator is None else torch.addcmul(modulator, overall, gate)
        if self.scaling_modulator:
            modulator = modulator / (self.focal_level + 1)
        out = query * self.h(modulator.permute(0, 2, 3, 1))
        return self.proj_drop(self.proj(self.ln(out)))


class FocalBlock(nn.Module):
    """Focal modulation and a perceptron, each with norm, layer scale and stochastic depth.

    Args:
        dim: channels C.
        modulation: the modulation of this block.
        mlp_ratio: hidden over outer channels of the perceptron.
        drop: dropout of the perceptron.
        drop_path: stochastic depth rate.
        use_postln: norm after the modulation and the perceptron instead of before.
        use_layerscale: learn a factor per channel (started at 1e-4) on both branches.
        adapter: module applied to the modulation's output, or None.
    """

    def __init__(
        self,
        dim: int,
        modulation: FocalModulation,
        *,
        mlp_ratio: float = 4.0,
        drop: float = 0.0,
        drop_path: float = 0.0,
        use_postln: bool = False,
        use_layerscale: bool = False,
        adapter: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.use_postln = use_postln
        self.norm1 = nn.LayerNorm(dim)
        self.modulation = modulation
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = GELUFeedForward(dim, int(dim * mlp_ratio), drop)
        self.drop_path = DropPath(drop_path)
        self.gamma_1 = nn.Parameter(torch.full((dim,), 1e-4)) if use_layerscale else None
        self.gamma_2 = nn.Parameter(torch.full((dim,), 1e-4)) if use_layerscale else None
        if adapter is not None:
            self.adopter_layer = adapter  # the published name of these parameters

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, C) to the same shape."""
        if self.use_postln:
            x = x + self.drop_path(scale_layer(self.gamma_1, self.norm1(self.modulate(x))))
            return x + self.drop_path(scale_layer(self.gamma_2, self.norm2(self.mlp(x))))
        x = x + self.drop_path(scale_layer(self.gamma_1, self.modulate(self.norm1(x))))
        return x + self.drop_path(scale_layer(self.gamma_2, self.mlp(self.norm2(x))))

    def modulate(self, x: Tensor) -> Tensor:
        """Applies the modulation and, if there is one, the adapter."""
        x = self.modulation(x)
        return self.adopter_layer(x) if hasattr(self, "adopter_layer") else x


class DepthwiseFocalBlock(FocalBlock):
    """The block of ``focal_dw``: a depthwise 3x3 convolution before each branch; post-norms act on the sums."""

    def __init__(self, dim: int, modulation: FocalModulation, **options) -> None:
        super().__init__(dim, modulation, **options)
        self.dw1 = depthwise_conv(dim, 3)
        self.dw2 = depthwise_conv(dim, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, C) to the same shape."""
        x = x + channels_last(self.dw1, x)
        if self.use_postln:
            x = self.norm1(x + self.drop_path(scale_layer(self.gamma_1, self.modulate(x))))
        else:
            x = x + self.drop_path(scale_layer(self.gamma_1, self.modulate(self.norm1(x))))
        x = x + channels_last(self.dw2, x)
        if self.use_postln:
            return self.norm2(x + self.drop_path(scale_layer(self.gamma_2, self.mlp(x))))
        return x + self.drop_path(scale_layer(self.gamma_2, self.mlp(self.norm2(x))))


def depthwise_conv(dim: int, kernel_size: int, bias: bool = True) -> nn.Conv2d:
    """Returns a depthwise convolution that keeps the size."""
    return nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim, bias=bias)


def channels_last(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Applies a convolution to (B, H, W, C) through a permuted view."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def scale_layer(gamma: Tensor | None, x: Tensor) -> Tensor:
    """Multiplies by the layer scale if there is one."""
    return x if gamma is None else gamma * x
