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
    found = np.array(boxes, float)
    order = np.argsort(found[:, 0], kind="stable")
    low, sides = found[order, :2], found[order, 2:]
    high, areas = low + sides, sides.prod(axis=1)
    # The intersection has at least ALIKE of the width of both boxes: the right one begins in the rest of the left one.
    last = np.searchsorted(low[:, 0], low[:, 0] + (1 - ALIKE) * sides[:, 0] * 1.001, side="right")
    places = np.arange(len(found))
    pairs: list[tuple[int, int]] = []
    for step in range(1, int((last - places).max())):
        one = np.flatnonzero(places + step < last)
        other = one + step
        shared = np.minimum(high[one], high[other]) - np.maximum(low[one], low[other])
        inner = shared.clip(min=0).prod(axis=1)
        alike = inner / (areas[one] + areas[other] - inner) >= ALIKE
        pairs += zip(order[one[alike]].tolist(), order[other[alike]].tolist(), strict=True)
    return sorted((min(pair), max(pair)) for pair in pairs)
