"""COCO average precision: pycocotools' evaluation, or hotcoco's when it is installed."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...utils.masks import hotcoco

SCALARS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""The twelve COCO figures, in the order of pycocotools' ``stats``."""


def average_precision(
    images: Sequence[dict[str, Any]],
    truth: Sequence[dict[str, Any]],
    detections: Sequence[dict[str, Any]],
    categories: Sequence[int],
    iou_type: str,
    accelerate: bool = True,
) -> dict[str, Any]:
    """Returns the COCO figures in 0..1.

    Args:
        images: id (positive integers), height, width.
        truth: COCO annotations: image_id, category_id, segmentation (RLE), bbox, area, iscrowd.
        detections: COCO results: image_id, category_id, score, bbox, and for masks segmentation and area.
        categories: category ids; rows of others do not count.
        iou_type: "segm" or "bbox".
        accelerate: use hotcoco when it is installed.

    Returns:
        ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl``, ``AR1``, ``AR10``, ``AR100``, ``ARs``, ``ARm``, ``ARl``
        and ``per_class``: list of AP; None where no ground truth counts.
    """
    if iou_type == "bbox":
        # The size class of an unmatched detection follows the area of what is compared.
        detections = [{**row, "area": row["bbox"][2] * row["bbox"][3]} for row in detections]
    documents = [_document(images, rows, categories) for rows in (truth, detections)]
    module = hotcoco() if accelerate else None
    with contextlib.redirect_stdout(io.StringIO()):
        if module is not None:
            evaluation = module.COCOeval(module.COCO(documents[0]), module.COCO(documents[1]), iou_type)
        else:
            evaluation = _pycocotools(documents, iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = [float(value) for value in evaluation.stats]
    # precision is (thresholds, recalls, categories, area ranges, detection limits); 0 = all areas, -1 = 100 detections.
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    per_class = []
    for k in range(len(categories)):
        values = precision[:, :, k]
        values = values[values > -1]
        per_class.append(float(values.mean()) if values.size else None)
    return {name: None if v < 0 else v for name, v in zip(SCALARS, stats, strict=True)} | {"per_class": per_class}


def _document(images: Sequence[dict], rows: Sequence[dict], categories: Sequence[int]) -> dict[str, Any]:
    # Both engines sort categories by id: numbers in the order of the list keep figures and categories together.
    numbers = {category: number for number, category in enumerate(categories, 1)}
    return {
        "info": {},
        "images": list(images),
        "annotations": [
            {"iscrowd": 0, **row, "id": number, "category_id": numbers[row["category_id"]]}
            for number, row in enumerate((row for row in rows if row["category_id"] in numbers), 1)
        ],
        "categories": [{"id": number, "name": str(c)} for c, number in numbers.items()],
    }


def _pycocotools(documents: Sequence[dict[str, Any]], iou_type: str) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    sides = []
    for document in documents:
        side = COCO()
        side.dataset = document
        side.createIndex()
        sides.append(side)
    return COCOeval(*sides, iou_type)
