"""Checks of a split of foreground masks as a whole, and of the images that replace backgrounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...utils.errors import DataError
from ...utils.image_io import read_image
from ..formats.dlo_folders import background_files
from ..prepare.parallel import run_parallel
from ..records.split import Split
from .findings import Findings
from .scan import Scan


def check_backgrounds(split: Split, findings: Findings, workers: int | None) -> None:
    """Opens all images that replace the background of a split's images."""
    try:
        files = background_files(split.backgrounds)
    except DataError as error:
        findings.add("folder-missing", split.name, str(error))
        return
    label = f"validate backgrounds of {split.name}" if files else ""
    for fault in run_parallel(_fault, files, workers=workers, label=label):
        if fault:
            findings.add("background-unreadable", split.name, fault)


def check_content(split: Split, scans: Sequence[Scan], findings: Findings) -> None:
    """Reports a split whose masks show no foreground at all."""
    opened = [scan for scan in scans if scan.mask_pixels]
    if split.foreground is not None and opened and not any(scan.foreground for scan in opened):
        findings.add("foreground-none", split.name, f"{split.foreground}: {len(opened)} masks")


def _fault(path: Path) -> str:
    """Returns what is wrong with an image, or an empty text."""
    try:
        read_image(path)
    except DataError as error:
        return str(error)
    return ""
