"""Pairs of nearly equal boxes, against comparing each with each."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segfoundry.datasets.validate.alike_boxes import ALIKE, alike_boxes


def iou(a, b):
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inner = max(w, 0) * max(h, 0)
    return inner / (a[2] * a[3] + b[2] * b[3] - inner)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.sampled_from([1, 3, 40, 200, 2000]))
def test_the_pairs_are_those_of_comparing_each_with_each(seed, count, size):
    rng = np.random.default_rng(seed)
    boxes = np.hstack(
        [rng.integers(0, 1 + size // 20, (count, 2)), rng.integers(1 + size * 9 // 10, size + 2, (count, 2))]
    )
    boxes[::3] = np.hstack([rng.integers(0, size, (count, 2)), rng.integers(1, size + 2, (count, 2))])[::3]
    boxes = boxes.tolist()
    expected = [(i, j) for i in range(count) for j in range(i + 1, count) if iou(boxes[i], boxes[j]) >= ALIKE]
    assert alike_boxes(boxes) == expected


def test_boxes_at_the_limit_are_alike():
    assert iou((0, 0, 100, 7), (5, 0, 95, 7)) == ALIKE
    assert alike_boxes([(0, 0, 100, 7), (5, 0, 95, 7), (0, 0, 95, 7), (6, 0, 94, 7)]) == [(0, 1), (0, 2), (1, 3)]
