"""What a conversion leaves out: which objects, why, and how that is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...utils.errors import DataError
from ..formats.segmentation import polygon_bounds

HIDDEN = "nothing of them is visible, others lie above"
NO_MASK = "they have neither a mask nor a box"
SHARES = "their coordinates are shares 0..1 of the image's size, polygons are in pixels"
OUTSIDE = "their coordinates lie outside the image (of a larger picture, or of a map?)"
EMPTY = "their masks cover no pixel"
OTHER_IMAGE = "their image is not in the list of images"

_SHOWN = 5
_TINY = 4  # pixels that coordinates in 0..1 can cover


@dataclass(frozen=True)
class LostRow:
    """One object that a conversion leaves out.

    Attributes:
        place: the annotation and its image; for a faulty annotation the whole message.
        cause: one of this module's, or an empty text for a faulty annotation.
    """

    place: str
    cause: str = ""


class Refusals:
    """Decides about faulty annotations: the first one ends the conversion, unless they may be skipped."""

    def __init__(self, skip_bad: bool) -> None:
        self.skip_bad = skip_bad
        self.lost: list[LostRow] = []

    def __call__(self, error: DataError) -> None:
        """Notes an error, or raises it."""
        if not self.skip_bad:
            raise DataError(f"{error}; --skip-bad leaves such annotations out")
        self.lost.append(LostRow(str(error)))


def in_shares(segmentation: Any, area: int) -> bool:
    """True if polygons that cover ``area`` pixels are in shares of the image's size, as YOLO's are, not in pixels."""
    if area > _TINY or not isinstance(segmentation, list) or not segmentation:
        return False
    x0, y0, x1, y1 = polygon_bounds(segmentation)
    whole = all(float(v).is_integer() for polygon in segmentation for v in polygon)
    return min(x0, y0) >= 0 and max(x1, y1) <= 1 and not whole


def why_invisible(annotation: Mapping[str, Any], area: int, height: int, width: int) -> str:
    """Returns the cause why nothing of an annotation, whose mask has ``area`` pixels, is to be seen."""
    segmentation = annotation.get("segmentation")
    if not segmentation:
        return NO_MASK
    if in_shares(segmentation, area):
        return SHARES
    if area:
        return HIDDEN
    if isinstance(segmentation, list):
        x0, y0, x1, y1 = polygon_bounds(segmentation)
        if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
            return OUTSIDE
    return EMPTY


def left_out_lines(lost: Sequence[LostRow]) -> list[str]:
    """Returns a line for each cause, with the number of objects and the first places; faulty ones have a line each."""
    by_cause: dict[str, list[str]] = {}
    for row in lost:
        by_cause.setdefault(row.cause, []).append(row.place)
    lines = []
    for cause, places in by_cause.items():
        more = ["..."] * (len(places) > _SHOWN)
        if cause:
            shown = ", ".join(places[:_SHOWN] + more)
            lines.append(f"{len(places)} segments were left out: {cause} ({shown})")
        else:
            lines += [f"{len(places)} faulty annotations were left out:", *(f"  {p}" for p in places[:_SHOWN] + more)]
    return lines


def refuse_empty(path: Path, lost: Sequence[LostRow], kept: int) -> None:
    """Ends a conversion that would keep nothing of a file.

    Raises:
        DataError: objects were lost and none was kept.
    """
    if lost and not kept:
        raise DataError("\n  ".join([f"{path}: nothing would be left of its objects", *left_out_lines(lost)]))
