"""Strokes of single pixels: clicks all over an object, and the one click in its middle."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


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
            row, column = innermost_pixel(mask)
            reach = self.size // 2
            stroke[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1] = True
        return stroke


def innermost_pixel(mask: np.ndarray) -> tuple[int, int]:
    """Returns (row, column) of the pixel farthest from the background, the image's outside included.

    Args:
        mask: (H, W) bool with at least one pixel; the first of equally far ones counts.
    """
    padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    row, column = np.unravel_index(np.argmax(distance), mask.shape)
    return int(row), int(column)
