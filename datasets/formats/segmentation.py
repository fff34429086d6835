"""Masks as annotation files hold them: polygons, or run-length codes of either kind; drawn by pycocotools' rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask


def decode_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Turns an annotation's ``segmentation`` into a mask.

    Args:
        segmentation: list of polygons ``[x0, y0, x1, y1, ...]`` in pixels, which are united (an odd number at a
            polygon's end is left out, as pycocotools does), or ``{"size": [height, width], "counts": ...}`` with a list
            of run lengths or their compressed text.
        height: rows of the image.
        width: columns of the image.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: neither polygons nor a run-length code, a polygon of fewer than 3 points or with a number that is
            not finite, a code of another size or one that is damaged.
    """
    if isinstance(segmentation, Mapping) and "counts" in segmentation and "size" in segmentation:
        return _decode_runs(segmentation, height, width)
    if not isinstance(segmentation, list):
        raise ValueError("`segmentation` is neither a list of polygons nor a run-length mask")
    if not segmentation:
        return np.zeros((height, width), bool)
    for polygon in segmentation:
        # Four numbers would be taken for a box by pycocotools.
        if not isinstance(polygon, list) or len(polygon) < 6:
            raise ValueError(f"a polygon needs at least 3 points x, y, found {str(polygon)[:60]}")
        if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in polygon):
            raise ValueError("a polygon holds something that is no finite number")
    codes = coco_mask.frPyObjects(segmentation, height, width)
    return coco_mask.decode(coco_mask.merge(codes)).astype(bool)


def _decode_runs(code: Mapping[str, Any], height: int, width: int) -> np.ndarray:
    if list(code["size"]) != [height, width]:
        raise ValueError(f"run-length mask of size {code['size']}, the image has {[height, width]}")
    counts = code["counts"]
    try:
        if isinstance(counts, list):
            # pycocotools would write past the image where the runs are too long.
            if sum(counts) != height * width or min(counts, default=0) < 0:
                raise ValueError(f"its runs cover {sum(counts)} of {height * width} pixels")
            return coco_mask.decode(coco_mask.frPyObjects(dict(code), height, width)).astype(bool)
        return coco_mask.decode({"size": [height, width], "counts": counts}).astype(bool)
    except (ValueError, TypeError) as error:
        raise ValueError(f"broken run-length mask ({error})") from error
