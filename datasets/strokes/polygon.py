"""A smooth closed line through some pixels of an object."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from .base import pixel_coordinates

RADIUS = 0.2
"""Length of a Bezier handle, as a share of the distance between its two corners."""
EDGINESS = 0.05
"""0: smoothest; large: the curve keeps the direction of the side that it leaves."""
SAMPLES = 100
"""Points of the curve per side."""


@dataclass(frozen=True)
class ClosedCurve:
    """A closed Bezier curve, one pixel wide, through 1 to ``most`` pixels of the object, ordered around their mean.

    Between its corners the curve may leave the object. One corner gives one pixel.

    Attributes:
        most: largest number of corners.
    """

    most: int = 9

    def sample(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws the curve; see :class:`~segfoundry.datasets.strokes.base.StrokeSampler`."""
        stroke = np.zeros(mask.shape, np.uint8)
        pixels = np.flatnonzero(mask)
        if len(pixels):
            count = min(int(rng.integers(1, self.most + 1)), len(pixels))
            corners = pixel_coordinates(mask, rng.choice(pixels, count, replace=False))
            stroke[corners[:, 1], corners[:, 0]] = 1
            line = np.rint(closed_curve(by_angle(corners.astype(float)))).astype(np.int32)
            cv2.polylines(stroke, [line], isClosed=True, color=1)
        return stroke.view(bool)


def by_angle(corners: np.ndarray) -> np.ndarray:
    """Returns corners (N, 2) in the order of their angle around their mean."""
    offset = corners - corners.mean(axis=0)
    return corners[np.argsort(np.arctan2(offset[:, 1], offset[:, 0]), kind="stable")]


def closed_curve(corners: np.ndarray) -> np.ndarray:
    """Joins corners by cubic Bezier curves with common tangents.

    Args:
        corners: (N, 2) x, y in order.

    Returns:
        (N * ``SAMPLES``, 2) points x, y.
    """
    ends = np.roll(corners, -1, axis=0)
    side = ends - corners
    leaving = np.arctan2(side[:, 1], side[:, 0]) % (2 * math.pi)
    arriving = np.roll(leaving, 1)
    # A corner's tangent lies between the directions of its two sides, on the shorter way around.
    weight = math.atan(EDGINESS) / math.pi + 0.5
    tangent = weight * leaving + (1 - weight) * arriving + math.pi * (np.abs(arriving - leaving) > math.pi)
    handle = RADIUS * np.linalg.norm(side, axis=1)[:, None] * _directions(tangent)
    end_handle = RADIUS * np.linalg.norm(side, axis=1)[:, None] * _directions(np.roll(tangent, -1))
    t = np.linspace(0, 1, SAMPLES)[:, None]
    basis = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])  # (4, samples, 1)
    controls = np.stack([corners, corners + handle, ends - end_handle, ends])  # (4, N, 2)
    return np.einsum("kso,knc->nsc", basis, controls).reshape(-1, 2)


def _directions(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)
