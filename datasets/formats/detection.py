"""COCO instance ("detection") format: one annotation per object with a polygon or run-length mask.

Format: https://cocodataset.org/#format-data (1). Masks go through pycocotools.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ...utils.errors import DataError
from ...utils.masks import Rle
from .json_file import read_json
from .segmentation import encode_segmentation


def read_detection_json(path: str | Path) -> dict[str, Any]:
    """Reads a COCO instance or stuff JSON, or a bare list of results.

    Returns:
        The mapping with the lists ``images`` and ``categories`` (empty when absent) and ``annotations``.

    Raises:
        DataError: no JSON, another kind of JSON, or an annotation without image, category or segmentation.
    """
    path = Path(path)
    data = read_json(path)
    data = {"annotations": data} if isinstance(data, list) else data
    if not isinstance(data, dict) or not isinstance(data.get("annotations"), list):
        raise DataError(f"{path}: no list `annotations`; expected a COCO instance JSON")
    for number, annotation in enumerate(data["annotations"]):
        where = f"{path}: annotations[{number}]"
        if not isinstance(annotation, dict):
            raise DataError(f"{where} is no mapping")
        if "segments_info" in annotation:
            raise DataError(f"{where} has `segments_info`: this is a panoptic JSON, expected a COCO instance JSON")
        for name in ("image_id", "category_id", "segmentation"):
            if name not in annotation:
                hint = " (boxes alone cannot be turned into masks)" if name == "segmentation" else ""
                raise DataError(f"{where} has no `{name}`{hint}")
    for name in ("images", "categories"):
        if not isinstance(data.setdefault(name, []), list):
            raise DataError(f"{path}: `{name}` must be a list")
    return data


def segmentation_code(segmentation: Any, height: int, width: int, where: str) -> Rle:
    """Turns polygons, or a run-length mask of either kind, into a compressed run-length code.

    Raises:
        DataError: a polygon of fewer than 3 points or with non-finite numbers, or a mask of another size.
    """
    try:
        return encode_segmentation(segmentation, height, width)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Turns an (H, W) bool mask into a compressed run-length mask that JSON can hold."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")}


def mask_box(mask: np.ndarray) -> list[int]:
    """Returns the x, y, width, height of a mask's true pixels; zeros when it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return [0, 0, 0, 0]
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]
