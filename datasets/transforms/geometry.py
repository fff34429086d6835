"""Resize, crop, flip and pad as one step, applied alike to images and label maps."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

PAD_VALUE = 128
"""Grey level of padded image borders, as in training of the published models."""


@dataclass(frozen=True)
class Geometry:
    """Where the pixels of an output picture come from.

    The picture is resized to ``resized``, the window is cut out, flipped, and put into the upper left corner of a
    canvas. Only the window is ever computed: enlarging by two and cutting out a quarter costs a quarter.

    Attributes:
        resized: (height, width) of the whole picture after resizing, pixels.
        top, left: upper left corner of the window in the resized picture.
        window: (height, width) of the window.
        canvas: (height, width) of the output, at least ``window``.
        flip_horizontal, flip_vertical: mirror the window.
    """

    resized: tuple[int, int]
    top: int
    left: int
    window: tuple[int, int]
    canvas: tuple[int, int]
    flip_horizontal: bool = False
    flip_vertical: bool = False

    def image(self, image: np.ndarray, fill: int = PAD_VALUE) -> np.ndarray:
        """Transforms an image with bilinear, antialiased interpolation (Pillow's, which the published models saw).

        Args:
            image: (H, W, 3) uint8.
            fill: value outside of the window.

        Returns:
            (*canvas, 3) uint8.
        """
        height, width = image.shape[:2]
        y, x = height / self.resized[0], width / self.resized[1]
        rows, columns = self.window
        if (height, width) == self.resized:
            part = image[self.top : self.top + rows, self.left : self.left + columns]
        else:
            box = (
                self.left * x,
                self.top * y,
                min((self.left + columns) * x, width),
                min((self.top + rows) * y, height),
            )
            part = np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR, box=box))
        return self._place(part, fill)

    def labels(self, labels: np.ndarray, fill: int = 0) -> np.ndarray:
        """Transforms a label map with nearest-neighbour lookup at pixel centres.

        Args:
            labels: (H, W) uint8, uint16 or int32.
            fill: value outside of the window.

        Returns:
            ``canvas`` of the same dtype.
        """
        rows = _nearest(labels.shape[0], self.resized[0], self.top, self.window[0])
        columns = _nearest(labels.shape[1], self.resized[1], self.left, self.window[1])
        return self._place(labels.take(rows, axis=0).take(columns, axis=1), fill)

    def _place(self, part: np.ndarray, fill: int) -> np.ndarray:
        if self.flip_vertical or self.flip_horizontal:
            part = cv2.flip(part, -1 if self.flip_vertical and self.flip_horizontal else int(self.flip_horizontal))
        if self.window == self.canvas:
            return np.ascontiguousarray(part)
        canvas = np.full((*self.canvas, *part.shape[2:]), fill, part.dtype)
        canvas[: self.window[0], : self.window[1]] = part
        return canvas


def _nearest(source: int, resized: int, start: int, count: int) -> np.ndarray:
    """Returns the source index under the centre of each output pixel, (count,) int64, exact in integers."""
    return (2 * np.arange(start, start + count, dtype=np.int64) + 1) * source // (2 * resized)
