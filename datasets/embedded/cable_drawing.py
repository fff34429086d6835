"""Draws cables: smooth curves with a round, lit cross-section, exact coverage and a soft shadow. numpy, OpenCV, scipy.

Letters in shapes: H and W pixels, P points of a curve. Positions are (x, y) in pixels, pixel centres at 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree

from .shapes import Array, rgb

_STEP = 0.3  # pixels between the points of a curve
_COLORS = (
    *((25, 25, 28), (235, 235, 230), (120, 122, 128), (200, 30, 30), (30, 70, 190)),
    *((240, 200, 30), (30, 140, 60), (240, 120, 20), (110, 40, 130), (60, 180, 200)),
)


@dataclass(frozen=True)
class Cable:
    """One cable.

    Attributes:
        points: (P, 2) float64, its centre line, ``_STEP`` pixels apart, ends included.
        radius: (P,) float64 pixels, half its width at each point.
        color: (3,) float32 RGB 0..255.
        stripe: (3,) float32, colour of the stripes, or None.
        period: distance of the stripes along the cable, pixels.
        gloss: strength of the highlight, 0..1.
    """

    points: Array
    radius: Array
    color: Array
    stripe: Array | None
    period: float
    gloss: float


def catmull_rom(controls: Array, per_piece: int = 64) -> Array:
    """Returns points of the Catmull-Rom spline through control points (E. Catmull and R. Rom, 1974; tension 1/2).

    Args:
        controls: (K, 2) float, K >= 2; the curve passes all of them, the outermost ones included.
        per_piece: points per pair of neighbours.

    Returns:
        ((K - 1) * per_piece + 1, 2) float64.
    """
    first, last = 2 * controls[0] - controls[1], 2 * controls[-1] - controls[-2]  # mirrored: no bend at the ends
    p = np.vstack([first, controls, last])
    t = np.arange(per_piece)[:, None] / per_piece
    pieces = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
        pieces.append(b + 0.5 * t * ((c - a) + t * ((2 * a - 5 * b + 4 * c - d) + t * (3 * (b - c) + d - a))))
    return np.vstack([*pieces, controls[-1:]])


def evenly(points: Array, step: float) -> Array:
    """Returns points of a polyline (P, 2) at equal distances along it, about ``step`` apart, both ends included."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    places = np.linspace(0, along[-1], max(2, round(along[-1] / step) + 1))
    return np.stack([np.interp(places, along, points[:, axis]) for axis in (0, 1)], axis=1)


def random_cable(rng: np.random.Generator, height: int, width: int) -> Cable:
    """Draws a cable's course and looks at random; it runs from one border of the image to another or ends inside."""
    start, end = _ends(rng, height, width)
    count = int(rng.integers(1, 4))
    t = (np.arange(1, count + 1) + rng.uniform(-0.2, 0.2, count))[:, None] / (count + 1)
    sideways = rng.normal(0, 0.2 * height, (count, 2))
    controls = np.vstack([start, start + t * (end - start) + sideways, end])
    points = evenly(catmull_rom(controls), _STEP)
    wide = height * rng.uniform(0.025, 0.055)
    waves = np.sin(np.linspace(0, rng.uniform(1, 5), len(points)) + rng.uniform(0, 6.3))
    color = rgb(_COLORS[int(rng.integers(len(_COLORS)))]) * np.float32(rng.uniform(0.85, 1.1))
    striped = rng.random() < 0.25
    return Cable(
        points=points,
        radius=wide * (1 + rng.uniform(0, 0.2) * waves),
        color=color.clip(8, 250) + rng.normal(0, 5, 3).astype(np.float32),
        stripe=rgb(_COLORS[int(rng.integers(len(_COLORS)))]) if striped else None,
        period=wide * rng.uniform(3, 8),
        gloss=rng.uniform(0.1, 0.8),
    )


def draw_cable(image: Array, cable: Cable, light: Array) -> Array:
    """Paints a cable with its shadow over an image.

    Args:
        image: (H, W, 3) float32 RGB 0..255, changed in place.
        cable: what to paint.
        light: (3,) float, direction towards the light in x, y and towards the viewer, of length 1.

    Returns:
        (H, W) float32, how much of each pixel the cable covers, 0..1.
    """
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width] + 0.5
    distance, nearest = cKDTree(cable.points).query(np.stack([columns, rows], axis=-1).reshape(-1, 2))
    radius = cable.radius[nearest]
    coverage = np.clip(radius - distance + 0.5, 0, 1).reshape(height, width).astype(np.float32)
    _cast_shadow(image, coverage, cable, light)
    inside = np.flatnonzero(coverage)
    offset = np.stack([columns, rows], axis=-1).reshape(-1, 2)[inside] - cable.points[nearest[inside]]
    colors = _shaded(cable, offset, nearest[inside], light)
    flat = image.reshape(-1, 3)
    flat[inside] += coverage.reshape(-1, 1)[inside] * (colors - flat[inside])
    return coverage


def _ends(rng: np.random.Generator, height: int, width: int) -> tuple[Array, Array]:
    """Returns a start on one border and an end on another one, or, one time in four, inside."""
    sides = rng.permutation(4)
    points = []
    for side in sides[:2]:
        along = rng.uniform(0.1, 0.9)
        x, y = ((along, -0.05), (along, 1.05), (-0.05, along), (1.05, along))[side]
        points.append(np.array([x * width, y * height]))
    if rng.random() < 0.25:
        points[1] = rng.uniform(0.2, 0.8, 2) * (width, height)
    return points[0], points[1]


def _cast_shadow(image: Array, coverage: Array, cable: Cable, light: Array) -> None:
    """Darkens what lies away from the light beside the cable."""
    reach = float(cable.radius.mean()) * 0.9
    shift = np.array([[1, 0, -light[0] * reach], [0, 1, -light[1] * reach]], np.float32)
    shadow = cv2.warpAffine(coverage, shift, coverage.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    image *= 1 - 0.5 * cv2.GaussianBlur(shadow, (0, 0), max(0.5, 0.4 * reach))[..., None]


def _shaded(cable: Cable, offset: Array, place: Array, light: Array) -> Array:
    """Returns colours (N, 3) of points of the cable: Phong's model on a cylinder.

    Args:
        cable: the cable.
        offset: (N, 2) from the nearest point of the centre line, pixels.
        place: (N,) index of that point.
        light: as in :func:`draw_cable`.
    """
    across = offset / cable.radius[place][:, None]
    across /= np.maximum(np.hypot(*across.T), 1)[:, None]  # pixels half outside, and beyond the ends
    depth = np.sqrt(1 - np.minimum((across**2).sum(axis=1), 1))
    facing = across @ light[:2] + depth * light[2]
    mirrored = 2 * facing * depth - light[2]  # the part of the reflected light that goes to the viewer
    colors = np.repeat(cable.color[None], len(offset), axis=0)
    if cable.stripe is not None:
        tangent = np.gradient(cable.points, axis=0)[place]
        side = np.sign(tangent[:, 0] * offset[:, 1] - tangent[:, 1] * offset[:, 0])
        turn = np.arccos(np.clip(depth, 0, 1)) * side  # angle around the cylinder: the stripe is a helix
        colors[np.sin(2 * np.pi * place * _STEP / cable.period + turn) > 0.5] = cable.stripe
    colors *= (0.42 + 0.68 * np.clip(facing, 0, 1))[:, None].astype(np.float32)
    return colors + (cable.gloss * 190 * np.clip(mirrored, 0, 1) ** 12)[:, None].astype(np.float32)
