"""Large-scale jitter: the random geometry of a training image (Ghiasi et al., Copy-Paste, CVPR 2021, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .geometry import Geometry


@dataclass(frozen=True)
class LargeScaleJitter:
    """Random flip, random scale, random crop or padding to a square.

    Attributes:
        size: side of the output in pixels.
        min_scale, max_scale: the image is resized so that it just fits into a square of ``scale * size``, aspect kept,
            with the scale drawn uniformly between these.
        flip: "horizontal", "vertical" (each with probability 0.5) or "none".
    """

    size: int
    min_scale: float = 0.1
    max_scale: float = 2.0
    flip: str = "horizontal"

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Geometry:
        """Draws the geometry for an image of that size; takes four numbers from ``rng``, whatever the options."""
        flip, scale, down, across = rng.random(4)
        side = self.size * (self.min_scale + (self.max_scale - self.min_scale) * scale)
        factor = min(side / height, side / width)
        resized = (max(1, round(height * factor)), max(1, round(width * factor)))
        window = (min(resized[0], self.size), min(resized[1], self.size))
        return Geometry(
            resized=resized,
            top=round(down * (resized[0] - window[0])),
            left=round(across * (resized[1] - window[1])),
            window=window,
            canvas=(self.size, self.size),
            flip_horizontal=self.flip == "horizontal" and flip < 0.5,
            flip_vertical=self.flip == "vertical" and flip < 0.5,
        )
