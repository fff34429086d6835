"""The affine map ``x W^T + b``, fast on processors where the framework's own product is slow.

On x86 the framework multiplies float32 matrices with Intel's MKL, which takes its slow code on processors of other
makers: half the speed of oneDNN, which does the framework's convolutions. A linear layer is a 1 x 1 convolution over
channels-last data, so there it is computed as one; names, gradients and results (to rounding) are the same. In a
single thread the framework hands such convolutions to oneDNN only from 16 images on, so the rows are dealt out to more.
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

# In a single thread: images that the rows are dealt out to, and the fewest rows that make an image.
_IMAGES = range(16, 65)
_IMAGE_ROWS = 4


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
    count = _image_count(rows)
    if count is None:
        return F.linear(x, weight, bias)
    images = x.reshape(count, rows // count, 1, x.shape[-1]).permute(0, 3, 1, 2)  # (n, C, rows / n, 1), channels last
    return F.conv2d(images, weight[:, :, None, None], bias).permute(0, 2, 3, 1).reshape(*lead, weight.shape[0])


def _image_count(rows: int) -> int | None:
    """Returns how many images the rows are dealt out to; None: they cannot be, or are too few to be worth it."""
    if torch.get_num_threads() > 1:
        return 1
    return next((n for n in _IMAGES if rows % n == 0 and rows >= n * _IMAGE_ROWS), None)


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
