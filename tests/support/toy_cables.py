"""Drawn cables: smooth splines on smooth random backgrounds with noise, a function of the seed."""

from __future__ import annotations

import cv2
import numpy as np

from segfoundry.datasets.stream.collate import collate
from segfoundry.utils.structures.samples import Batch

from .tiny_sam import foreground_sample

SIZE = (72, 128)


def cable_batch(seed: int, count: int) -> Batch:
    """Returns images of SIZE with their cables as foreground."""
    rng = np.random.default_rng(seed)
    return collate([foreground_sample(*draw(rng), index) for index in range(count)])


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns an image (72, 128, 3) uint8 and its foreground (72, 128) bool: 1 to 3 cables, 3 to 7 pixels broad."""
    image = background(rng)
    foreground = np.zeros(SIZE, np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        mask = np.zeros(SIZE, np.uint8)
        cv2.polylines(mask, [spline(rng)], False, 1, int(rng.integers(3, 8)))
        image[mask > 0] = rng.uniform(0, 255, 3)
        foreground |= mask
    image += rng.normal(0, 8, image.shape)
    return image.clip(0, 255).astype(np.uint8), foreground > 0


def background(rng: np.random.Generator) -> np.ndarray:
    """Returns smooth random colours (72, 128, 3) float64 in 0..255."""
    coarse = rng.uniform(0, 255, (4, 6, 3))
    return cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 255)


def spline(rng: np.random.Generator, corners: int = 5, steps: int = 16) -> np.ndarray:
    """Returns points (P, 2) int32 x, y of a Catmull-Rom spline across the image."""
    height, width = SIZE
    across = np.linspace(-8, width + 8, corners) + rng.uniform(-10, 10, corners)
    points = np.stack([across, rng.uniform(4, height - 4, corners)], axis=1)
    if rng.random() < 0.5:  # from top to bottom instead
        points = points[:, ::-1] * (width / height, height / width)
    padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, steps)[:, None]
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return np.concatenate(pieces).round().astype(np.int32)
