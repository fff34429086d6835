"""Folders of small pictures of cables with masks, and of backgrounds, written as files."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.image_io import write_png


def write_cables(folder: Path, count: int = 4, size: tuple[int, int] = (36, 64), seed: int = 0) -> Path:
    """Writes imgs/ and masks/ with one bright line per picture (h, w) and returns the folder."""
    for number in range(count):
        image, mask = picture(np.random.default_rng([seed, number]), size)
        write_png(folder / f"imgs/c{number}.png", image)
        write_png(folder / f"masks/c{number}.png", mask)
    return folder


def picture(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns an image (h, w, 3) uint8 RGB and its mask (h, w) uint8, 0 or 255."""
    image = rng.integers(0, 120, (*size, 3), dtype=np.uint8)
    mask = np.zeros(size, np.uint8)
    ends = rng.integers(0, size[1], (2, 2)) % [size[1], size[0]]
    cv2.line(mask, ends[0].tolist(), ends[1].tolist(), 255, 3)
    image[mask > 0] = rng.integers(150, 256, 3)
    return image, mask


def write_backgrounds(folder: Path, count: int = 3, size: tuple[int, int] = (50, 70)) -> Path:
    """Writes plain images, each of its own colour, and returns the folder."""
    for number in range(count):
        write_png(folder / f"b{number}.png", np.full((*size, 3), 40 + 60 * number, np.uint8))
    return folder


def cable_config(train: list[dict[str, Any]], test: dict[str, Any] | None = None, **keys: Any) -> Any:
    """Returns the configuration of a small network on such folders; ``__`` in a key stands for a dot."""
    words = {
        "MODEL.NAME": "sam",
        "SAM.TYPE": "custom",
        "SAM.CUSTOM.PATCH_SIZE": 8,
        "SAM.IMAGE_SIZE": 32,
        "SAM.DLO.INPUT.STANDARD_SIZE": [36, 64],
        "SAM.DLO.TRAIN": train,
        "SAM.DLO.TEST": test or {},
        "TRAIN.BATCH_SIZE_TOTAL": 2,
        "TEST.BATCH_SIZE_TOTAL": 2,
        "DATALOADER.NUM_WORKERS": 0,
    }
    return load_mapping({**words, **{key.replace("__", "."): value for key, value in keys.items()}})
