"""Panoptic quality of one image pair and its sum over a data set (Kirillov et al., CVPR 2019, section 4.1).

The matching rules are those of the COCO panoptic evaluation; the comments say where the corner cases are decided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...utils.masks import label_runs

VOID = 0
GROUPS = ("All", "Things", "Stuff")


class SegmentInfo(NamedTuple):
    """A listed segment: category (index or id, the same kind on both sides), crowd flag, area that a file claims."""

    category: int
    iscrowd: bool = False
    claimed_area: int | None = None


@dataclass(frozen=True)
class PanopticProtocol:
    """Options of the metric.

    Attributes:
        reference_area: believe the area that the ground-truth file claims, as panopticapi does, instead of counting
            pixels; with wrong areas an IoU can exceed 1.
        crowd_union: an unmatched prediction is excused by all crowds of its category together; False: by the last one
            listed, as panopticapi does.
    """

    reference_area: bool = False
    crowd_union: bool = False


class ImageMatch(NamedTuple):
    """Result for one image; categories occur as often as they were counted.

    Attributes:
        matches: (category, IoU) of each true positive.
        false_positives: category of each.
        false_negatives: category of each.
        wrong_areas: ground-truth segments whose claimed area is not their pixel count.
        unlisted: ground-truth ids in the map that no segment has.
    """

    matches: list[tuple[int, float]]
    false_positives: list[int]
    false_negatives: list[int]
    wrong_areas: int
    unlisted: int


def count_pairs(gt: np.ndarray, pred: np.ndarray) -> tuple[list[int], list[int], list[int]]:
    """Counts the pixels of each pair (ground-truth id, predicted id) that occurs.

    Args:
        gt: (H, W) integer ids below 2^31.
        pred: the same shape.

    Returns:
        Three lists: ground-truth ids, predicted ids, pixels.
    """
    # Sorting some thousand runs instead of all pixels is what makes this fast.
    starts, lengths = label_runs(gt, pred)
    keys = gt.ravel()[starts].astype(np.int64) << 32 | pred.ravel()[starts]
    pairs, inverse = np.unique(keys, return_inverse=True)
    counts = np.bincount(inverse, weights=lengths, minlength=len(pairs)).astype(np.int64)
    return (pairs >> 32).tolist(), (pairs & 0xFFFFFFFF).tolist(), counts.tolist()


def match_segments(
    gt_map: np.ndarray,
    gt: Mapping[int, SegmentInfo],
    pred_map: np.ndarray,
    pred: Mapping[int, SegmentInfo],
    protocol: PanopticProtocol = PanopticProtocol(),  # noqa: B008 (frozen)
) -> ImageMatch:
    """Matches the segments of one image.

    Args:
        gt_map: (H, W) ids, 0 = VOID.
        gt: ground-truth segments by id, in file order.
        pred_map: (H, W) ids.
        pred: predicted segments by id.
        protocol: options.

    Raises:
        ValueError: the sizes differ, or the ids of the predicted map are not those of ``pred``.
    """
    if gt_map.shape != pred_map.shape:
        raise ValueError(f"the prediction is {_size(pred_map)}, the ground truth {_size(gt_map)} (width x height)")
    pairs = list(zip(*count_pairs(gt_map, pred_map), strict=True))
    gt_pixels: dict[int, int] = dict.fromkeys(gt, 0)
    pred_pixels: dict[int, int] = {}
    for g, p, n in pairs:
        gt_pixels[g] = gt_pixels.get(g, 0) + n
        pred_pixels[p] = pred_pixels.get(p, 0) + n
    _check_prediction(pred_pixels, pred)
    claimed = {g: s.claimed_area for g, s in gt.items() if s.claimed_area is not None}
    gt_areas = {**gt_pixels, **claimed} if protocol.reference_area else gt_pixels

    void = {p: n for g, p, n in pairs if g == VOID}
    matches, matched_gt, matched_pred = [], set(), set()
    for g, p, n in pairs:
        if g not in gt or p not in pred or gt[g].iscrowd or gt[g].category != pred[p].category:
            continue
        iou = n / (pred_pixels[p] + gt_areas[g] - n - void.get(p, 0))
        if iou > 0.5:
            matches.append((gt[g].category, iou))
            matched_gt.add(g)
            matched_pred.add(p)
    crowds = _crowd_pixels(pairs, gt, protocol.crowd_union)
    false_positives = []
    for p, segment in pred.items():
        if p not in matched_pred:
            excused = void.get(p, 0) + crowds.get((segment.category, p), 0)
            if not excused / pred_pixels[p] > 0.5:
                false_positives.append(segment.category)
    return ImageMatch(
        matches,
        false_positives,
        [s.category for g, s in gt.items() if g not in matched_gt and not s.iscrowd],
        sum(area != gt_pixels[g] for g, area in claimed.items()),
        sum(g not in gt for g in gt_pixels if g != VOID),
    )


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"


def _check_prediction(found: Mapping[int, int], listed: Mapping[int, SegmentInfo]) -> None:
    surplus = [i for i in found if i != VOID and i not in listed]
    if surplus:
        raise ValueError(f"predicted id {surplus[0]} is in the picture but not in the list of segments")
    absent = [i for i in listed if i not in found]
    if absent:
        raise ValueError(f"predicted id {absent[0]} is in the list of segments but has no pixel")


def _crowd_pixels(
    pairs: list[tuple[int, int, int]], gt: Mapping[int, SegmentInfo], union: bool
) -> dict[tuple[int, int], int]:
    """Returns pixels of each predicted id on the crowd of each category: (category, predicted id) -> pixels."""
    last = {s.category: g for g, s in gt.items() if s.iscrowd}
    pixels: dict[tuple[int, int], int] = {}
    for g, p, n in pairs:
        if g in gt and gt[g].iscrowd and (union or last[gt[g].category] == g):
            key = (gt[g].category, p)
            pixels[key] = pixels.get(key, 0) + n
    return pixels


@dataclass
class PanopticTally:
    """Counts over images, per category.

    Every IoU is kept (eight bytes each), because their exact sum does not depend on the order of images or processes.
    """

    ious: dict[int, list[float]] = field(default_factory=dict)
    false_positives: dict[int, int] = field(default_factory=dict)
    false_negatives: dict[int, int] = field(default_factory=dict)
    images: int = 0
    wrong_areas: int = 0
    unlisted: int = 0

    def add(self, match: ImageMatch) -> None:
        """Adds one image."""
        for category, iou in match.matches:
            self.ious.setdefault(category, []).append(iou)
        for category in match.false_positives:
            self.false_positives[category] = self.false_positives.get(category, 0) + 1
        for category in match.false_negatives:
            self.false_negatives[category] = self.false_negatives.get(category, 0) + 1
        self.images += 1
        self.wrong_areas += match.wrong_areas
        self.unlisted += match.unlisted

    def merge(self, other: PanopticTally) -> None:
        """Adds the counts of other images."""
        for category, ious in other.ious.items():
            self.ious.setdefault(category, []).extend(ious)
        for mine, theirs in (
            (self.false_positives, other.false_positives),
            (self.false_negatives, other.false_negatives),
        ):
            for category, count in theirs.items():
                mine[category] = mine.get(category, 0) + count
        self.images += other.images
        self.wrong_areas += other.wrong_areas
        self.unlisted += other.unlisted

    def counts(self, category: int) -> CategoryCounts:
        """Returns the sums of one category."""
        ious = self.ious.get(category, ())
        fp, fn = self.false_positives.get(category, 0), self.false_negatives.get(category, 0)
        return CategoryCounts(math.fsum(ious), len(ious), fp, fn)


class CategoryCounts(NamedTuple):
    """Sum of matched IoU, true positives, false positives, false negatives."""

    iou_sum: float
    tp: int
    fp: int
    fn: int


def quality(counts: Mapping[int, CategoryCounts], things: Mapping[int, bool]) -> dict[str, Any]:
    """Turns counts into PQ, SQ and RQ, in 0..1.

    Args:
        counts: sums of each category, in the order in which they are averaged.
        things: category -> countable.

    Returns:
        ``All``, ``Things``, ``Stuff``: means over the categories that occur, with ``n`` = their number; None where n is
        0. ``per_class``: category -> pq, sq, rq, None where the category does not occur.
    """
    per_class = {category: _category_quality(c) for category, c in counts.items()}
    result: dict[str, Any] = {}
    for group, wanted in zip(GROUPS, (None, True, False), strict=True):
        members = [q for c, q in per_class.items() if q["pq"] is not None and (wanted is None or things[c] == wanted)]
        result[group] = {name: _mean([m[name] for m in members]) for name in ("pq", "sq", "rq")} | {"n": len(members)}
    return result | {"per_class": per_class}


def _category_quality(counts: CategoryCounts) -> dict[str, float | None]:
    iou_sum, tp, fp, fn = counts
    if tp + fp + fn == 0:
        return {"pq": None, "sq": None, "rq": None}
    weight = tp + 0.5 * fp + 0.5 * fn
    return {"pq": iou_sum / weight, "sq": iou_sum / tp if tp else 0.0, "rq": tp / weight}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None
