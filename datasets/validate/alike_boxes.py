"""Pairs of nearly equal boxes among many, without comparing each box with each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ALIKE = 0.95
"""Intersection over union from which two segments look like one object annotated twice."""


def alike_boxes(boxes: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Finds the pairs of boxes whose intersection over union is ``ALIKE`` or more.

    Args:
        boxes: x, y, width, height in pixels, each side above 0.

    Returns:
        Places (i, j) with i < j in ``boxes``, in ascending order.
    """
    if len(boxes) < 2:
        return []
    from scipy.spatial import KDTree

    found = np.array(boxes, float)
    sides, areas = found[:, 2:], found[:, 2:].prod(axis=1)
    low, high = found[:, :2], found[:, :2] + sides
    # The intersection is at least ALIKE of each side of both boxes, so no edge moves by more than this share of a side.
    reach = (1 - ALIKE) / ALIKE * sides.max(axis=1) * 1.001
    corners = np.hstack([low, high])
    tree = KDTree(corners)
    pairs: list[tuple[int, int]] = []
    for one, corner in enumerate(corners):
        near = np.array(tree.query_ball_point(corner, reach[one], p=np.inf, return_sorted=True), np.int64)
        others = near[near > one]
        shared = np.minimum(high[one], high[others]) - np.maximum(low[one], low[others])
        inner = shared.clip(min=0).prod(axis=1)
        alike = inner / (areas[one] + areas[others] - inner) >= ALIKE
        pairs += [(one, other) for other in others[alike].tolist()]
    return pairs
