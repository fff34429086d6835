"""Between original images and SAM's input frame: images, points and boxes, with the names of the published class.

Letters in shapes: B images, H and W original size, h and w resized size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


def check_image(image: object) -> None:
    """Makes sure that an image is an array (H, W, 3) uint8 with pixels.

    Raises:
        ValueError: it is something else; says what.
    """
    if not isinstance(image, np.ndarray):
        raise ValueError(f"the image is of type {type(image).__name__}, expected an array (H, W, 3) of uint8")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"the image is {image.dtype} {image.shape}, expected uint8 (H, W, 3)")


class ResizeLongestSide:
    """Resizes so that the long side has a given length; prompts are scaled by the same factors, axis by axis.

    Args:
        target_length: length of the long side in pixels.
    """

    def __init__(self, target_length: int) -> None:
        self.target_length = target_length

    def apply_image(self, image: np.ndarray) -> np.ndarray:
        """Resizes an image (H, W, 3) uint8 to (h, w, 3) uint8: bilinear with antialias, as Pillow does.

        The published weights are made for this way.
        """
        height, width = self.get_preprocess_shape(image.shape[0], image.shape[1], self.target_length)
        if image.shape[:2] == (height, width):
            return np.array(image)
        return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))

    def apply_image_torch(self, image: Tensor) -> Tensor:
        """Resizes images (B, 3, H, W) to (B, 3, h, w); close to :meth:`apply_image`, not equal."""
        size = self.get_preprocess_shape(image.shape[-2], image.shape[-1], self.target_length)
        return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)

    def apply_coords(self, coords: np.ndarray, original_size: Sequence[int]) -> np.ndarray:
        """Maps points (..., 2) as (x, y) of an image of ``original_size`` (H, W) to the resized one, in float64."""
        return np.asarray(coords, dtype=np.float64) * np.array(self._factors(original_size))

    def apply_boxes(self, boxes: np.ndarray, original_size: Sequence[int]) -> np.ndarray:
        """Maps boxes (..., 4) as x0, y0, x1, y1 like :meth:`apply_coords`; returns (n, 4)."""
        return self.apply_coords(np.reshape(boxes, (-1, 2, 2)), original_size).reshape(-1, 4)

    def apply_coords_torch(self, coords: Tensor, original_size: Sequence[int]) -> Tensor:
        """Maps points (..., 2) like :meth:`apply_coords`, in float32."""
        factors = torch.tensor(self._factors(original_size), dtype=torch.float32, device=coords.device)
        return coords.float() * factors

    def apply_boxes_torch(self, boxes: Tensor, original_size: Sequence[int]) -> Tensor:
        """Maps boxes (..., 4) like :meth:`apply_boxes`, in float32."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> tuple[int, int]:
        """Returns (h, w): both sides scaled, rounded half up, at least 1."""
        scale = long_side_length / max(oldh, oldw)
        return max(int(oldh * scale + 0.5), 1), max(int(oldw * scale + 0.5), 1)

    def _factors(self, original_size: Sequence[int]) -> tuple[float, float]:
        """Returns w / W and h / H."""
        height, width = original_size
        new_height, new_width = self.get_preprocess_shape(height, width, self.target_length)
        return new_width / width, new_height / height
