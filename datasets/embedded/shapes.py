"""Shapes and textures of the embedded scenes: signed distances in, painted pixels out. Pure numpy.

A *signed distance* array (H, W) float32 holds, for each pixel centre, the distance to a shape's border in pixels,
negative inside. It gives the exact mask (< 0) and a smooth edge for the picture at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

Array = np.ndarray
Vec = tuple[float, float, float]


def rgb(values: Sequence[float]) -> Array:
    """Returns a colour as (3,) float32."""
    return np.array(values, np.float32)


def grid(height: int, width: int) -> tuple[Array, Array]:
    """Returns the x and y coordinates of pixel centres, (1, W) and (H, 1) float32."""
    x = np.arange(width, dtype=np.float32)[None] + 0.5
    return x, np.arange(height, dtype=np.float32)[:, None] + 0.5


def ellipse(x: Array, y: Array, cx: float, cy: float, rx: float, ry: float) -> Array:
    """Signed distance (approximate for rx != ry) to an axis-parallel ellipse."""
    return (np.hypot((x - cx) / rx, (y - cy) / ry) - 1) * min(rx, ry)


def box(x: Array, y: Array, x0: float, y0: float, x1: float, y1: float) -> Array:
    """Signed distance (exact inside, Chebyshev outside) to a rectangle."""
    return np.maximum(np.maximum(x0 - x, x - x1), np.maximum(y0 - y, y - y1))


def polygon(x: Array, y: Array, corners: list[tuple[float, float]]) -> Array:
    """Signed distance (exact inside) to a convex polygon whose corners go round clockwise on the screen."""
    sides = []
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = float(np.hypot(bx - ax, by - ay))
        sides.append(((by - ay) * (x - ax) - (bx - ax) * (y - ay)) / length)
    return np.maximum.reduce(np.broadcast_arrays(*sides))


def paint(image: Array, distance: Array, color: Array | Vec, strength: float = 1.0) -> None:
    """Lays a colour, (3,) or (H, W, 3), over ``image`` (H, W, 3) float32 in place, with an edge one pixel wide."""
    alpha = (np.clip(0.5 - distance, 0, 1) * strength)[..., None]
    image += alpha * (np.asarray(color, np.float32) - image)


def noise(rng: np.random.Generator, height: int, width: int, cells: float, stretch: float = 1.0) -> Array:
    """Returns smooth noise (H, W) float32 of mean 0 and deviation about 1.

    Args:
        rng: source of randomness.
        height: rows.
        width: columns.
        cells: bumps along the height.
        stretch: width of a bump in units of its height.
    """
    rows = max(2, round(cells))
    columns = max(2, round(cells * width / height / stretch))
    coarse = rng.standard_normal((rows + 1, columns + 1), dtype=np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def gradient(height: int, top: Vec, bottom: Vec, start: float, end: float) -> Array:
    """Returns colours (H, 1, 3) float32 that go from ``top`` at row ``start`` to ``bottom`` at row ``end``."""
    t = np.clip((np.arange(height, dtype=np.float32) - start) / max(end - start, 1), 0, 1)[:, None, None]
    return np.asarray(top, np.float32) * (1 - t) + np.asarray(bottom, np.float32) * t
