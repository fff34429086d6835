"""Skeletons of binary masks: lines one pixel wide, connected as the mask is."""

from __future__ import annotations

import numpy as np

# Neighbours as (row, column), clockwise from above. A neighbourhood is the byte of these bits.
_AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def _removable() -> np.ndarray:
    """Returns (2, 256) bool: in each sub-iteration, neighbourhoods whose pixel goes (section 3 of the paper, A1)."""
    n, ne, e, se, s, sw, w, nw = ((np.arange(256)[:, None] >> np.arange(8)) & 1).astype(bool).T
    pieces = sum((~a & (b | c)).astype(int) for a, b, c in ((n, ne, e), (e, se, s), (s, sw, w), (w, nw, n)))
    count_1 = sum((a | b).astype(int) for a, b in ((nw, n), (ne, e), (se, s), (sw, w)))
    count_2 = sum((a | b).astype(int) for a, b in ((n, ne), (e, se), (s, sw), (w, nw)))
    count = np.minimum(count_1, count_2)  # 1: the end of a line
    border = (pieces == 1) & (count >= 2) & (count <= 3)
    return np.stack([border & ~((n | ne | ~se) & e), border & ~((s | sw | ~nw) & w)])


_REMOVABLE = _removable()


def skeleton(mask: np.ndarray) -> np.ndarray:
    """Thins a mask (Z. Guo and R. W. Hall, Communications of the ACM 32(3), 1989, algorithm A1).

    Unlike the older algorithm of Zhang and Suen, of small blocks a pixel is left.

    A pixel is looked at again only after a neighbour went, so the time grows with the area, not with area times width.

    Args:
        mask: (H, W) bool; what lies outside counts as background.

    Returns:
        (H, W) bool, a subset of ``mask``.
    """
    left = np.pad(mask.astype(bool), 1)
    flat = left.ravel()
    steps = np.array([row * left.shape[1] + column for row, column in _AROUND])
    weights = 1 << np.arange(8)
    removed = np.flatnonzero(flat)  # every pixel is looked at in the first two passes
    recent = [removed, removed]  # pixels that went in the last two passes: since a pass of the same kind
    candidates = removed
    number = 0
    while any(len(pixels) for pixels in recent):
        if number >= 2:
            near = np.unique((np.concatenate(recent)[:, None] + steps).ravel())
            candidates = near[flat[near]]
        else:
            candidates = candidates[flat[candidates]]
        around = flat[candidates[:, None] + steps] @ weights
        removed = candidates[_REMOVABLE[number % 2][around]]
        flat[removed] = False
        recent = [recent[1], removed]
        number += 1
    return left[1:-1, 1:-1].copy()
