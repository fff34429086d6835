"""Random walks with a brush: thin scribbles and the broad ones called circles.

The walk is that of Chang et al., Free-form Video Inpainting, ICCV 2019, section 3.4: a head with a speed and a
direction that both change a little from vertex to vertex.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ...utils.innermost_pixel import innermost_pixel
from .base import pixel_coordinates

JITTER = 3.0
"""Most pixels that a jittered vertex moves along each axis."""


@dataclass(frozen=True)
class Walk:
    """A kind of random walk.

    Attributes:
        vertices: least and most vertices.
        speed: most pixels from one vertex to the next.
        acceleration: most change of speed (pixels) and of direction (radians) at a vertex.
        shift: most pixels that the whole stroke is moved.
        brush: least and most width of the line, cut to whole pixels; one per stroke.
    """

    vertices: tuple[int, int]
    speed: float
    acceleration: tuple[float, float]
    shift: float
    brush: tuple[float, float]


WALKS = {
    "rand_curve": Walk((10, 30), 20, (15, 0.5), 6, (3, 10)),
    "rand_curve_small": Walk((6, 22), 12, (8, 0.5), 3, (2.5, 5)),
    "object_like": Walk((5, 30), 15, (10, 1.5), 10, (20, 50)),
    "object_like_middle": Walk((5, 15), 8, (4, 1.5), 10, (20, 50)),
    "object_like_small": Walk((5, 20), 7, (3.5, 1.5), 4, (10, 30)),
}


@dataclass(frozen=True)
class BrushStrokes:
    """Random walks that start in the object, clipped to it.

    Attributes:
        most: largest number of walks; uniformly many from 1 on.
        walks: kinds of walks, names of ``WALKS``; one is drawn per object.
        weights: their relative frequencies.
        from_middle: one walk from the object's innermost pixel; False: walks from random pixels.
    """

    most: int
    walks: Sequence[str]
    weights: Sequence[float]
    from_middle: bool = False

    def sample(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws the strokes; see :class:`~segfoundry.datasets.strokes.base.StrokeSampler`."""
        pixels = np.flatnonzero(mask)
        if not len(pixels):
            return np.zeros_like(mask)
        walk = WALKS[self.walks[weighted_choice(self.weights, rng)]]
        starts = self._starts(mask, pixels, rng)
        drawn = np.zeros(mask.shape, np.uint8)
        for line in random_walks(walk, starts, rng):
            width = int(rng.uniform(*walk.brush))
            # OpenCV makes lines of an even thickness one pixel broader, and of an odd one above 1 two.
            cv2.polylines(drawn, [np.rint(line).astype(np.int32)], isClosed=False, color=1, thickness=max(width - 1, 1))
        stroke = drawn.view(bool) & mask
        if not stroke.any():
            stroke[starts[0, 1], starts[0, 0]] = True  # the strokes were moved out of a small object
        return stroke

    def _starts(self, mask: np.ndarray, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns x, y (N, 2) where the walks begin."""
        if self.from_middle:
            row, column, _ = innermost_pixel(mask)
            return np.array([[column, row]])
        return pixel_coordinates(mask, rng.choice(pixels, int(rng.integers(1, self.most + 1))))


def random_walks(walk: Walk, starts: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Walks from each start.

    Args:
        walk: kind of walk.
        starts: (N, 2) x, y in pixels.
        rng: source of the draws.

    Returns:
        N lines (V, 2) of x, y.
    """
    count, longest = len(starts), walk.vertices[1]
    lengths = rng.integers(walk.vertices[0], longest + 1, count)
    change, turn = walk.acceleration
    angles = rng.uniform(0, 2 * math.pi, (count, 1)) + np.cumsum(rng.uniform(-turn, turn, (count, longest - 1)), axis=1)
    changes = rng.uniform(-change, change, (count, longest - 1))
    speeds = np.empty_like(changes)
    speed = rng.uniform(0, walk.speed, count)
    for vertex in range(longest - 1):
        np.clip(speed + changes[:, vertex], 0, walk.speed, out=speed)
        speeds[:, vertex] = speed
    points = np.zeros((count, longest, 2))
    points[:, 1:] = np.cumsum(np.stack([speeds * np.cos(angles), speeds * np.sin(angles)], axis=2), axis=1)
    points += (starts + _shifts(walk.shift, count, rng))[:, None]
    moved = rng.random((count, longest, 1)) < 0.5
    points += moved * rng.uniform(-JITTER, JITTER, points.shape)
    return [line[:length] for line, length in zip(points, lengths, strict=True)]


def weighted_choice(weights: Sequence[float], rng: np.random.Generator) -> int:
    """Returns a place 0..len-1, drawn by relative weights."""
    total = np.cumsum(weights)
    return int(np.searchsorted(total, rng.random() * total[-1], side="right"))


def _shifts(most: float, count: int, rng: np.random.Generator) -> np.ndarray:
    length, angle = rng.uniform(0, most, count), rng.uniform(0, 2 * math.pi, count)
    return np.stack([length * np.cos(angle), length * np.sin(angle)], axis=1)
