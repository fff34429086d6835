"""From what a user draws to what SAM takes: points with labels and at most one box per object.

Letters in shapes: N objects, K points of an object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ....utils.prompts import Box, Circle, Point, Polygon, Prompt, Scribble
from ....utils.structures.requests import Prompts, Strokes

FOREGROUND, BACKGROUND = 1, 0
SCRIBBLE_POINTS = 5
"""Most points that stand for a scribble."""


@dataclass(frozen=True)
class ObjectPrompt:
    """What is said about one object, in pixels of the network's input.

    Attributes:
        points: K positions (x, y).
        labels: of each: 1 on the object, 0 not on it.
        box: corners (x0, y0, x1, y1), or None.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None

    @property
    def form(self) -> tuple[int, bool]:
        """Number of points and whether there is a box: prompts of one form can be answered together."""
        return len(self.points), self.box is not None


def object_prompts(prompts: Prompts) -> list[ObjectPrompt]:
    """Returns what is said about each of the N objects: from the shapes, else from the pixels of the strokes."""
    if prompts.shapes:
        return [from_shapes(shapes) for shapes in prompts.shapes]
    return [] if prompts.strokes is None else from_strokes(prompts.strokes)


def from_shapes(shapes: Sequence[Prompt]) -> ObjectPrompt:
    """Translates the shapes of one object.

    A point stays one. Of positive boxes the last one counts: the network takes one per object. A positive polygon or
    circle is its bounding box and the point in its middle; a scribble a few points along it; a negative area the point
    in its middle.
    """
    points: list[tuple[float, float]] = []
    labels: list[int] = []
    box = None
    for shape in shapes:
        if isinstance(shape, Box) and shape.positive:
            box = (shape.x0, shape.y0, shape.x1, shape.y1)
            continue
        if isinstance(shape, Polygon | Circle) and shape.positive:
            box = _bounds(shape)
        found = _points(shape)
        points += found
        labels += [FOREGROUND if shape.positive else BACKGROUND] * len(found)
    return ObjectPrompt(tuple(points), tuple(labels), box)


def from_strokes(strokes: Strokes) -> list[ObjectPrompt]:
    """Translates strokes (N, h, w) without known shapes: each connected piece is the point in its middle."""
    found = []
    for positive, negative in zip(_array(strokes.positive), _array(strokes.negative), strict=True):
        on, off = _middles(positive), _middles(negative)
        found.append(ObjectPrompt((*on, *off), (FOREGROUND,) * len(on) + (BACKGROUND,) * len(off)))
    return found


def _points(shape: Prompt) -> list[tuple[float, float]]:
    """Returns the points (x, y) that stand for a shape."""
    if isinstance(shape, Point | Circle):
        return [(shape.x, shape.y)]
    if isinstance(shape, Box):
        return [((shape.x0 + shape.x1) / 2, (shape.y0 + shape.y1) / 2)]
    if isinstance(shape, Scribble):
        return _along(np.asarray(shape.points, np.float64))
    return [_innermost(np.asarray(shape.points, np.float64))]


def _along(corners: np.ndarray) -> list[tuple[float, float]]:
    """Returns points at equal distances on the line through ``corners`` (P, 2), the ends left out."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    if lengths[-1] == 0:
        return [(float(corners[0, 0]), float(corners[0, 1]))]
    places = lengths[-1] * (np.arange(SCRIBBLE_POINTS) + 0.5) / SCRIBBLE_POINTS
    return [(float(np.interp(p, lengths, corners[:, 0])), float(np.interp(p, lengths, corners[:, 1]))) for p in places]


def _innermost(corners: np.ndarray) -> tuple[float, float]:
    """Returns the point of a polygon (P, 2) that is farthest from its line, to about a hundredth of its size."""
    low = corners.min(axis=0)
    side = float(max((corners.max(axis=0) - low).max(), 1e-6))
    scale = 100.0 / side
    canvas = np.zeros((104, 104), np.uint8)
    cv2.fillPoly(canvas, [np.round((corners - low) * scale + 2).astype(np.int32)], 1)
    distance = cv2.distanceTransform(canvas, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return float(low[0] + (column - 2) / scale), float(low[1] + (row - 2) / scale)


def _bounds(shape: Polygon | Circle) -> tuple[float, float, float, float]:
    if isinstance(shape, Circle):
        return shape.x - shape.radius, shape.y - shape.radius, shape.x + shape.radius, shape.y + shape.radius
    corners = np.asarray(shape.points, np.float64)
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return x0, y0, x1, y1


def _middles(mask: np.ndarray) -> list[tuple[float, float]]:
    """Returns the centre (x, y), in indices, of each connected piece of a mask (h, w) bool."""
    count, _, _, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return [(float(x), float(y)) for x, y in centres[1:count]]


def _array(stroke: Any) -> np.ndarray:
    return stroke if isinstance(stroke, np.ndarray) else stroke.cpu().numpy()
