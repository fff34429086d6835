"""Random colours by factors: brightness, contrast, saturation and hue, as torchvision's ColorJitter defines them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .color import scale_and_shift

Range = tuple[float, float]
_BLUR_KERNEL = 5
_GREY = (0.299, 0.587, 0.114)  # ITU-R 601, of RGB


@dataclass(frozen=True)
class FactorJitter:
    """Changes colours in random order, each by a factor drawn uniformly.

    Attributes:
        brightness: smallest and largest factor on each channel.
        contrast: smallest and largest factor on the distance from the image's mean grey.
        saturation: smallest and largest factor on the distance from the pixel's grey.
        hue: smallest and largest turn of the hue; 0.5 is half of the circle.
    """

    brightness: Range = (1.0, 1.0)
    contrast: Range = (1.0, 1.0)
    saturation: Range = (1.0, 1.0)
    hue: Range = (0.0, 0.0)

    @classmethod
    def around(cls, amounts: Sequence[float], brightness: Range | None = None) -> FactorJitter:
        """Returns the jitter by amounts: factors 1 - a to 1 + a, not below 0; hue -a to a.

        Args:
            amounts: brightness, contrast, saturation, hue; shorter with ``brightness``, which then says the first.
            brightness: factors from and to.
        """
        rest = list(amounts) if brightness is not None else list(amounts[1:])
        first = brightness if brightness is not None else _around(amounts[0])
        hue = rest[2] if len(rest) > 2 else 0.0
        return cls(first, _around(rest[0]), _around(rest[1]), (-hue, hue))

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns the changed RGB image (H, W, 3) uint8."""
        factors = [
            float(rng.uniform(*limits)) for limits in (self.brightness, self.contrast, self.saturation, self.hue)
        ]
        for number in rng.permutation(len(_CHANGES)):
            if factors[number] != _NEUTRAL[number]:
                image = _CHANGES[number](image, factors[number])
        return image


def random_blur(image: np.ndarray, sigma: Range, rng: np.random.Generator) -> np.ndarray:
    """Blurs an image (H, W, 3) uint8 by a 5 x 5 Gaussian, its standard deviation in pixels drawn between two."""
    drawn = float(rng.uniform(*sigma))
    return cv2.GaussianBlur(image, (_BLUR_KERNEL, _BLUR_KERNEL), drawn) if drawn > 0 else image


def _around(amount: float) -> Range:
    return max(0.0, 1 - amount), 1 + amount


def _brightness(image: np.ndarray, factor: float) -> np.ndarray:
    return scale_and_shift(image, factor, 0)


def _contrast(image: np.ndarray, factor: float) -> np.ndarray:
    mean = int(np.dot(cv2.mean(image)[:3], _GREY) + 0.5)
    return scale_and_shift(image, factor, mean * (1 - factor))


def _saturation(image: np.ndarray, factor: float) -> np.ndarray:
    mixed = np.asarray(_GREY, np.float32) * np.float32(1 - factor)
    return cv2.transform(image, np.eye(3, dtype=np.float32) * np.float32(factor) + mixed)


def _hue(image: np.ndarray, turn: float) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)  # hue in 256 steps
    table = ((np.arange(256) + round(turn * 256)) % 256).astype(np.uint8)
    same = np.arange(256, dtype=np.uint8)
    return cv2.cvtColor(cv2.LUT(hsv, np.stack([table, same, same], -1)[None]), cv2.COLOR_HSV2RGB_FULL)


_CHANGES: tuple[Callable[[np.ndarray, float], np.ndarray], ...] = (_brightness, _contrast, _saturation, _hue)
_NEUTRAL = (1.0, 1.0, 1.0, 0.0)
