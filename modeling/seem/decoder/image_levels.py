"""What the decoder needs of an image, whatever the prompts: computed once, used in every layer and every round.

Letters in shapes: B images, C channels of the decoder, D mask width, H and W rows and columns at stride 4, h and w
those of one level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...layers.position import sine_position_encoding

NUM_LEVELS = 3


@dataclass
class ImageLevel:
    """One feature map, ready for cross-attention.

    Attributes:
        keys: (B, h * w, C) features with positions added.
        values: (B, h * w, C) features.
        mask_features: (B, D, h * w) mask features brought to this resolution, without gradient.
        size: (h, w).
    """

    keys: Tensor
    values: Tensor
    mask_features: Tensor
    size: tuple[int, int]

    def map(self) -> Tensor:
        """Returns the features as a map (B, C, h, w)."""
        return self.values.transpose(1, 2).unflatten(2, self.size)


@dataclass
class DecoderFeatures:
    """Images as the decoder reads them (``QueryDecoder.prepare``).

    Attributes:
        levels: coarse to fine; layer i reads level i modulo their number.
        mask_features: (B, D, H, W) features at stride 4.
        projected: per layer of the decoder, keys and values (B, heads, h * w, C / heads) of its cross-attention; None:
            each pass projects anew.
    """

    levels: list[ImageLevel]
    mask_features: Tensor
    projected: list[tuple[Tensor, Tensor]] | None = None

    def select(self, images: Sequence[int]) -> DecoderFeatures:
        """Returns the given images, in this order; one may be taken several times."""
        rows = torch.as_tensor(images, device=self.mask_features.device)
        levels = [ImageLevel(x.keys[rows], x.values[rows], x.mask_features[rows], x.size) for x in self.levels]
        projected = self.projected and [(keys[rows], values[rows]) for keys, values in self.projected]
        return DecoderFeatures(levels, self.mask_features[rows], projected)


def image_level(values: Tensor, mask_features: Tensor, size: tuple[int, int]) -> ImageLevel:
    """Builds a level of features (B, h * w, C) and mask features (B, D, H, W)."""
    position = sine_position_encoding(size, values.shape[2], device=values.device).flatten(2).transpose(1, 2)
    with torch.no_grad():
        # Resizing is linear: doing it to the features once equals doing it to the masks of every layer.
        resized = resize_features(mask_features.detach(), size).flatten(2)
    return ImageLevel(values + position.to(values.dtype), values, resized, size)


def resize_features(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes (B, D, H, W) to (B, D, h, w), bilinear without antialiasing, half-pixel centres.

    Shrinking by an even factor averages the four pixels around each centre, which strided slices do faster than the
    general kernel.
    """
    factor = x.shape[-1] // size[-1]
    if factor % 2 or factor == 0 or (size[0] * factor, size[1] * factor) != tuple(x.shape[-2:]):
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
    first = factor // 2 - 1
    x = x[..., first::factor, :] + x[..., first + 1 :: factor, :]
    return (x[..., first::factor] + x[..., first + 1 :: factor]) * 0.25
