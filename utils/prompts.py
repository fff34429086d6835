"""What a user points at: points, boxes, scribbles, polygons and circles, in pixels of the original image.

Coordinates are x (to the right), y (down) from the upper left corner of the displayed image, so the pixel of column c
and row r covers c <= x < c + 1 and r <= y < r + 1; the integers of an array index are inside their pixel. A network
takes prompts as strokes, sets of pixels of its (resized) input; :func:`rasterize` makes them.

Letters in shapes: N objects, H and W rows and columns of the original image, h and w those of the network's input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

import cv2
import numpy as np

from .errors import UserError
from .structures.requests import Strokes

Size: TypeAlias = tuple[int, int]
"""(height, width)"""

POINT_SIDE = 3
"""Side of the square of input pixels that a point covers, as the simulated clicks of training and evaluation do."""

_LARGEST_RADIUS = 1e9  # more than any image; squares of larger numbers could overflow
_FRACTION_BITS = 4  # OpenCV draws polygons at sixteenths of a pixel
_FRACTION = 1 << _FRACTION_BITS


class PromptError(UserError):
    """A prompt is empty, degenerate, not finite, or outside the image."""


@dataclass(frozen=True)
class Point:
    """A click at (x, y)."""

    name: ClassVar[str] = "point"
    x: float
    y: float
    positive: bool = True

    def vertices(self) -> list[tuple[float, float]]:
        """Returns the positions that must lie in the image."""
        return [(self.x, self.y)]

    def check(self) -> None:
        """Refuses a shape without extent: a point is never one."""

    def draw(self, canvas: np.ndarray, scale: tuple[float, float]) -> None:
        """Sets the stroke's pixels of ``canvas`` (h, w) uint8 to 1; ``scale``: input pixels per pixel in x and y."""
        row, column = _pixel(canvas, self.x * scale[0], self.y * scale[1])
        reach = POINT_SIDE // 2
        canvas[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1] = 1


@dataclass(frozen=True)
class Box:
    """A rectangle from (x0, y0) to (x1, y1); all of it is painted, as SEEM takes boxes."""

    name: ClassVar[str] = "box"
    x0: float
    y0: float
    x1: float
    y1: float
    positive: bool = True

    def vertices(self) -> list[tuple[float, float]]:
        """Returns the positions that must lie in the image."""
        return [(self.x0, self.y0), (self.x1, self.y1)]

    def check(self) -> None:
        """Refuses a shape without extent."""
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            found = f"{self.x0:g},{self.y0:g},{self.x1:g},{self.y1:g}"
            raise PromptError(f"box {found} has no area; expected x0,y0,x1,y1 with x0 < x1 and y0 < y1")

    def draw(self, canvas: np.ndarray, scale: tuple[float, float]) -> None:
        """Sets the pixels whose centre lies in the box; the middle one where there is none."""
        columns = slice(*(math.ceil(x * scale[0] - 0.5) for x in (self.x0, self.x1)))
        rows = slice(*(math.ceil(y * scale[1] - 0.5) for y in (self.y0, self.y1)))
        if columns.start < columns.stop and rows.start < rows.stop:
            canvas[rows, columns] = 1
        else:
            middle = ((self.x0 + self.x1) / 2 * scale[0], (self.y0 + self.y1) / 2 * scale[1])
            _line(canvas, np.array([[self.x0 * scale[0], self.y0 * scale[1]], [*middle]]), 1)
            _line(canvas, np.array([[*middle], [self.x1 * scale[0], self.y1 * scale[1]]]), 1)


@dataclass(frozen=True)
class Scribble:
    """A line through ``points`` (x, y), ``width`` pixels broad; one point is a dot."""

    name: ClassVar[str] = "scribble"
    points: Sequence[tuple[float, float]]
    positive: bool = True
    width: float = 5.0

    def vertices(self) -> list[tuple[float, float]]:
        """Returns the positions that must lie in the image."""
        return list(self.points)

    def check(self) -> None:
        """Refuses a shape without extent."""
        if not math.isfinite(self.width) or self.width <= 0:
            raise PromptError(f"scribble of width {self.width:g}; expected more than 0 pixels")

    def draw(self, canvas: np.ndarray, scale: tuple[float, float]) -> None:
        """Sets the pixels under the line, which is at least one input pixel broad."""
        width = self.width * math.sqrt(scale[0] * scale[1])
        _line(canvas, np.asarray(self.points, np.float64) * scale, max(1, round(min(width, 32767.0))))


