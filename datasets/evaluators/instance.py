"""COCO mask and box AP of a model's instances, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import DataError
from ...utils.files import atomic_write_json
from ...utils.mask_runs import encode_labels, measure_labels
from ...utils.masks import encode_masks, mask_boxes, rle_areas
from ...utils.structures.category import Category
from ...utils.structures.results import InstanceResult, PanopticResult, Prediction
from ...utils.structures.samples import Sample
from ..metrics.average_precision import SCALARS, average_precision
from ..metrics.text_table import text_table
from .base import Evaluator, category_labels

IOU_TYPES = ("segm", "bbox")


class InstanceEvaluator(Evaluator):
    """COCO AP over the thing categories: masks at the top level of the summary, boxes under ``bbox``.

    Ground truth are the thing segments of the panoptic map; a crowd is ignored ground truth, as in COCO.

    Args:
        categories: the data set's categories, in index order.
        accelerate: use hotcoco when it is installed.
    """

    table_file = "instance_per_class.txt"

    def __init__(self, categories: Sequence[Category], accelerate: bool = True) -> None:
        self.categories = list(categories)
        self.accelerate = accelerate
        self._images: list[dict[str, Any]] = []

    def process(self, sample: Sample, prediction: Prediction) -> None:  # noqa: D102
        if sample.panoptic is None:
            raise DataError(
                f"image {sample.image_id} ({sample.file_name}) has no panoptic ground truth to take instances from"
            )
        if prediction.instances is None:
            raise ValueError(f"image {sample.image_id}: no instance prediction was made")
        size = sample.panoptic.ids.shape
        if len(prediction.instances.masks) and prediction.instances.masks.shape[1:] != size:
            found = prediction.instances.masks.shape[1:]
            raise DataError(
                f"image {sample.image_id} ({sample.file_name}): instances of size {found}, ground truth {size}"
            )
        self._images.append(
            {
                "index": sample.index,
                "image_id": sample.image_id,
                "size": size,
                "truth": self._truth(sample.panoptic),
                "detections": self._detections(prediction.instances),
            }
        )

    def _truth(self, panoptic: PanopticResult) -> list[dict[str, Any]]:
        measured = measure_labels(panoptic.ids)
        segments = [s for s in panoptic.segments if self.categories[s.category].isthing and s.id in measured]
        codes = encode_labels(panoptic.ids, [s.id for s in segments])
        return [
            {"category_id": int(s.category), "segmentation": code, "bbox": [float(v) for v in measured[s.id][1]],
             "area": measured[s.id][0], "iscrowd": int(s.iscrowd)}
            for s, code in zip(segments, codes, strict=True)
        ]  # fmt: skip

    def _detections(self, instances: InstanceResult) -> list[dict[str, Any]]:
        boxes = mask_boxes(instances.masks) if instances.boxes is None else instances.boxes
        rows = _annotations(np.asarray(instances.masks, bool), instances.categories.tolist(), boxes)
        return [{**row, "score": float(s)} for row, s in zip(rows, instances.scores.tolist(), strict=True)]

    def state(self) -> Any:  # noqa: D102
        return self._images

    def merge(self, states: list[Any]) -> None:  # noqa: D102
        self._images = [image for state in states for image in state]

    def _ordered(self) -> list[dict[str, Any]]:
        # The order of equal scores decides ties: data set order, however the images were spread over processes.
        return sorted(self._images, key=lambda image: image["index"])

    def summarize(self) -> dict[str, Any]:  # noqa: D102
        things = [i for i, c in enumerate(self.categories) if c.isthing]
        images, truth, detections = [], [], []
        for number, image in enumerate(self._ordered(), 1):
            height, width = image["size"]
            images.append({"id": number, "height": height, "width": width})
            truth += [{**row, "image_id": number} for row in image["truth"]]
            detections += [{**row, "image_id": number} for row in image["detections"]]
        labels = category_labels(self.categories)
        per_type: dict[str, dict[str, Any]] = {}
        for iou_type in IOU_TYPES:
            scores = average_precision(images, truth, detections, things, iou_type, self.accelerate)
            per_type[iou_type] = {name: _percent(scores[name]) for name in SCALARS}
            named = {labels[i]: _percent(ap) for i, ap in zip(things, scores["per_class"], strict=True)}
            per_type[iou_type]["AP-c"] = named
        counts = {"images": len(images), "ground_truth": len(truth), "detections": len(detections)}
        return {**per_type["segm"], "bbox": per_type["bbox"], "counts": counts}

    def options(self) -> dict[str, Any]:  # noqa: D102
        return {"metric": "COCO AP", "iou": "0.50:0.05:0.95", "detections_per_image_and_category": 100}

    def table(self, summary: dict[str, Any]) -> str:  # noqa: D102
        return instance_table(summary, "%")

    def write(self, folder: Path) -> list[Path]:
        """Writes ``coco_instances_results.json`` (RLE, data set ids, boxes x, y, width, height)."""
        results = []
        for image in self._ordered():
            for row in image["detections"]:
                entry = {"image_id": image["image_id"], **row, "category_id": self.categories[row["category_id"]].id}
                del entry["area"]
                results.append(entry)
        path = folder / "coco_instances_results.json"
        atomic_write_json(path, results, indent=None)
        return [path]


def instance_table(summary: dict[str, Any], unit: str) -> str:
    """Returns an instance summary as text: overall figures of masks and boxes, then one line per category."""
    overall = [[t, *(s[n] for n in SCALARS)] for t, s in (("masks", summary), ("boxes", summary["bbox"]))]
    rows = [[label, ap, summary["bbox"]["AP-c"][label]] for label, ap in summary["AP-c"].items()]
    table = text_table([f"instances, {unit}", *SCALARS], overall)
    return table + "\n" + text_table(["category", "AP", "box AP"], rows)


def _annotations(masks: np.ndarray, categories: Sequence[int], boxes: np.ndarray) -> list[dict[str, Any]]:
    """Returns COCO annotations of masks (N, H, W) with boxes x0, y0, x1, y1; category indices stand for ids."""
    codes = encode_masks(masks)
    rows = []
    for code, category, box, area in zip(codes, categories, boxes.tolist(), rle_areas(codes).tolist(), strict=True):
        x0, y0, x1, y1 = box
        rows.append(
            {"category_id": int(category), "segmentation": code, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": area}
        )
    return rows


def _percent(value: float | None) -> float | None:
    return None if value is None else 100.0 * value
