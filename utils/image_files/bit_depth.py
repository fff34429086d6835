"""How the values of pictures with more than 8 bits per channel become 0..255.

Cameras and microscopes store 12 bits in files of 16: what counts as white is a property of the device, which few files
say. The key INPUT.BIT_DEPTH does; with "auto" each file decides for itself, by a rule that depends on it alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ..errors import DataError

AUTO = "auto"
_DEPTHS = (8, 12, 16)
_PERCENTILE = 99.9


class DeepValues(NamedTuple):
    """Pixels of more than 8 bits.

    Attributes:
        pixels: (H, W) or (H, W, 3) RGB, uint16 of any byte order.
        declared: bits that the file says its values have, or None.
        scaled: ``pixels`` were stretched to 0..65535 by a range that the file gives; no setting changes that.
    """

    pixels: np.ndarray
    declared: int | None = None
    scaled: bool = False


class DepthReport(NamedTuple):
    """How the values of a file are read under "auto": its bits, the largest value, and the 99.9 % percentile."""

    bits: int
    largest: int
    percentile: int

    @property
    def white(self) -> int:
        """The value that becomes 255."""
        return 2**self.bits - 1


def fit_depth(largest: int) -> int:
    """Returns the fewest bits, of 8, 12 and 16, that hold a value."""
    return next(bits for bits in _DEPTHS if largest < 2**bits)


def to_8_bit(values: DeepValues, name: str | Path, bit_depth: str = AUTO) -> np.ndarray:
    """Scales values linearly, 0 to 0 and the largest value of the depth to 255.

    Args:
        values: pixels with what their file says of them.
        name: stands in errors.
        bit_depth: "auto": what the file declares, else the fewest of 8, 12 and 16 bits that hold its largest value; or
            "8", "12", "16".

    Returns:
        uint8 of the same shape.

    Raises:
        DataError: a value exceeds ``bit_depth``.
    """
    white = 2 ** _bits(values, _largest(values.pixels), name, bit_depth) - 1
    scaled = values.pixels.astype(np.uint32)
    scaled *= 255
    scaled += white // 2
    scaled //= white
    return scaled.astype(np.uint8)


def report_depth(values: DeepValues) -> DepthReport:
    """Says how "auto" reads a file."""
    largest = _largest(values.pixels)
    column = np.ascontiguousarray(values.pixels, np.uint16).reshape(-1, 1)
    counts = cv2.calcHist([column], [0], None, [65536], [0, 65536]).ravel().cumsum(dtype=np.float64)
    percentile = int(np.searchsorted(counts, _PERCENTILE / 100 * column.size))
    return DepthReport(_bits(values, largest, "", AUTO), largest, min(percentile, largest))


def _largest(pixels: np.ndarray) -> int:
    return int(pixels.max()) if pixels.size else 0


def _bits(values: DeepValues, largest: int, name: str | Path, bit_depth: str) -> int:
    if values.scaled:
        return 16
    if bit_depth == AUTO:
        # A declaration below the pixels is wrong; some programs write the tag of an earlier version of the picture.
        return max(fit_depth(largest), values.declared or 0)
    bits = int(bit_depth)
    if largest >= 2**bits:
        raise DataError(
            f"{name}: holds the value {largest}, INPUT.BIT_DEPTH {bits} allows 0..{2**bits - 1} "
            f"(INPUT.BIT_DEPTH {fit_depth(largest)} reads it)"
        )
    return bits
