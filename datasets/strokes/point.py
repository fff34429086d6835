"""Strokes of single pixels: clicks all over an object, and the one click in its middle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...utils.innermost_pixel import innermost_pixel


@dataclass(frozen=True)
class RandomPoints:
    """Uniformly many (1 to ``most``) different random pixels of the object, not dilated.

    Attributes:
        most: largest number of pixels.
    """

    most: int = 20

    def sample(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws the pixels; see :class:`~segfoundry.datasets.strokes.base.StrokeSampler`."""
        stroke = np.zeros_like(mask)
        pixels = np.flatnonzero(mask)
        if len(pixels):
            count = min(int(rng.integers(1, self.most + 1)), len(pixels))
            stroke.ravel()[rng.choice(pixels, count, replace=False)] = True
        return stroke


@dataclass(frozen=True)
class InnermostPoint:
    """One click where the object is thickest; takes no random number.

    Attributes:
        size: side of the square click in pixels, odd.
    """

    size: int = 3

    def sample(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws the click, whose rim may leave the object; see :class:`RandomPoints`."""
        stroke = np.zeros_like(mask)
        if mask.any():
            row, column, _ = innermost_pixel(mask)
            reach = self.size // 2
            stroke[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1] = True
        return stroke
