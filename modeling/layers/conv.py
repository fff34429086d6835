"""Convolution blocks."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from .linear import Linear, linear


class ConvNorm(nn.Conv2d):
    """Convolution, group normalisation, activation; parameters ``weight``, ``bias`` (without norm) and ``norm.*``.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; with a norm, a multiple of 32.
        kernel_size: side of the kernel; the padding keeps the size.
        norm: "GN" (32 groups) or "" (none, then the convolution has a bias).
        activation: function applied last, or None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        norm: str = "GN",
        activation: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if norm not in ("GN", ""):
            raise ValueError(f"norm must be 'GN' or '', not {norm!r}")
        if norm and out_channels % 32:
            raise ValueError(f"group normalisation needs a multiple of 32 channels, not {out_channels}")
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=not norm)
        self.norm = nn.GroupNorm(32, out_channels) if norm else nn.Identity()
        self.activation = activation
        init_conv(self)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, out_channels, H, W)."""
        x = self.norm(super().forward(x))
        return x if self.activation is None else self.activation(x)


class PointwiseLinear(Linear):
    """A 1x1 convolution on channels-last tensors: a linear layer whose weight has the shape (O, I, 1, 1)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.weight = nn.Parameter(self.weight.detach()[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., I) to (..., O)."""
        return linear(x, self.weight.flatten(1), self.bias)


def init_conv(conv: nn.Conv2d) -> None:
    """Kaiming-uniform weights for a linear activation, zero bias (detectron2's ``c2_xavier_fill``)."""
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
