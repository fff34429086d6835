"""Panoptic quality of image pairs: against a direct implementation, and the corner cases."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfoundry.datasets.metrics.panoptic_quality import (
    CategoryCounts,
    PanopticProtocol,
    PanopticTally,
    SegmentInfo,
    count_pairs,
    match_segments,
    quality,
)

BIG = 0x00FF01  # shares its low sixteen bits with other ids below


def square(*spans: tuple[int, int, int], size: int = 100) -> np.ndarray:
    """A 1 x size map with ids on column spans."""
    ids = np.zeros((1, size), np.int32)
    for start, stop, number in spans:
        ids[0, start:stop] = number
    return ids


def totals(match):
    return len(match.matches), len(match.false_positives), len(match.false_negatives)


def brute_force(gt_map, gt, pred_map, pred):
    """Straight from the definition, with a mask per segment."""
    matches, fp, matched_gt, matched_pred = [], [], set(), set()
    for g, gs in gt.items():
        for p, ps in pred.items():
            a, b = gt_map == g, pred_map == p
            inter = int((a & b).sum())
            union = int((a | b).sum()) - int((b & (gt_map == 0)).sum())
            if gs.iscrowd or gs.category != ps.category or inter == 0 or inter / union <= 0.5:
                continue
            matches.append((gs.category, inter / union))
            matched_gt.add(g)
            matched_pred.add(p)
    for p, ps in pred.items():
        b = pred_map == p
        crowd = [g for g, s in gt.items() if s.iscrowd and s.category == ps.category][-1:]
        excused = (b & (gt_map == 0)).sum() + sum((b & (gt_map == g)).sum() for g in crowd)
        if p not in matched_pred and not excused / b.sum() > 0.5:
            fp.append(ps.category)
    fn = [s.category for g, s in gt.items() if g not in matched_gt and not s.iscrowd]
    return sorted(matches), sorted(fp), sorted(fn)


@st.composite
def image_pairs(draw):
    ids = [0, 1, 70000, 70000 + (1 << 20), BIG, 0xFFFFFF]
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    cells = st.lists(st.integers(0, 5), min_size=height * width, max_size=height * width)
    sides = []
    for crowd in (True, False):
        ids_map = np.array(draw(cells), np.int32).reshape(height, width)
        ids_map = np.array(ids, np.int32)[ids_map]
        categories = draw(st.lists(st.integers(0, 2), min_size=6, max_size=6))
        crowds = draw(st.lists(st.booleans(), min_size=6, max_size=6)) if crowd else [False] * 6
        present = [i for i in np.unique(ids_map).tolist() if i]
        infos = {i: SegmentInfo(categories[ids.index(i)], crowds[ids.index(i)]) for i in present}
        sides += [ids_map, infos]
    return sides


@given(image_pairs())
@settings(max_examples=200, deadline=None)
def test_equals_the_definition(pair):
    match = match_segments(*pair)
    matches, fp, fn = brute_force(*pair)
    assert sorted(match.matches) == matches
    assert sorted(match.false_positives) == fp
    assert sorted(match.false_negatives) == fn


@given(st.lists(image_pairs(), min_size=1, max_size=6), st.randoms())
@settings(max_examples=50, deadline=None)
def test_merging_is_exact_for_any_partition(pairs, random):
    matches = [match_segments(*pair) for pair in pairs]
    whole = PanopticTally()
    for match in matches:
        whole.add(match)
    parts = [PanopticTally() for _ in range(3)]
    for match in random.sample(matches, len(matches)):
        random.choice(parts).add(match)
    merged = PanopticTally()
    for part in parts:
        merged.merge(part)
    assert [merged.counts(c) for c in range(3)] == [whole.counts(c) for c in range(3)]
    assert merged.images == whole.images == len(pairs)


def test_counts_pairs_of_24_bit_ids():
    gt = np.array([[0xFFFFFF, 0xFFFFFF, 5], [5, 5, 0]], np.int32)
    pred = np.array([[0xFF00FF, 1, 1], [1, 1, 1]], np.int32)
    counted = sorted(zip(*count_pairs(gt, pred), strict=True))
    assert counted == [(0, 1, 1), (5, 1, 3), (0xFFFFFF, 1, 1), (0xFFFFFF, 0xFF00FF, 1)]


def test_iou_of_exactly_one_half_is_no_match():
    match = match_segments(square((0, 40, 1), (40, 100, 9)), {1: SegmentInfo(0), 9: SegmentInfo(1)},
                           square((0, 20, 1), (20, 100, 2)), {1: SegmentInfo(0), 2: SegmentInfo(1)})  # fmt: skip
    assert match.matches == [(1, 60 / 80)]
    assert match.false_positives == [0] and match.false_negatives == [0]


@pytest.mark.parametrize(("void", "fp"), [(50, 1), (51, 0)])
def test_a_prediction_is_excused_only_by_more_than_half_void(void, fp):
    match = match_segments(square((void, 100, 1)), {1: SegmentInfo(0)}, square((0, 100, 7)), {7: SegmentInfo(1)})
    assert totals(match) == (0, fp, 1)


def test_void_of_the_ground_truth_leaves_the_union():
    match = match_segments(square((0, 30, 1)), {1: SegmentInfo(0)}, square((0, 100, 7)), {7: SegmentInfo(0)})
    assert match.matches == [(0, 1.0)]


def test_only_a_crowd_of_the_same_category_excuses():
    gt = square((0, 60, 1), (60, 100, 2))
    infos = {1: SegmentInfo(0, iscrowd=True), 2: SegmentInfo(1)}
    assert totals(
        match_segments(gt, infos, square((0, 60, 5), (60, 100, 6)), {5: SegmentInfo(0), 6: SegmentInfo(1)})
    ) == (1, 0, 0)
    assert totals(
        match_segments(gt, infos, square((0, 60, 5), (60, 100, 6)), {5: SegmentInfo(2), 6: SegmentInfo(1)})
    ) == (1, 1, 0)


def test_last_crowd_wins_unless_united():
    gt, infos = square((0, 50, 1), (50, 100, 2)), {1: SegmentInfo(0, True), 2: SegmentInfo(0, True)}
    pred = square((0, 60, 5)), {5: SegmentInfo(0)}
    assert totals(match_segments(gt, infos, *pred)) == (0, 1, 0)
    assert totals(match_segments(gt, infos, *pred, PanopticProtocol(crowd_union=True))) == (0, 0, 0)


def test_wrong_areas_are_counted_again_or_believed():
    gt, infos = square((0, 40, 1)), {1: SegmentInfo(0, claimed_area=10)}
    pred = square((0, 40, 5)), {5: SegmentInfo(0)}
    recounted = match_segments(gt, infos, *pred)
    assert recounted.matches == [(0, 1.0)] and recounted.wrong_areas == 1
    assert match_segments(gt, infos, *pred, PanopticProtocol(reference_area=True)).matches == [(0, 4.0)]


def test_listed_id_zero_of_a_prediction_is_a_segment():
    match = match_segments(
        square((0, 100, 1)), {1: SegmentInfo(0)}, square((0, 40, 5)), {0: SegmentInfo(0), 5: SegmentInfo(1)}
    )
    assert match.matches == [(0, 0.6)] and match.false_positives == [1]


def test_unlisted_ground_truth_ids_enlarge_the_union():
    match = match_segments(
        square((0, 60, 1), (60, 100, 2)), {1: SegmentInfo(0)}, square((0, 100, 5)), {5: SegmentInfo(0)}
    )
    assert match.matches == [(0, 0.6)] and match.unlisted == 1


@pytest.mark.parametrize(
    ("pred_map", "pred", "text"),
    [
        (square((0, 40, 5)), {}, "id 5 is in the picture but not"),
        (square((0, 40, 5)), {5: SegmentInfo(0), 6: SegmentInfo(0)}, "id 6 is in the list of segments but"),
        (square((0, 40, 5), size=90), {5: SegmentInfo(0)}, "90 x 1, the ground truth 100 x 1"),
    ],
)
def test_faulty_predictions_are_refused(pred_map, pred, text):
    with pytest.raises(ValueError, match=text):
        match_segments(square((0, 40, 1)), {1: SegmentInfo(0)}, pred_map, pred)


def test_absent_groups_and_categories_are_none():
    counts = {1: CategoryCounts(0.9, 1, 1, 0), 2: CategoryCounts(0.0, 0, 2, 0), 3: CategoryCounts(0.0, 0, 0, 0)}
    result = quality(counts, {1: True, 2: True, 3: False})
    assert result["Stuff"] == {"pq": None, "sq": None, "rq": None, "n": 0}
    assert result["per_class"][3] == {"pq": None, "sq": None, "rq": None}
    assert result["per_class"][2] == {"pq": 0.0, "sq": 0.0, "rq": 0.0}
    assert result["All"] == result["Things"]
    assert math.isclose(result["All"]["pq"], (0.9 / 1.5) / 2) and result["All"]["n"] == 2
