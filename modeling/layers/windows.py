"""Square attention windows over a grid of tokens.

Letters in shapes: B images, H and W rows and columns of the grid, w side of a window, n windows of an image, C
channels.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def split_windows(x: Tensor, window_size: int, fill: Tensor | None = None) -> tuple[Tensor, tuple[int, int]]:
    """Cuts a grid into windows, after padding it at the bottom and right to whole windows.

    Args:
        x: (B, H, W, C).
        window_size: side w of a window.
        fill: what the padding holds, (C,); None: zeros.

    Returns:
        Windows (B n, w, w, C), row by row; the padded H and W.
    """
    batch, height, width, channels = x.shape
    bottom, right = -height % window_size, -width % window_size
    padded_size = (height + bottom, width + right)
    if (bottom or right) and fill is not None:
        padded = fill.to(x.dtype).expand(batch, *padded_size, channels).clone()
        padded[:, :height, :width] = x
        x = padded
    else:
        x = F.pad(x, (0, 0, 0, right, 0, bottom))
    x = x.unflatten(2, (-1, window_size)).unflatten(1, (-1, window_size)).transpose(2, 3)
    return x.reshape(-1, window_size, window_size, channels), padded_size


def join_windows(windows: Tensor, window_size: int, padded_size: Sequence[int], size: Sequence[int]) -> Tensor:
    """Undoes :func:`split_windows` and drops the padding.

    Args:
        windows: (B n, w, w, C).
        window_size: side w.
        padded_size: padded H and W.
        size: H and W to keep.

    Returns:
        (B, H, W, C).
    """
    rows, columns = padded_size[0] // window_size, padded_size[1] // window_size
    x = windows.unflatten(0, (-1, rows, columns)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return x[:, : size[0], : size[1]]
