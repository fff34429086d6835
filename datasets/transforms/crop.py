"""Random crops that are resized to one size, as torchvision's RandomResizedCrop draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_TRIES = 10


class Window(NamedTuple):
    """A part of a picture in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, picture: np.ndarray) -> np.ndarray:
        """Returns this part of a picture (H, W, ...), without a copy."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class RandomCrop:
    """Draws a window.

    Attributes:
        scale: smallest and largest share of the picture's area.
        ratio: smallest and largest width / height.
    """

    scale: tuple[float, float]
    ratio: tuple[float, float]

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Window:
        """Draws a window of a picture of that size; the largest in its middle where the ratio never fits."""
        for _ in range(_TRIES):
            area = height * width * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return Window(int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w)
        return central_window(height, width, min(max(width / height, self.ratio[0]), self.ratio[1]))


def central_window(height: int, width: int, ratio: float) -> Window:
    """Returns the largest window of a width / height in the middle of a picture."""
    w, h = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
    return Window((height - h) // 2, (width - w) // 2, h, w)
