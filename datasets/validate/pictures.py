"""Checks of single picture files: what is lost or bridged when one is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ...utils.image_files.decoder_messages import decoder_messages
from ...utils.image_io import read_depth, read_image_header, transparent_pixels
from .findings import Findings

T = TypeVar("T")

_MESSAGES_SHOWN = 3
_HARMLESS = "iCCP"  # libpng finds fault with the colour profiles of many programs; none is used here
_DARK = 4  # an image whose values stay below the range divided by this is dark: 14 bits in a file of 16, for one

Faults = list[tuple[str, str]]


def read_listening(path: Path, read: Callable[[Path], T], faults: Faults) -> T:
    """Returns ``read(path)`` and reports what decoders complained about."""
    with decoder_messages() as messages:
        content = read(path)
    shown = [message for message in messages if _HARMLESS not in message][:_MESSAGES_SHOWN]
    if shown:
        faults.append(("decoder-warning", f"{path}: {'; '.join(shown)}"))
    return content


def check_photo(path: Path, faults: Faults) -> int | None:
    """Reports mode, depth, EXIF rotation and pages of a readable photograph.

    Returns:
        The bits that its values are read as, for a file of more than 8 bits per channel; else None.
    """
    header = read_image_header(path)
    depth = read_depth(path) if header.bits > 8 else None
    if header.mode not in ("RGB", "L") or header.bits > 8:
        shown = f"{path}: mode {header.mode}, {header.bits} bits"
        if depth is not None:
            shown += f" (read as {depth.bits} bits: {depth.white} is white; the largest value is {depth.largest}, "
            shown += f"99.9 % are at most {depth.percentile})"
        faults.append(("image-mode", shown))
    if depth is not None and _DARK * depth.percentile <= depth.white:
        bright, largest = (round(255 * value / depth.white) for value in (depth.percentile, depth.largest))
        faults.append(("image-dark", f"{path}: 99.9 % of the values become at most {bright} of 255, all {largest}"))
    if header.orientation != 1:
        faults.append(("exif-rotated", str(path)))
    _check_pages(path, header.pages, faults)
    return None if depth is None else depth.bits


def check_label(path: Path, faults: Faults) -> None:
    """Reports transparent pixels and further pages of a readable annotation picture."""
    clear = transparent_pixels(path)
    if clear is not None:
        faults.append(("label-transparent", f"{path}: {int(clear.sum())} of {clear.size} pixels"))
    _check_pages(path, read_image_header(path).pages, faults)


def check_depths(found: Sequence[tuple[Path, int | None]], findings: Findings) -> None:
    """Reports images of more than 8 bits that are read by different ranges.

    Args:
        found: image and its bits by :func:`check_photo`, of all splits.
        findings: gets the fault.
    """
    by_bits: dict[int, list[Path]] = {}
    for path, bits in found:
        if bits is not None:
            by_bits.setdefault(bits, []).append(path)
    if len(by_bits) > 1:
        for bits, paths in sorted(by_bits.items()):
            findings.add("depth-differs", "", f"{len(paths)} images as {bits} bits, such as {paths[0]}", len(paths))


def _check_pages(path: Path, pages: int, faults: Faults) -> None:
    if pages > 1:
        faults.append(("pages-unread", f"{path}: {pages} pages"))
