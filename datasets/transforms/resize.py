"""The fixed resize of evaluation and prediction images: nothing cut off, nothing padded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from PIL import Image


class FixedResize(Protocol):
    """What every class of this file does."""

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns (height, width) after resizing."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Resizes an image (H, W, 3) uint8."""


@dataclass(frozen=True)
class ResizeLongest:
    """Makes the long side ``size`` pixels, aspect kept.

    Attributes:
        size: long side in pixels.
        bicubic: instead of bilinear.
        half_up: halves of pixels are rounded up, as Segment Anything does; False: to even numbers.
    """

    size: int
    bicubic: bool = False
    half_up: bool = False

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns (height, width) after resizing."""
        factor = self.size / max(height, width)
        if self.half_up:
            return _half_up(height * factor), _half_up(width * factor)
        return max(1, round(height * factor)), max(1, round(width * factor))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Resizes an image (H, W, 3) uint8."""
        return resize(image, self.output_size(*image.shape[:2]), self.bicubic)


@dataclass(frozen=True)
class ResizeShortest:
    """Makes the short side ``size`` pixels, or less where the long side would exceed ``limit``; aspect kept."""

    size: int
    limit: int
    bicubic: bool = False

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns (height, width) after resizing."""
        factor = min(self.size / min(height, width), self.limit / max(height, width))
        return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Resizes an image (H, W, 3) uint8."""
        return resize(image, self.output_size(*image.shape[:2]), self.bicubic)


@dataclass(frozen=True)
class ResizeStandard:
    """Stretches to one size, or fits into it; bilinear without antialiasing, as in published training on cables.

    Attributes:
        size: (height, width).
        keep_aspect: fit into ``size`` instead of stretching.
    """

    size: tuple[int, int]
    keep_aspect: bool = False

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns (height, width) after resizing."""
        if not self.keep_aspect:
            return self.size
        factor = min(self.size[0] / height, self.size[1] / width)
        return _half_up(height * factor), _half_up(width * factor)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Resizes an image (H, W, 3) uint8."""
        return resize_sampled(image, self.output_size(*image.shape[:2]))


@dataclass(frozen=True)
class ResizeTwice:
    """One resize after the other: what a network saw in training is also what it is asked about."""

    first: FixedResize
    second: FixedResize

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns (height, width) after resizing."""
        return self.second.output_size(*self.first.output_size(height, width))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Resizes an image (H, W, 3) uint8."""
        return self.second(self.first(image))


def resize(image: np.ndarray, size: tuple[int, int], bicubic: bool = False) -> np.ndarray:
    """Resizes an image (H, W, 3) or (H, W), uint8, to (height, width), bilinear or bicubic, antialiased."""
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    method = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(image).resize(size[::-1], method))


def resize_sampled(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an image (H, W, 3) or (H, W), uint8, to (height, width): each pixel from its four nearest ones."""
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


def _half_up(length: float) -> int:
    return max(1, int(length + 0.5))
