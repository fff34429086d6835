"""Mask logits resized from the network's stride to the original image, in bands of rows.

Letters in shapes: N maps, h and w rows and columns at the network's stride, H and W at the output size.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ...layers.linear import linear

# Values of all maps together in one band, 16 MiB of float32: bounds memory on large photographs, and what one step of
# the post-processing writes is still in the processor's cache when the next one reads it.
BAND_VALUES = 2**22


class MaskResizer:
    """Bilinear to the padded input size, crop to the image, bicubic with antialias (or bilinear) to the output size.

    Each step is linear and works on rows and columns separately, so together they are one matrix for the rows and one
    for the columns. Only the maps and rows asked for are computed; the result equals the three steps up to rounding.

    Args:
        size: (h, w) of the maps.
        padded_size: (height, width) of the network's input.
        image_size: (height, width) of the image without padding.
        output_size: (H, W).
        device: where the maps are.
        antialias: the last step is bicubic with antialias; False: bilinear without.
    """

    def __init__(
        self,
        size: tuple[int, int],
        padded_size: tuple[int, int],
        image_size: tuple[int, int],
        output_size: tuple[int, int],
        device: torch.device | str = "cpu",
        *,
        antialias: bool = True,
    ) -> None:
        axes = zip(size, padded_size, image_size, output_size, strict=True)
        self.rows, self.columns = (_axis_operator(*lengths, device, antialias) for lengths in axes)  # (H, h), (W, w)
        self.output_size = output_size

    def __call__(self, maps: Tensor, rows: slice = slice(None)) -> Tensor:
        """Resizes maps (N, h, w) float32; returns the given rows of the result, (N, rows, W)."""
        return linear(self.rows[rows] @ maps, self.columns)

    def bands(self, num_maps: int) -> Iterator[slice]:
        """Yields slices of output rows, top to bottom, such that ``num_maps`` maps of a band fit in memory."""
        height, width = self.output_size
        step = max(1, BAND_VALUES // max(1, num_maps * width))
        for start in range(0, height, step):
            yield slice(start, min(start + step, height))


def _axis_operator(
    length: int, padded: int, image: int, output: int, device: torch.device | str, antialias: bool
) -> Tensor:
    """Returns the matrix (output, length) of the three steps along one axis: the steps applied to unit vectors."""
    unit = torch.eye(length, device=device)[None, None]
    resized = F.interpolate(unit, (padded, length), mode="bilinear", align_corners=False)[:, :, :image]
    mode = "bicubic" if antialias else "bilinear"
    return F.interpolate(resized, (output, length), mode=mode, align_corners=False, antialias=antialias)[0, 0]
