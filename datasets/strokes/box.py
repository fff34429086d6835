"""The box around an object, all of it painted."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class TightBox:
    """The smallest box that holds the object, filled; takes no random number."""

    def sample(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws the box; see :class:`~segfoundry.datasets.strokes.base.StrokeSampler`."""
        stroke = np.zeros_like(mask)
        left, top, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
        stroke[top : top + height, left : left + width] = True
        return stroke
