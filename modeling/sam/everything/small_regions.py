"""Removes small holes and islands from masks."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np


def remove_small_regions(mask: np.ndarray, min_area: int, kind: Literal["holes", "islands"]) -> tuple[np.ndarray, bool]:
    """Fills small holes of a mask, or removes its small islands; pixels that touch at a corner are connected.

    Args:
        mask: (H, W) bool.
        min_area: regions with fewer pixels are small.
        kind: what to look for. If every island is small, the largest one stays.

    Returns:
        The mask (H, W) bool, and whether there were small regions.

    Raises:
        ValueError: if ``kind`` is unknown.
    """
    if kind not in ("holes", "islands"):
        raise ValueError(f"kind is {kind!r}, expected 'holes' or 'islands'")
    holes = kind == "holes"
    searched = ~mask if holes else mask
    _, regions, stats, _ = cv2.connectedComponentsWithStats(searched.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = min_area  # what was not searched is no region
    small = areas < min_area
    if not small.any():
        return mask, False
    if not holes and small[1:].all():
        small[1 + int(areas[1:].argmax())] = False
    removed = small[regions]
    return (mask | removed if holes else mask & ~removed), True
