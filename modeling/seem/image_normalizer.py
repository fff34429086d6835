"""From a batch of 8-bit images to the network's input.

Letters in shapes: B images, M masks, H and W rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ImageNormalizer(nn.Module):
    """Subtracts the mean, divides by the standard deviation, and pads with zeros to a multiple of a size.

    Args:
        mean: per channel, RGB 0..255.
        std: per channel, RGB 0..255.
        divisibility: both sides of the result are multiples of this.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], divisibility: int = 32) -> None:
        super().__init__()
        self.divisibility = divisibility
        # Published weights do not hold them.
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Returns float32 images (B, 3, H', W').

        Args:
            images: (B, 3, H, W) RGB 0..255, padded right and bottom with anything.
            sizes: (height, width) of each image without padding.
        """
        normalized = (images - self.mean) / self.std
        for image, (height, width) in zip(normalized, sizes, strict=True):
            # Padding comes after normalising: black is not zero then.
            image[:, height:] = 0
            image[:, :, width:] = 0
        height, width = self.padded_size((images.shape[-2], images.shape[-1]))
        return F.pad(normalized, (0, width - images.shape[-1], 0, height - images.shape[-2]))

    def padded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns (height, width) rounded up to the divisibility."""
        height, width = size
        return height + -height % self.divisibility, width + -width % self.divisibility


def pad_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Pads masks (M, H, W) right and bottom with zeros to (M, height, width)."""
    return F.pad(masks, (0, size[1] - masks.shape[2], 0, size[0] - masks.shape[1]))
