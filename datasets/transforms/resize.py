"""The fixed resize of evaluation and prediction images: aspect kept, nothing cut off, nothing padded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segfoundry.datasets.transforms.geometry import Geometry


@dataclass(frozen=True)
class ResizeLongest:
    """Makes the long side ``size`` pixels."""

    size: int

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns (height, width) after resizing."""
        factor = self.size / max(height, width)
        return max(1, round(height * factor)), max(1, round(width * factor))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Resizes an image (H, W, 3) uint8."""
        return resize(image, self.output_size(*image.shape[:2]))


@dataclass(frozen=True)
class ResizeShortest:
    """Makes the short side ``size`` pixels, or less where the long side would exceed ``limit``."""

    size: int
    limit: int

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns (height, width) after resizing."""
        factor = min(self.size / min(height, width), self.limit / max(height, width))
        return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Resizes an image (H, W, 3) uint8."""
        return resize(image, self.output_size(*image.shape[:2]))


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an image (H, W, 3) uint8 to (height, width), bilinear and antialiased."""
    return Geometry(size, 0, 0, size, size).image(image)
