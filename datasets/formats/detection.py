"""COCO instance ("detection") format: one annotation per object with a polygon or run-length mask.

Format: https://cocodataset.org/#format-data (1). Masks go through pycocotools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ...utils.errors import DataError
from ...utils.masks import Rle
from .coco_rows import AnnotationRow, annotation_row, has_mask, listed
from .json_file import read_json
from .segmentation import encode_segmentation


def read_detection_json(
    path: str | Path, *, scored: bool = False, refuse: Callable[[DataError], None] | None = None
) -> dict[str, Any]:
    """Reads a COCO instance or stuff JSON, or a bare list of results.

    Args:
        path: the file.
        scored: its annotations are predictions with a ``score``.
        refuse: takes the error of a faulty annotation, which is then left out; None: the first one is raised.

    Returns:
        The mapping with the lists ``images`` and ``categories`` (empty when absent) and ``annotations``
        (:class:`AnnotationRow`).

    Raises:
        DataError: no JSON, another kind of JSON, or a faulty annotation.
    """
    path = Path(path)
    data = read_json(path)
    data = {"annotations": data} if isinstance(data, list) else data
    if not isinstance(data, dict) or not isinstance(data.get("annotations"), list):
        raise DataError(f"{path}: no list `annotations`; expected a COCO instance JSON")
    rows: list[AnnotationRow] = []
    values = data["annotations"]
    boxes = sum(isinstance(value, dict) and not has_mask(value) for value in values)
    for number, annotation in enumerate(values):
        where = f"{path}: annotations[{number}]"
        if isinstance(annotation, dict) and "segments_info" in annotation:
            raise DataError(f"{where} has `segments_info`: this is a panoptic JSON, expected a COCO instance JSON")
        try:
            row = annotation_row(annotation, where, scored=scored)
            if _lacks_mask(row, annotation):
                about = (
                    f"(id {row.get('id', 'not given')}, image {row['image_id']}; {boxes} of {len(values)} are like it)"
                )
                raise DataError(f"{where} has no `segmentation`: boxes alone cannot be turned into masks {about}")
            rows.append({"entry": number, **row})
        except DataError as error:
            if refuse is None:
                raise
            refuse(error)
    return data | {"annotations": rows} | {name: listed(data, path, name) for name in ("images", "categories")}


def _lacks_mask(row: AnnotationRow, annotation: Mapping[str, Any]) -> bool:
    """True if an object has no mask; one of no size at all, as annotators export them, is nothing to lose."""
    if "segmentation" in row:
        return False
    return "segmentation" not in annotation or any(row.get("bbox", ())[2:]) or bool(row.get("area"))


def segmentation_code(segmentation: Any, height: int, width: int, where: str) -> Rle:
    """Turns polygons, or a run-length mask of either kind, into a compressed run-length code.

    Raises:
        DataError: see :func:`~segfoundry.datasets.formats.segmentation.encode_segmentation`.
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
