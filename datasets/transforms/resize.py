"""The fixed resize of evaluation and prediction images: aspect kept, nothing cut off, nothing padded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class ResizeLongest:
    """Makes the long side ``size`` pixels; ``bicubic`` instead of bilinear."""

    size: int
    bicubic: bool = False

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns (height, width) after resizing."""
        factor = self.size / max(height, width)
        return max(1, round(height * factor)), max(1, round(width * factor))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Resizes an image (H, W, 3) uint8."""
        return resize(image, self.output_size(*image.shape[:2]), self.bicubic)


@dataclass(frozen=True)
class ResizeShortest:
    """Makes the short side ``size`` pixels, or less where the long side would exceed ``limit``."""

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


def resize(image: np.ndarray, size: tuple[int, int], bicubic: bool = False) -> np.ndarray:
    """Resizes an image (H, W, 3) uint8 to (height, width), bilinear or bicubic, antialiased."""
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    method = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(image).resize(size[::-1], method))
