"""Brings mask logits to the size of an image: the two bilinear steps of :meth:`Sam.upscale` in one.

Both steps are linear and work on rows and columns separately, so that together they are a product with two matrices
that have three or four numbers in a row: low memory, and several times faster than interpolating twice.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional as F


class MaskUpscaler:
    """Upscales masks of one image, any number of them at a time.

    Args:
        grid: rows and columns of the logits.
        side: rows and columns of the padded input of the network, to which the logits are brought first.
        input_size: (h, w) of the image in it.
        original_size: (H, W) of the image.
        device: where the logits are.
    """

    def __init__(
        self, grid: int, side: int, input_size: tuple[int, int], original_size: tuple[int, int], device: torch.device
    ) -> None:
        rows, columns = (
            _weights(grid, side, inside, out) for inside, out in zip(input_size, original_size, strict=True)
        )
        self._sparse = device.type == "cpu"  # elsewhere a dense product takes no time, and a sparse one more
        self._rows: Any = csr_array(rows.numpy()) if self._sparse else rows.to(device)
        self._columns: Any = csr_array(columns.numpy()) if self._sparse else columns.to(device)

    def columns_first(self, low_res: Tensor) -> Tensor:
        """Returns logits (N, W, H) float32 of logits (N, grid, grid): column by column, as run-length codes walk."""
        return self._product(low_res, self._rows, self._columns)

    def rows_first(self, low_res: Tensor) -> Tensor:
        """Returns logits (N, H, W) float32 of logits (N, grid, grid)."""
        return self._product(low_res.transpose(1, 2), self._columns, self._rows)

    def _product(self, low_res: Tensor, first: Any, second: Any) -> Tensor:
        """Returns ``second (first x)^T`` of each x (grid, grid)."""
        low_res = low_res.float()
        if not self._sparse:
            with torch.autocast(low_res.device.type, enabled=False):
                return second @ (first @ low_res).transpose(1, 2)
        out = torch.empty(len(low_res), second.shape[0], first.shape[0])
        for mask, result in zip(low_res.numpy(), out.numpy(), strict=True):
            result[:] = second @ np.ascontiguousarray((first @ np.ascontiguousarray(mask)).T)
        return out


@lru_cache(maxsize=8)
def mask_upscaler(
    grid: int, side: int, input_size: tuple[int, int], original_size: tuple[int, int], device: torch.device
) -> MaskUpscaler:
    """Returns a :class:`MaskUpscaler`, the same one for the same sizes."""
    return MaskUpscaler(grid, side, input_size, original_size, device)


def _weights(grid: int, side: int, inside: int, out: int) -> Tensor:
    """Returns the matrix (out, grid) of both steps along one axis: each column is what becomes of a single one."""
    padded = F.interpolate(torch.eye(grid)[:, None], side, mode="linear", align_corners=False)
    return F.interpolate(padded[..., :inside], out, mode="linear", align_corners=False)[:, 0].T.contiguous()
