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
from .pictures import Faults, check_photo, read_listening
from .scan import Scan


def check_backgrounds(split: Split, findings: Findings, workers: int | None) -> None:
    """Opens all images that replace the background of a split's images."""
    try:
        files = background_files(split.backgrounds)
    except DataError as error:
        findings.add("folder-missing", split.name, str(error))
        return
    label = f"validate backgrounds of {split.name}" if files else ""
    for faults in run_parallel(_faults, files, workers=workers, label=label):
        findings.extend(split.name, faults)


def check_content(split: Split, scans: Sequence[Scan], findings: Findings) -> None:
    """Reports a split whose masks show no foreground at all."""
    opened = [scan for scan in scans if scan.mask_pixels]
    if split.foreground is not None and opened and not any(scan.foreground for scan in opened):
        findings.add("foreground-none", split.name, f"{split.foreground}: {len(opened)} masks")


def _faults(path: Path) -> Faults:
    """Returns what is wrong with an image."""
    faults: Faults = []
    try:
        read_listening(path, read_image, faults)
        check_photo(path, faults)
    except DataError as error:
        faults.append(("background-unreadable", str(error)))
    return faults
