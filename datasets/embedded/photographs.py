"""Real photographs without a download: those that the wheel of scikit-image contains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from ...utils.errors import UserError
from ...utils.image_io import read_image
from .shapes import Array

_INSTALL = "pip install scikit-image"


def photograph_path(name: str) -> Path:
    """Returns the file of a photograph, e.g. ``coffee.png``; nothing is imported or downloaded.

    Raises:
        UserError: scikit-image is not installed, or does not bring that file.
    """
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise UserError(f"the cables are drawn on photographs that scikit-image brings; install it: {_INSTALL}")
    path = Path(spec.origin).parent / "data" / name
    if not path.is_file():
        raise UserError(f"{path}: this photograph is missing from the installed scikit-image; reinstall it: {_INSTALL}")
    return path


def random_crop(names: Sequence[str], rng: np.random.Generator, height: int, width: int) -> Array:
    """Cuts a random part out of a random photograph: mirrored or not, a little tinted.

    Args:
        names: file names of photographs.
        rng: source of randomness.
        height: rows of the result.
        width: columns of the result.

    Returns:
        (H, W, 3) float32 RGB 0..255.
    """
    photograph = _photograph(names[int(rng.integers(len(names)))])
    rows, columns = photograph.shape[:2]
    share = rng.uniform(0.45, 1.0) * min(rows / height, columns / width)
    h, w = max(1, int(share * height)), max(1, int(share * width))
    top, left = int(rng.integers(rows - h + 1)), int(rng.integers(columns - w + 1))
    crop = photograph[top : top + h, left : left + w]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    way = cv2.INTER_AREA if share > 1 else cv2.INTER_CUBIC
    crop = cv2.resize(crop, (width, height), interpolation=way).astype(np.float32)
    tint = rng.uniform(0.8, 1.15) * rng.uniform(0.94, 1.06, 3)
    return crop * tint.astype(np.float32)


@cache
def _photograph(name: str) -> Array:
    return read_image(photograph_path(name))
