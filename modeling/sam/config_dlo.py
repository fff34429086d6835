"""Configuration of SAM, continued: cables and other deformable linear objects on composited images (SAM.DLO)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...utils.config import sections
from ...utils.config.foreign import ForeignSection
from ...utils.config.schema import key, section
from ...utils.errors import ConfigError

# entries of a data set, with their types
_ENTRY = {"data_dir": str, "bg_paths": list[str], "w_aug": bool, "aug_details": list[str], "percentage": float}

DATASET_SECTION = ForeignSection(
    "dataset",
    {"train": "SAM.DLO.TRAIN", "test": "SAM.DLO.TEST"},
    paths=("data_dir", "bg_paths"),
    beside="configs/sam/dlo_vit_b.yaml",
)


@dataclass(frozen=True, kw_only=True)
class DloInput:
    STANDARD_SIZE: list[int] = key(
        [720, 1280],
        "Rows and columns that images and masks are stretched to first; losses and metrics are taken at this size.",
        minimum=1,
    )
    KEEP_ASPECT: bool = key(False, "Fit images into STANDARD_SIZE instead of stretching them; backgrounds are cropped.")
    MASK_RESIZE: str = key(
        "bilinear_gt0",
        "How masks are resized. bilinear_gt0: every pixel that a foreground pixel contributes to, as published (thin "
        "objects grow a little). nearest: nearest pixel.",
        choices=("bilinear_gt0", "nearest"),
    )


@dataclass(frozen=True, kw_only=True)
class Test(sections.Test):
    ORIGINAL_SIZE: bool = key(
        False,
        "Foreground is compared at the size of the image's file instead of SAM.DLO.INPUT.STANDARD_SIZE. Sets with w_aug stay "
        "at that size.",
    )


@dataclass(frozen=True, kw_only=True)
class DloAugment:
    """Random changes of data sets with ``w_aug: true``; jitters are brightness, contrast, saturation, hue."""

    FG_JITTER: list[float] = key(
        [0.4, 0.15, 0.15, 0.5], "Colour jitter of a foreground that gets a background.", minimum=0
    )
    FG_P: float = key(0.5, "Its probability.", minimum=0, maximum=1)
    BG_CROP_SCALE: list[float] = key(
        [0.08, 1.0], "Random crop of backgrounds: share of the area, from and to.", minimum=0, maximum=1
    )
    BG_CROP_RATIO: list[float] = key([15 / 9, 17 / 9], "Width over height of that crop, from and to.", minimum=0)
    BG_BRIGHTNESS: list[float] = key([0.5, 1.0], "Brightness factor of backgrounds, from and to.", minimum=0)
    BG_JITTER: list[float] = key([0.2, 0.2], "Contrast and saturation jitter of backgrounds.", minimum=0)
    BG_BLUR: list[float] = key(
        [0.1, 5.0], "Standard deviation in pixels of the Gaussian blur of backgrounds, from and to.", minimum=0
    )
    BG_P: float = key(0.5, "Probability of jitter and blur, together.", minimum=0, maximum=1)
    CROP_SCALE: list[float] = key(
        [0.35, 1.0], "crop_foreground: share of the area of image and mask, from and to.", minimum=0, maximum=1
    )
    CROP_P: float = key(0.5, "Its probability.", minimum=0, maximum=1)
    IMG_JITTER: list[float] = key([0.1, 0.0, 0.0, 0.5], "Colour jitter of images without background.", minimum=0)
    IMG_P: float = key(0.5, "Its probability.", minimum=0, maximum=1)
    FLIP_P: float = key(0.0, "Probability of a horizontal flip of the finished image.", minimum=0, maximum=1)
    FEATHER: float = key(
        0.0,
        "Standard deviation in pixels of the blur of the seam between a foreground and its new background, with w_aug and "
        "without; 0: hard.",
        minimum=0,
    )


@dataclass(frozen=True, kw_only=True)
class Dlo:
    TRAIN: list[dict[str, Any]] = key(
        [],
        "Training data: entries with data_dir (folder with imgs/ and masks/), bg_paths (background folders, or null), w_aug, "
        "aug_details ([] or [crop_foreground]: a random zoom before the new background comes in), percentage (share of the images that an epoch draws anew). A file with the "
        "lower-case section `dataset:` sets this. DATASETS.TRAIN adds records.",
        entries=_ENTRY,
    )
    TEST: dict[str, Any] = key(
        {},
        "Evaluation data: one entry with data_dir, bg_paths, w_aug; {}: none. aug_details and percentage may stand in it; "
        "they have no effect.",
        entries=_ENTRY,
    )
    INVERT_TARGET: bool = key(
        True, "Train on the background (1 = background), as published; results are of the foreground either way."
    )
    PROMPT: str = key(
        "full_box",
        "The prompt of training, evaluation and prediction. full_box: the padded square. image_box: the image in it. none: "
        "no prompt. mask_box: in training the box around the foreground, else image_box.",
        choices=("full_box", "image_box", "none", "mask_box"),
    )
    INPUT: DloInput = section(DloInput)
    AUG: DloAugment = section(DloAugment)


def check_dlo(dlo: Dlo) -> None:
    """Checks the rules that join keys of SAM.DLO.

    Raises:
        ConfigError: naming the key, what was found and what is expected.
    """
    for name, keys, length in (
        ("INPUT.STANDARD_SIZE", dlo.INPUT.STANDARD_SIZE, 2),
        ("AUG.FG_JITTER", dlo.AUG.FG_JITTER, 4),
        ("AUG.IMG_JITTER", dlo.AUG.IMG_JITTER, 4),
        ("AUG.BG_JITTER", dlo.AUG.BG_JITTER, 2),
        *((f"AUG.{n}", getattr(dlo.AUG, n), 2) for n in _RANGES),
    ):
        if len(keys) != length:
            raise ConfigError(f"SAM.DLO.{name} has {len(keys)} numbers, expected {length}")
    for name in _RANGES:
        low, high = getattr(dlo.AUG, name)
        if low > high:
            raise ConfigError(f"SAM.DLO.AUG.{name} is [{low:g}, {high:g}], expected the smaller number first")
    if dlo.AUG.BG_CROP_RATIO[0] <= 0:
        raise ConfigError("SAM.DLO.AUG.BG_CROP_RATIO starts at 0, expected width over height, such as 1.7")


_RANGES = ("BG_CROP_SCALE", "BG_CROP_RATIO", "BG_BRIGHTNESS", "BG_BLUR", "CROP_SCALE")
