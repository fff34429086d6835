"""The affine map ``x W^T + b``, fast on processors where the framework's own product is slow.

On x86 the framework multiplies float32 matrices with Intel's MKL, which takes its slow code on processors of other
makers: half the speed of oneDNN, which does the framework's convolutions. A linear layer is a 1 x 1 convolution over
channels-last data, so there it is computed as one; names, gradients and results (to rounding) are the same.
"""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Multiplications below which the detour costs more than it saves.
_WORTHWHILE = 1_000_000


class Linear(nn.Linear):
    """``torch.nn.Linear`` by :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Maps (..., in_features) to (..., out_features)."""
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns ``x W^T + b`` like ``torch.nn.functional.linear``.

    Args:
        x: (..., C).
        weight: (D, C).
        bias: (D,) or None.

    Returns:
        (..., D).
    """
    if not _by_convolution(x, weight):
        return F.linear(x, weight, bias)
    lead, rows = x.shape[:-1], x.numel() // x.shape[-1]
    image = x.reshape(1, rows, 1, x.shape[-1]).permute(0, 3, 1, 2)  # (1, C, rows, 1), channels last in memory
    return F.conv2d(image, weight[:, :, None, None], bias).permute(0, 2, 3, 1).reshape(*lead, weight.shape[0])


def _by_convolution(x: Tensor, weight: Tensor) -> bool:
    """Whether the convolution is the faster way; depends on nothing but shapes, types and the machine."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or weight.dtype != torch.float32:
        return False
    if x.numel() * weight.shape[0] < _WORTHWHILE or torch.compiler.is_compiling():
        return False
    return not torch.is_autocast_enabled("cpu") and _slow_products()


@lru_cache(maxsize=1)
def _slow_products() -> bool:
    """Whether this machine's processor is one that MKL does not favour while oneDNN is there."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    try:
        maker = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        maker = platform.processor()
    return "AuthenticAMD" in maker
