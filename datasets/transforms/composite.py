"""Foreground before another background, and the random changes of both: training on a few masks and many photos."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .crop import RandomCrop, central_window
from .photometric import FactorJitter, Range, random_blur
from .resize import resize, resize_sampled


@dataclass(frozen=True)
class ForegroundChanges:
    """Random changes of images with foreground masks; a probability is that of one image.

    Attributes:
        jitter, jitter_p: colours of a foreground that gets a background.
        background_crop: part of a background that is shown; its ratio is that of STANDARD_SIZE's aspect.
        background_jitter, background_blur, background_p: colours and blur (standard deviation in pixels) of a
            background, both or none.
        zoom, zoom_p: part of image and mask that is shown instead of the whole (share of the area, aspect kept).
        image_jitter, image_p: colours of an image that keeps its own background.
        flip_p: mirror the finished image.
    """

    jitter: FactorJitter
    jitter_p: float
    background_crop: RandomCrop
    background_jitter: FactorJitter
    background_blur: Range
    background_p: float
    zoom: Range
    zoom_p: float
    image_jitter: FactorJitter
    image_p: float
    flip_p: float


def fit_mask(mask: np.ndarray, size: tuple[int, int], nearest: bool) -> np.ndarray:
    """Resizes a mask (H, W) bool to (height, width).

    Args:
        mask: True on the foreground.
        size: height and width of the result.
        nearest: take the nearest pixel; else what one of the four nearest pixels marks (bilinear, above 0).
    """
    if mask.shape == size:
        return mask
    if nearest:
        return cv2.resize(mask.view(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT).view(bool)
    return resize_sampled(mask.view(np.uint8) * np.uint8(255), size) > 0


def fit_background(background: np.ndarray, size: tuple[int, int], keep_aspect: bool) -> np.ndarray:
    """Stretches a background (H, W, 3) uint8 to (height, width), or cuts out its middle first."""
    if keep_aspect:
        background = central_window(background.shape[0], background.shape[1], size[1] / size[0]).cut(background)
    return resize(background, size)


def random_background(
    background: np.ndarray,
    size: tuple[int, int],
    crop: RandomCrop,
    changes: ForegroundChanges,
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns a random part of a background (H, W, 3) uint8, as large as ``size``, in random colours."""
    part = resize(crop.draw(background.shape[0], background.shape[1], rng).cut(background), size)
    if rng.random() < changes.background_p:
        part = random_blur(changes.background_jitter(part, rng), changes.background_blur, rng)
    return part


def zoom(
    image: np.ndarray, mask: np.ndarray, scale: Range, nearest: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Shows a random part of image and mask at the size of the whole, aspect kept."""
    size = mask.shape[0], mask.shape[1]
    ratio = size[1] / size[0]
    window = RandomCrop(scale, (ratio, ratio)).draw(*size, rng)
    return resize_sampled(window.cut(image), size), fit_mask(np.ascontiguousarray(window.cut(mask)), size, nearest)


def compose(image: np.ndarray, background: np.ndarray, mask: np.ndarray, feather: float = 0.0) -> np.ndarray:
    """Puts the foreground of an image before a background.

    Args:
        image: (H, W, 3) uint8.
        background: (H, W, 3) uint8.
        mask: (H, W) bool, True: the image is shown.
        feather: standard deviation in pixels of the blur of the seam; 0: hard.

    Returns:
        (H, W, 3) uint8.
    """
    if feather <= 0:
        composed = background.copy()
        cv2.copyTo(image, mask.view(np.uint8), composed)
        return composed
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), feather)
    return cv2.blendLinear(image, background, alpha, 1 - alpha)
