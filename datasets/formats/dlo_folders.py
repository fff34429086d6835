"""Data sets of cables and the like, as a configuration lists them: folders with imgs/ and masks/, and backgrounds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...utils.errors import ConfigError, DataError, did_you_mean
from ...utils.paths import user_path
from ..records.record import FOREGROUND, Record
from ..records.split import Split
from .listing import list_images

IMAGES, MASKS = "imgs", "masks"
"""Folders of a data set."""
AUGMENTATIONS = ("crop_foreground",)
"""What ``aug_details`` may name."""
_LAYOUT = f"expected {IMAGES}/ with images and {MASKS}/ with masks of the same names"


def parse_entry(
    entry: Mapping[str, Any], where: str, name: str, share: float, notices: list[str]
) -> tuple[Record, Split]:
    """Reads one entry.

    Args:
        entry: ``data_dir``, ``bg_paths`` (folders or null), ``w_aug``, ``aug_details``; only the first is required.
        where: the entry's key, for errors.
        name: of the split.
        share: of its images, how many an epoch shows.
        notices: gets what the user should know.

    Raises:
        ConfigError: ``data_dir`` is missing, or ``aug_details`` names something unknown.
        DataError: a folder is missing or has no image.
    """
    if not entry.get("data_dir"):
        raise ConfigError(f"{where}: the entry data_dir is missing; {_LAYOUT}")
    root = user_path(entry["data_dir"]).absolute()
    folders = [_folder(root, part, f"{where}.data_dir") for part in (IMAGES, MASKS)]
    augment, details = bool(entry.get("w_aug")), list(entry.get("aug_details") or ())
    for detail in details:
        if detail not in AUGMENTATIONS:
            close = did_you_mean(str(detail), AUGMENTATIONS) or "."
            raise ConfigError(f"{where}.aug_details: unknown {detail!r}{close} Known: {', '.join(AUGMENTATIONS)}.")
    backgrounds = _backgrounds(entry.get("bg_paths"), f"{where}.bg_paths")
    if details and not (augment and backgrounds):
        lacking = "bg_paths" if augment else "w_aug: true"
        notices.append(f"{where}.aug_details has no effect without {lacking}")
    split = Split(
        name,
        folders[0],
        foreground=folders[1],
        backgrounds=backgrounds,
        augment=augment,
        crop_foreground=augment and bool(backgrounds) and "crop_foreground" in details,
        share=share,
    )
    return Record(root.name, root, root, (FOREGROUND,), None, {name: split}), split


def background_files(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    """Returns the images below folders, sorted within each; each folder is listed once although every loader asks.

    Raises:
        DataError: a folder is missing or has no image.
    """
    stamps = (folder.stat().st_mtime_ns if folder.exists() else 0 for folder in folders)
    return tuple(file for folder, stamp in zip(folders, stamps, strict=True) for file in _files_in(folder, stamp))


@lru_cache(maxsize=16)
def _files_in(folder: Path, stamp: int) -> tuple[Path, ...]:
    names = list_images(folder)
    if not names:
        raise DataError(f"{folder} holds no image")
    return tuple(folder / name for name in names)


def _backgrounds(value: Any, where: str) -> tuple[Path, ...]:
    paths = [value] if isinstance(value, str) else list(value or ())
    folders = tuple(user_path(path).absolute() for path in paths)
    for folder in folders:
        if not folder.exists():
            near = did_you_mean(folder.name, _folders_in(folder.parent))
            raise DataError(f"{where}: {folder}: no such folder{near}")
    try:
        background_files(folders)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    return folders


def _folder(root: Path, part: str, where: str) -> Path:
    """Returns a folder of a data set.

    Raises:
        DataError: it is missing; names the folder with the nearest name.
    """
    if not root.is_dir():
        near = did_you_mean(root.name, _folders_in(root.parent))
        kind = "is a file" if root.exists() else "no such folder"
        raise DataError(f"{where}: {root}: {kind}{near or ';'} {_LAYOUT}")
    if not (root / part).is_dir():
        found = _folders_in(root)
        near = did_you_mean(part, found) or (f" (found {', '.join(found[:5])})" if found else "")
        raise DataError(f"{where}: {root} has no folder {part}/{near}; {_LAYOUT}")
    return root / part


def _folders_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
