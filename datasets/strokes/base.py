"""What a stroke sampler is: the simulated hand of a user who points at an object."""

from __future__ import annotations

from typing import Protocol

import numpy as np

START_PROMPTS = ("Point", "Box", "Scribble", "Polygon", "Circle")
"""Shapes that an evaluation may start with."""


class StrokeSampler(Protocol):
    """Draws a stroke for an object.

    Samplers hold numbers only; every random choice comes from ``rng``, so that equal draws give equal strokes.
    """

    def sample(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws the stroke of one object.

        Args:
            mask: (H, W) bool, pixels of the object.
            rng: source of every random number.

        Returns:
            (H, W) bool, pixels of the stroke; at least one where the mask has one, none where it has none.
        """


def pixel_coordinates(mask: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Returns x, y (N, 2) int64 of positions (N,) in the flattened mask (H, W)."""
    rows, columns = np.divmod(pixels, mask.shape[1])
    return np.stack([columns, rows], axis=1)