@dataclass(frozen=True)
class Polygon:
    """The area within the closed line through ``points`` (x, y)."""

    name: ClassVar[str] = "polygon"
    points: Sequence[tuple[float, float]]
    positive: bool = True

    def vertices(self) -> list[tuple[float, float]]:
        """Returns the positions that must lie in the image."""
        return list(self.points)

    def check(self) -> None:
        """Refuses a shape without extent."""
        corners = np.asarray(self.points, np.float64)
        if len({tuple(p) for p in self.points}) < 3:
            raise PromptError(f"polygon with {len(self.points)} corners; expected at least three different ones")
        if np.linalg.matrix_rank(corners - corners[0], tol=1e-6) < 2:
            raise PromptError("polygon whose corners lie on one line; expected an area")

    def draw(self, canvas: np.ndarray, scale: tuple[float, float]) -> None:
        """Sets the pixels within the line and under it."""
        cv2.fillPoly(canvas, [_fixed_point(np.asarray(self.points, np.float64) * scale)], 1, shift=_FRACTION_BITS)
        if not canvas.any():  # a polygon thinner than a pixel at the border
            _line(canvas, np.asarray(self.points, np.float64) * scale, 1)


@dataclass(frozen=True)
class Circle:
    """The disc around (x, y); its centre must lie in the image, its rim need not."""

    name: ClassVar[str] = "circle"
    x: float
    y: float
    radius: float
    positive: bool = True

    def vertices(self) -> list[tuple[float, float]]:
        """Returns the positions that must lie in the image."""
        return [(self.x, self.y)]

    def check(self) -> None:
        """Refuses a shape without extent."""
        if not math.isfinite(self.radius) or self.radius <= 0:
            raise PromptError(f"circle of radius {self.radius:g}; expected more than 0 pixels")

    def draw(self, canvas: np.ndarray, scale: tuple[float, float]) -> None:
        """Sets the pixels whose centre lies in the disc, and the one that holds its centre."""
        height, width = canvas.shape
        columns = (np.arange(width) + 0.5) / scale[0] - self.x
        rows = (np.arange(height) + 0.5) / scale[1] - self.y
        canvas[(rows**2)[:, None] + columns**2 <= min(float(self.radius), _LARGEST_RADIUS) ** 2] = 1
        canvas[_pixel(canvas, self.x * scale[0], self.y * scale[1])] = 1


Prompt: TypeAlias = Point | Box | Scribble | Polygon | Circle


def check_prompt(prompt: Prompt, size: Size) -> None:
    """Refuses a prompt that says nothing about an image.

    Args:
        prompt: the prompt.
        size: (H, W) of the original image.

    Raises:
        PromptError: it is no prompt, empty, degenerate, not finite, or outside the image.
    """
    if not isinstance(prompt, Prompt):
        raise PromptError(
            f"found {type(prompt).__name__}, expected Point, Box, Scribble, Polygon or Circle of "
            "segfoundry.utils.prompts"
        )
    height, width = size
    vertices = [_position(prompt.name, vertex) for vertex in prompt.vertices()]
    if not vertices:
        raise PromptError(f"{prompt.name} without points: an empty stroke says nothing; give at least one x, y pair")
    for x, y in vertices:
        if not (math.isfinite(x) and math.isfinite(y)):
            raise PromptError(f"{prompt.name} at {x:g},{y:g}: expected finite numbers")
        if not (0 <= x <= width and 0 <= y <= height):
            fits = 0 <= x <= height and 0 <= y <= width
            swapped = " (x goes to the right and y down; are they swapped?)" if fits else ""
            raise PromptError(
                f"{prompt.name} at {x:g},{y:g} is outside the image, which is {width} wide and {height} high{swapped}"
            )
    try:
        prompt.check()
    except TypeError as error:
        raise PromptError(f"{prompt.name}: expected numbers, found {str(prompt)[:100]}") from error


