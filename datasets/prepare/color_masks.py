"""One colour-coded mask -> panoptic id map, semantic map and segments."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from ..formats.color_table import UNKNOWN, VOID_INDEX, Color, ColorTable
from ..formats.panoptic import rgb_to_id, segment_stats
from .segment_ids import SegmentIds

SEMANTIC_VOID = 255
_TRANSPARENT = 1 << 24  # behind the last colour
_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


@dataclass(frozen=True)
class MaskRules:
    """How masks are read.

    Attributes:
        instances: rule for things whose table entry has none: "component" (8-connected) or "color" (each exact colour).
        min_area: things of fewer pixels become VOID.
        tolerance: largest difference per channel between a pixel and a listed colour.
    """

    instances: str = "component"
    min_area: int = 0
    tolerance: int = 0


@dataclass
class UnknownColor:
    """A colour of no category: how many pixels have it, and the first of them (x, y)."""

    color: Color
    pixels: int
    first: tuple[int, int]


@dataclass
class MaskSegments:
    """What a mask holds.

    Attributes:
        ids: (H, W) int32 panoptic ids, 0 = VOID.
        semantic: (H, W) int64 category index, VOID_INDEX where unlabelled.
        segments: panoptic ``segments_info`` entries with ``category`` (index) in place of ``category_id``.
        unknown: colours not in the table, most pixels first; when there are any, the rest is empty.
        dropped: things smaller than ``min_area``.
    """

    ids: np.ndarray
    semantic: np.ndarray
    segments: list[dict] = field(default_factory=list)
    unknown: list[UnknownColor] = field(default_factory=list)
    dropped: int = 0


def segment_mask(
    mask: np.ndarray,
    table: ColorTable,
    rules: MaskRules,
    new_ids: SegmentIds,
    transparent: np.ndarray | None = None,
) -> MaskSegments:
    """Turns colours into segments.

    Args:
        mask: (H, W, 3) uint8 RGB.
        table: what the colours mean.
        rules: how things are split.
        new_ids: gives out the segment ids of this image; asked in reading order of the segments' first pixels.
        transparent: (H, W) bool, pixels that are unlabelled whatever their colour; None: none.
    """
    packed = rgb_to_id(mask)
    if transparent is not None:
        packed[transparent] = _TRANSPARENT
    values, inverse = np.unique(packed, return_inverse=True)
    inverse = inverse.reshape(packed.shape)
    colors = np.stack([values & 255, values >> 8 & 255, values >> 16 & 255], axis=1).astype(np.uint8)
    meaning, shade = table.assign(colors, rules.tolerance)
    meaning[values == _TRANSPARENT] = VOID_INDEX
    if (meaning == UNKNOWN).any():
        return MaskSegments(packed, packed, unknown=_unknown(meaning, colors, inverse))
    semantic = meaning[inverse]
    exact = shade[inverse]
    result = MaskSegments(np.zeros(packed.shape, np.int32), semantic)
    for index, (_, (x, y, width, height)) in segment_stats(semantic).items():
        if index == VOID_INDEX:
            continue
        # Work in the category's box: many categories of a few pixels each cost what they cover.
        box = np.s_[y : y + height, x : x + width]
        category, coding = table.categories[index], table.codings[index]
        rule = (coding.instances or rules.instances) if category.isthing else None
        parts, areas = _parts(semantic[box] == index, exact[box], rule)
        kept = areas >= (1 if rule is None else rules.min_area)
        ids_of = np.zeros(len(areas) + 1, np.int32)
        for number in np.flatnonzero(kept).tolist():
            ids_of[number + 1] = new_ids.take(index)
            result.segments.append({"id": int(ids_of[number + 1]), "category": index})
        result.ids[box] += ids_of[parts]
        if not kept.all():
            result.dropped += int(np.count_nonzero(~kept))
            semantic[box][np.append(False, ~kept)[parts]] = VOID_INDEX
    stats = segment_stats(result.ids)
    for segment in result.segments:
        area, bounds = stats[segment["id"]]
        segment |= {"area": area, "bbox": list(bounds), "iscrowd": 0}
    return result


def semantic_png(semantic: np.ndarray) -> np.ndarray:
    """Turns category indices with VOID_INDEX into the (H, W) uint8 array of a semantic PNG, 255 = VOID."""
    return np.where(semantic == VOID_INDEX, SEMANTIC_VOID, semantic).astype(np.uint8)


def _parts(mask: np.ndarray, exact: np.ndarray, rule: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Splits the pixels of a category into its segments.

    Args:
        mask: (H, W) bool, not empty.
        exact: (H, W) the listed colour of each pixel.
        rule: of :class:`MaskRules`; None: a single segment.

    Returns:
        (H, W) integers, 0 outside and 1..N in reading order of the segments' first pixels; pixels of each, (N,) int64.
    """
    if rule is None:
        parts = mask.astype(np.int32)
    elif rule == "color":
        parts = np.zeros(mask.shape, np.int32)
        _, first, inverse = np.unique(exact[mask], return_index=True, return_inverse=True)
        parts[mask] = np.argsort(np.argsort(first))[inverse] + 1
    else:
        parts, _ = ndimage.label(mask, structure=_EIGHT_NEIGHBOURS)
    return parts, np.bincount(parts.ravel())[1:]


def _unknown(meaning: np.ndarray, colors: np.ndarray, inverse: np.ndarray) -> list[UnknownColor]:
    count = np.bincount(inverse.ravel(), minlength=len(colors))
    numbers = np.flatnonzero(meaning == UNKNOWN)
    first = np.full(len(colors), -1)
    flat = inverse.ravel()
    places = np.flatnonzero((meaning == UNKNOWN)[flat])
    first[flat[places[::-1]]] = places[::-1]  # the last write, the earliest place, stays
    found = []
    for number in numbers[np.argsort(-count[numbers], kind="stable")].tolist():
        y, x = divmod(int(first[number]), inverse.shape[1])
        found.append(UnknownColor(tuple(colors[number].tolist()), int(count[number]), (x, y)))
    return found
