"""Masks of foreground against background: whatever is not black is foreground."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...utils.image_io import MAX_PIXELS, read_color_label, read_image_header, read_label, write_png


def read_mask_values(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a foreground mask's values; of a colour picture the largest channel, of a palette the colours it shows.

    Transparent pixels are background.

    Returns:
        (H, W) uint8, uint16 or int32, 0 = background.

    Raises:
        DataError: the file is missing, damaged, no image or too large.
    """
    # The numbers of a palette say nothing: programs that shrink files put any colour first.
    palette = read_image_header(path, max_pixels).mode == "P"
    values = read_color_label(path, max_pixels) if palette else read_label(path, max_pixels)
    return values if values.ndim == 2 else values.max(axis=2)


def read_foreground(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Returns a foreground mask as (H, W) bool; errors as :func:`read_mask_values`."""
    return read_mask_values(path, max_pixels) > 0


def same_aspect(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Tells whether one (height, width) is the other one scaled, up to the rounding of a pixel of the smaller."""
    small, large = sorted((first[:2], second[:2]))
    return abs(small[0] - large[0] * small[1] / large[1]) <= 1 or abs(small[1] - large[1] * small[0] / large[0]) <= 1


def write_foreground(path: str | Path, mask: np.ndarray) -> None:
    """Writes a foreground mask (H, W) bool as a PNG file, 255 = foreground."""
    write_png(path, mask.astype(np.uint8) * 255)