def scaled(prompt: Prompt, scale: tuple[float, float]) -> Prompt:
    """Returns a prompt in the pixels of a resized image.

    Args:
        prompt: in pixels of the original image.
        scale: resized over original, in x and y; widths and radii take the geometric mean.
    """
    mean = math.sqrt(scale[0] * scale[1])
    if isinstance(prompt, Box):
        x0, x1, y0, y1 = prompt.x0 * scale[0], prompt.x1 * scale[0], prompt.y0 * scale[1], prompt.y1 * scale[1]
        return replace(prompt, x0=x0, y0=y0, x1=x1, y1=y1)
    if isinstance(prompt, Point):
        return replace(prompt, x=prompt.x * scale[0], y=prompt.y * scale[1])
    if isinstance(prompt, Circle):
        return replace(prompt, x=prompt.x * scale[0], y=prompt.y * scale[1], radius=prompt.radius * mean)
    points = tuple((x * scale[0], y * scale[1]) for x, y in prompt.points)
    if isinstance(prompt, Scribble):
        return replace(prompt, points=points, width=prompt.width * mean)
    return replace(prompt, points=points)


def _position(name: str, vertex: Any) -> tuple[float, float]:
    """Returns a position as two floats; PromptError for anything else."""
    try:
        x, y = vertex
        if not any(isinstance(number, (str, bytes)) for number in (x, y)):
            return float(x), float(y)
    except (TypeError, ValueError, OverflowError):
        pass
    raise PromptError(f"{name}: a position is two numbers (x, y), found {str(vertex)[:60]}")


def rasterize(objects: Sequence[Sequence[Prompt]], original_size: Size, input_size: Size) -> Strokes:
    """Draws the prompts of several objects at the size of the network's input.

    Every prompt covers at least one pixel. Where prompts of one object contradict each other, the later one holds.

    Args:
        objects: the prompts of N objects, in the order they were given.
        original_size: (H, W) that the coordinates refer to.
        input_size: (h, w) of the network's input without padding.

    Returns:
        Strokes of numpy arrays (N, h, w) bool; no pixel is positive and negative.

    Raises:
        PromptError: a prompt is empty, degenerate, not finite or outside the image, or an object has none.
    """
    positive = np.zeros((len(objects), *input_size), bool)
    negative = np.zeros_like(positive)
    scale = (input_size[1] / original_size[1], input_size[0] / original_size[0])
    for number, prompts in enumerate(objects):
        if not prompts:
            raise PromptError(f"object {number + 1} of {len(objects)} has no prompt; give it a point or another shape")
        for prompt in prompts:
            check_prompt(prompt, original_size)
            canvas = np.zeros(input_size, np.uint8)
            prompt.draw(canvas, scale)
            drawn = canvas.view(bool)
            said, denied = (positive, negative) if prompt.positive else (negative, positive)
            said[number] |= drawn
            denied[number] &= ~drawn
    return Strokes(positive, negative)


def _pixel(canvas: np.ndarray, x: float, y: float) -> tuple[int, int]:
    """Returns (row, column) of the pixel that holds a position; the last one for the far border."""
    return min(int(y), canvas.shape[0] - 1), min(int(x), canvas.shape[1] - 1)


def _fixed_point(points: np.ndarray) -> np.ndarray:
    """Returns positions (P, 2) as OpenCV's fixed-point numbers; its pixels have their centres at whole numbers."""
    return np.round((points - 0.5) * _FRACTION).astype(np.int32)


def _line(canvas: np.ndarray, points: np.ndarray, width: int) -> None:
    """Draws a line through positions (P, 2), ``width`` pixels broad, and the pixel that holds each of them."""
    corners = _fixed_point(points if len(points) > 1 else np.repeat(points, 2, axis=0))
    # OpenCV makes lines of an even thickness one pixel broader, and of an odd one above 1 two.
    cv2.polylines(canvas, [corners], False, 1, max(width - 1, 1), cv2.LINE_8, _FRACTION_BITS)
    for x, y in points:
        canvas[_pixel(canvas, x, y)] = 1
