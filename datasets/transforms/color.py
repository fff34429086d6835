"""Random change of colours: the photometric distortion of SSD (Liu et al., arXiv 1512.02325, section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class ColorJitter:
    """Changes brightness, contrast, saturation and hue, each with probability 0.5.

    Contrast comes before saturation and hue or after them, with probability 0.5 each.

    Attributes:
        brightness: most that is added to each channel, 0..255.
        contrast: smallest and largest factor on each channel.
        saturation: smallest and largest factor on the saturation.
        hue: most that the hue is turned, in units of two degrees.
    """

    brightness: float = 32.0
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.5, 1.5)
    hue: int = 18

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns the changed RGB image (H, W, 3) uint8."""
        brighten, contrast, saturate, turn, early = rng.random(5) < 0.5
        shift = rng.uniform(-self.brightness, self.brightness) if brighten else 0.0
        factor = rng.uniform(*self.contrast) if contrast else 1.0
        saturation = rng.uniform(*self.saturation) if saturate else 1.0
        hue = int(rng.integers(-self.hue, self.hue + 1)) if turn else 0
        image = scale_and_shift(image, 1, shift)
        if early:
            return _saturate(scale_and_shift(image, factor, 0), saturation, hue)
        return scale_and_shift(_saturate(image, saturation, hue), factor, 0)


def scale_and_shift(image: np.ndarray, factor: float, shift: float) -> np.ndarray:
    """Returns ``factor * image + shift`` of an image (H, W, 3) uint8, cut to 0..255 and to whole numbers."""
    if factor == 1 and shift == 0:
        return image
    return cv2.LUT(image, _table(factor, shift))


def _saturate(image: np.ndarray, factor: float, turn: int) -> np.ndarray:
    """Multiplies the saturation and turns the hue."""
    if factor == 1 and turn == 0:
        return image
    hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    hue = cv2.LUT(hue, ((np.arange(256) + turn) % 180).astype(np.uint8))
    changed = cv2.merge([hue, cv2.LUT(saturation, _table(factor, 0)), value])
    return cv2.cvtColor(changed, cv2.COLOR_HSV2RGB)


def _table(factor: float, shift: float) -> np.ndarray:
    return np.clip(np.arange(256) * factor + shift, 0, 255).astype(np.uint8)
