"""Masks as annotation files hold them: polygons, or run-length codes of either kind; drawn by pycocotools' rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ...utils.mask_runs import rle_runs
from ...utils.masks import Rle


def decode_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Draws an annotation's ``segmentation``: (height, width) bool.

    Takes the arguments of :func:`encode_segmentation` and raises as it does.
    """
    return coco_mask.decode(encode_segmentation(segmentation, height, width)).astype(bool)


def encode_segmentation(segmentation: Any, height: int, width: int) -> Rle:
    """Turns an annotation's ``segmentation`` into a compressed run-length code, without drawing it.

    Args:
        segmentation: list of polygons ``[x0, y0, x1, y1, ...]`` in pixels, which are united (an odd number at a
            polygon's end is left out, as pycocotools does), or ``{"size": [height, width], "counts": ...}`` with a list
            of run lengths or their compressed text.
        height: rows of the image.
        width: columns of the image.

    Raises:
        ValueError: neither polygons nor a run-length code, a polygon of fewer than 3 points or with a number that is
            not finite, a code of another size or one that is damaged.
    """
    if isinstance(segmentation, Mapping) and "counts" in segmentation and "size" in segmentation:
        return _check_runs(segmentation, height, width)
    if not isinstance(segmentation, list):
        raise ValueError("`segmentation` is neither a list of polygons nor a run-length mask")
    if not segmentation:
        return _as_text(coco_mask.frPyObjects({"size": [height, width], "counts": [height * width]}, height, width))
    for polygon in segmentation:
        # Four numbers would be taken for a box by pycocotools.
        if not isinstance(polygon, list) or len(polygon) < 6:
            raise ValueError(f"a polygon needs at least 3 points x, y, found {str(polygon)[:60]}")
        if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in polygon):
            raise ValueError("a polygon holds something that is no finite number")
    return _as_text(coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width)))


def _check_runs(code: Mapping[str, Any], height: int, width: int) -> Rle:
    if list(code["size"]) != [height, width]:
        raise ValueError(f"run-length mask of size {code['size']}, the image has {[height, width]}")
    found = {"size": [height, width], "counts": code["counts"]}
    try:
        rle_runs(found)
        if isinstance(found["counts"], list):
            found = coco_mask.frPyObjects(found, height, width)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"broken run-length mask ({error})") from error
    return _as_text(found)


def _as_text(code: Mapping[str, Any]) -> Rle:
    """Returns a code whose counts are text, as JSON holds it."""
    counts = code["counts"]
    return {"size": list(code["size"]), "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}
