"""Skeletons of binary masks: lines one pixel wide, connected as the mask is."""

from __future__ import annotations

from collections.abc import Sequence

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
_INSIDE = 255  # all neighbours belong to the mask
_SORTED_SOONER = 2000  # with fewer pixels than one in so many, sorting them takes less than searching the picture


def skeleton(mask: np.ndarray) -> np.ndarray:
    """Thins a mask (Z. Guo and R. W. Hall, Communications of the ACM 32(3), 1989, algorithm A1).

    Unlike the older algorithm of Zhang and Suen, of small blocks a pixel is left.

    A pixel is looked at again only after a neighbour went, so the time grows with the area, not with area times width.

    Args:
        mask: (H, W) bool; what lies outside counts as background.

    Returns:
        (H, W) bool, a subset of ``mask``.
    """
    left = np.pad(mask.astype(np.uint8), 1)
    flat = left.ravel()
    steps = [row * left.shape[1] + column for row, column in _AROUND]
    pixels = np.flatnonzero(flat)
    # A pixel goes in the first passes only if it touches the background: most of an area need not be looked at.
    candidates = pixels[_codes(left, steps, pixels) != _INSIDE]
    recent = [candidates, candidates]  # pixels that went in the last two passes: since a pass of the same kind
    number = 0
    while any(len(gone) for gone in recent):
        if number >= 2:
            candidates = _near(left, steps, np.concatenate(recent))
        elif number == 1:
            candidates = np.union1d(candidates[flat[candidates] > 0], _near(left, steps, recent[1]))
        removed = candidates[_REMOVABLE[number % 2][_codes(left, steps, candidates)]]
        flat[removed] = 0
        recent = [recent[1], removed]
        number += 1
    return left[1:-1, 1:-1].astype(bool)


def _codes(left: np.ndarray, steps: Sequence[int], pixels: np.ndarray) -> np.ndarray:
    """Returns the neighbourhoods of pixels, (P,) uint8."""
    flat, codes = left.ravel(), np.zeros(len(pixels), np.uint8)
    for bit, step in enumerate(steps):
        codes |= flat[pixels + step] << bit
    return codes


def _near(left: np.ndarray, steps: Sequence[int], pixels: np.ndarray) -> np.ndarray:
    """Returns the pixels of the mask beside some pixels, each once, in order."""
    flat = left.ravel()
    if len(pixels) * _SORTED_SOONER < left.size:
        near = np.unique(np.concatenate([pixels + step for step in steps]))
        return near[flat[near] > 0]
    marked = np.zeros(left.size, bool)
    for step in steps:
        marked[pixels + step] = True
    return np.flatnonzero(marked & (flat > 0))
