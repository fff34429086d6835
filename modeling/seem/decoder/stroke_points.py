"""Strokes as points: the pixels of each stroke, a bounded choice of them, and the features under them.

A pixel (x, y) of an input of W x H pixels lies at (x / W, y / H) of every feature map, whose corner pixels lie at 0 and
1: half a pixel off the truth, but what published weights were trained with.

Letters in shapes: B images, N prompted objects, P points, C channels, H and W rows and columns of the network input, h
and w those of a feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from .decoder_prompts import SpatialPrompt
from .pass_draws import PassDraws
from .variables import StrokeMeans

POSITIVE, NEGATIVE = 0, 1
SIGN_NAMES = ("positive", "negative")


@dataclass
class StrokePoints:
    """Points of strokes, per image those of positive strokes first, each sign in row-major order per object.

    Attributes:
        places: (B, P, 2) float32 x and y in [0, 1); (0, 0) at padding.
        owner: (B, P) int64 number of the object, -1 at padding.
        sign: (B, P) int64 POSITIVE or NEGATIVE.
    """

    places: Tensor
    owner: Tensor
    sign: Tensor

    def features(self, maps: Tensor) -> Tensor:
        """Samples maps (B, C, h, w) bilinearly at the points; returns (B, P, C)."""
        sampled = F.grid_sample(maps, 2 * self.places[:, None].to(maps.dtype) - 1, align_corners=True)
        return sampled[:, :, 0].transpose(1, 2)


class StrokePixels:
    """The pixels of all strokes of a pass, listed once and shared by its levels and layers.

    Args:
        prompt: the strokes.
        draws: chooses pixels where there are too many.
    """

    def __init__(self, prompt: SpatialPrompt, draws: PassDraws) -> None:
        self.num_objects = prompt.num_objects
        self.size = tuple(prompt.positive[0].shape[-2:])
        # Per sign and image: (pixels, 3) object, row, column.
        self.pixels = [[mask.nonzero() for mask in masks] for masks in (prompt.positive, prompt.negative)]
        self.draws = draws

    def points(self, purpose: str, limit: int | None, signs: Sequence[int] = (POSITIVE, NEGATIVE)) -> StrokePoints:
        """Returns the points of all images.

        Args:
            purpose: what they are for; the draw of each sign is ``stroke/{sign}/{purpose}``.
            limit: most points of each sign in an image; None: all.
            signs: which strokes.
        """
        images = [self._image_points(image, purpose, limit, signs) for image in range(len(self.pixels[POSITIVE]))]
        owner = pad_sequence([pixels[:, 0] for pixels, _ in images], batch_first=True, padding_value=-1)
        rows, columns = pad_sequence([pixels[:, 1:] for pixels, _ in images], batch_first=True).unbind(-1)
        sign = pad_sequence([sign for _, sign in images], batch_first=True)
        height, width = self.size
        return StrokePoints(torch.stack([columns / width, rows / height], dim=-1), owner, sign)

    def _image_points(self, image: int, purpose: str, limit: int | None, signs: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Returns the points (p, 3) of one image and the sign (p,) of each."""
        chosen = []
        for sign in signs:
            pixels = self.pixels[sign][image]
            if limit is not None and len(pixels) > limit:
                name = f"stroke/{SIGN_NAMES[sign]}/{purpose}"
                uniform = self.draws.uniform(name, len(pixels), image, pixels.device)
                pixels = pixels[choose_pixels(pixels[:, 0], uniform, limit)]
            chosen.append(pixels)
        sign_of = [
            torch.full((len(pixels),), sign, device=pixels.device) for sign, pixels in zip(signs, chosen, strict=True)
        ]
        return torch.cat(chosen), torch.cat(sign_of)


def stroke_means(pixels: StrokePixels, maps: Tensor, limit: int | None, empty: float) -> StrokeMeans:
    """Averages maps over each object's positive points, and over its negative ones.

    Args:
        pixels: strokes of B images.
        maps: (B, C, h, w).
        limit: most points of each sign in an image; None: all.
        empty: value of the vector of an object without points.

    Returns:
        ``positive`` and ``negative`` (B, N, C) float32.
    """
    return StrokeMeans(*(_object_means(pixels, maps, sign, limit, empty) for sign in (POSITIVE, NEGATIVE)))


def _object_means(pixels: StrokePixels, maps: Tensor, sign: int, limit: int | None, empty: float) -> Tensor:
    points = pixels.points("mean", limit, (sign,))
    objects = torch.arange(pixels.num_objects, device=maps.device)
    with torch.autocast(maps.device.type, enabled=False):
        members = (points.owner[:, None] == objects[:, None]).float()  # (B, N, P)
        counts = members.sum(dim=2, keepdim=True)
        means = members @ points.features(maps).float() / counts.clamp(min=1)
    return means.masked_fill(counts == 0, empty)


def choose_pixels(owner: Tensor, uniform: Tensor, limit: int) -> Tensor:
    """Chooses pixels without replacement such that small strokes keep as many as large ones.

    A pixel's weight is 1 / pixels of its object; weighted sampling takes the largest u^(1 / weight) (Efraimidis and
    Spirakis, "Weighted random sampling with a reservoir", 2006). The best pixel of each object goes first: a stroke
    never vanishes while there are no more objects than places.

    Args:
        owner: (P,) int64 object of each pixel.
        uniform: (P,) float32 numbers in [0, 1).
        limit: how many to choose, at most P.

    Returns:
        (limit,) int64 ascending places of the chosen pixels.
    """
    counts = torch.bincount(owner)
    keys = uniform.log() * counts[owner]
    best = keys.new_full(counts.shape, -torch.inf).scatter_reduce(0, owner, keys, "amax")
    first = (keys == best[owner]) & keys.isfinite()
    return keys.masked_fill(first, torch.inf).topk(limit, sorted=False).indices.sort().values
