"""The mean-IoU family: worked example, brute force, ranges, boundary maps."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfoundry.datasets.metrics.semantic_iou import (
    boundary_iou_scores,
    boundary_matrix,
    boundary_only,
    check_labels,
    confusion_matrix,
    iou_scores,
)


def test_worked_example_has_both_means():
    scores = iou_scores(np.array([[50, 5, 0], [10, 20, 0], [5, 0, 0]]))
    assert scores["IoU"][2] is None and scores["ACC"][2] is None and scores["Precision"][2] == 0.0
    rounded = {k: round(scores[k], 6) for k in ("mIoU", "mIoU_gt", "fwIoU", "mACC", "pACC")}
    assert rounded == {"mIoU": 0.428571, "mIoU_gt": 0.642857, "fwIoU": 0.674603, "mACC": 0.784615, "pACC": 0.777778}
    assert [round(v, 6) for v in scores["IoU"][:2]] == [0.714286, 0.571429]


def test_empty_ground_truth_is_absent():
    scores = iou_scores(np.zeros((2, 2), np.int64))
    assert scores["mIoU"] is None and scores["pACC"] is None and scores["IoU"] == [None, None]


label_maps = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
        st.lists(st.sampled_from([0, 1, 2, 3, 255]), min_size=n, max_size=n),
    )
)


@given(label_maps)
@settings(max_examples=100, deadline=None)
def test_matrix_equals_counting(maps):
    pred, truth = (np.array([m], np.uint8) for m in maps)
    matrix = confusion_matrix(pred, truth, 4)
    for p in range(4):
        for t in range(4):
            assert matrix[p, t] == ((pred == p) & (truth == t)).sum()
    assert matrix.sum() == (truth != 255).sum()


@pytest.mark.parametrize(
    ("pred", "truth", "text"),
    [
        ([[0, 1]], [[0, 7]], r"ground truth holds 7 \(1 pixels\); expected 0..3 or 255"),
        ([[0, 9]], [[0, 1]], r"prediction holds 9"),
        ([[0, 255]], [[0, 1]], r"prediction holds 255"),
        ([[0, 1, 1]], [[0, 1]], "3 x 1"),
    ],
)
def test_values_out_of_range_and_sizes_are_refused(pred, truth, text):
    with pytest.raises(ValueError, match=text):
        confusion_matrix(np.array(pred, np.uint8), np.array(truth, np.uint8), 4)


def test_labels_must_be_whole_numbers():
    with pytest.raises(ValueError, match="integers"):
        check_labels(np.zeros((2, 2)), 3, None, "it")


@pytest.mark.parametrize("size", [(20, 30), (120, 90)])
def test_boundary_is_what_repeated_erosion_removes(size):
    rng = np.random.default_rng(0)
    labels = cv2.resize(rng.integers(0, 4, (5, 5)).astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
    rounds = max(1, round(0.02 * np.hypot(*size)))
    edges = boundary_only(labels)
    for c in range(4):
        mask = np.pad((labels == c).astype(np.uint8), 1)
        inner = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=rounds)[1:-1, 1:-1]
        assert ((edges == c) == ((labels == c) & (inner == 0))).all()


def test_boundary_iou_of_equal_maps_is_one_and_of_shifted_ones_below_iou():
    truth = np.zeros((60, 60), np.uint8)
    truth[20:40, 20:40] = 1
    moved = np.roll(truth, 1, axis=1)
    assert boundary_iou_scores(boundary_matrix(truth, truth, 3))["mean"] == 1.0
    shifted = boundary_iou_scores(boundary_matrix(moved, truth, 3))
    plain = iou_scores(confusion_matrix(moved, truth, 3))
    assert shifted["per_class"][1] < plain["IoU"][1] and shifted["per_class"][2] is None
