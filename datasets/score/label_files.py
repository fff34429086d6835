"""Label pictures of a folder, by name."""

from __future__ import annotations

from pathlib import Path

from ...utils.errors import DataError
from ...utils.image_io import IMAGE_SUFFIXES


def label_files(folder: Path) -> dict[str, Path]:
    """Returns relative name without suffix -> file, sub-folders included, sorted by name.

    Raises:
        DataError: the folder is missing or has no picture.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise DataError(f"{folder}: no label pictures in this folder")
    return {p.relative_to(folder).with_suffix("").as_posix(): p for p in files}
