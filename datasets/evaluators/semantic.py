"""The mean-IoU family of a model's semantic maps, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import DataError
from ...utils.files import atomic_write_json
from ...utils.mask_runs import encode_labels
from ...utils.masks import pack_labels, unpack_labels
from ...utils.structures.category import Category
from ...utils.structures.results import Prediction
from ...utils.structures.samples import Sample
from ..metrics.semantic_iou import (
    IGNORED,
    boundary_iou_scores,
    boundary_matrix,
    confusion_matrix,
    iou_scores,
)
from ..metrics.text_table import text_table
from .base import Evaluator, category_labels

SCALARS = ("mIoU", "mIoU_gt", "fwIoU", "mACC", "pACC")
PER_CLASS = {"IoU": "IoU-c", "ACC": "ACC-c", "Precision": "Precision-c"}


class SemanticEvaluator(Evaluator):
    """mIoU (SEEM's and detectron2's), fwIoU, mACC, pACC; IoU, accuracy and precision per category.

    Args:
        categories: the data set's categories, in index order, at most 255.
        boundary: also give the boundary IoU (twice the time).
        keep_predictions: remember the predictions (packed) for :meth:`write`.

    Raises:
        DataError: more than 255 categories, since 255 marks ignored pixels.
    """

    table_file = "semantic_per_class.txt"
    units = {"images": "images", "counts": "pixels"}

    def __init__(self, categories: Sequence[Category], boundary: bool = False, keep_predictions: bool = True) -> None:
        if len(categories) > IGNORED:
            raise DataError(
                f"semantic evaluation takes at most {IGNORED} categories, the data set has {len(categories)} "
                "(leave `semantic` out of `evaluators` in the record)"
            )
        self.categories = list(categories)
        self.keep_predictions = keep_predictions
        count = len(self.categories)
        self._matrix = np.zeros((count, count), np.int64)
        self._boundary = np.zeros((count + 1, count + 1), np.int64) if boundary else None
        self._images = 0
        self._predictions: list[dict[str, Any]] = []

    def process(self, sample: Sample, prediction: Prediction) -> None:  # noqa: D102
        if sample.semantic is None:
            raise DataError(f"image {sample.image_id} ({sample.file_name}) has no semantic ground truth")
        if prediction.semantic is None:
            raise ValueError(f"image {sample.image_id}: no semantic prediction was made")
        count = len(self.categories)
        try:
            self._matrix += confusion_matrix(prediction.semantic, sample.semantic, count)
        except ValueError as error:
            raise DataError(f"image {sample.image_id} ({sample.file_name}): {error}") from error
        if self._boundary is not None:
            self._boundary += boundary_matrix(prediction.semantic, sample.semantic, count)
        self._images += 1
        if self.keep_predictions:
            packed = pack_labels(prediction.semantic.astype(np.uint8))
            entry = {
                "index": sample.index,
                "image_id": sample.image_id,
                "file_name": sample.file_name,
                "labels": packed,
            }
            self._predictions.append(entry)

    def state(self) -> Any:  # noqa: D102
        return {
            "matrix": self._matrix,
            "boundary": self._boundary,
            "images": self._images,
            "predictions": self._predictions,
        }

    def merge(self, states: list[Any]) -> None:  # noqa: D102
        self._matrix = sum((s["matrix"] for s in states), np.zeros_like(self._matrix))
        if self._boundary is not None:
            self._boundary = sum((s["boundary"] for s in states), np.zeros_like(self._boundary))
        self._images = sum(s["images"] for s in states)
        self._predictions = [p for s in states for p in s["predictions"]]

    def summarize(self) -> dict[str, Any]:  # noqa: D102
        scores = iou_scores(self._matrix)
        labels = category_labels(self.categories)
        summary: dict[str, Any] = {name: _percent(scores[name]) for name in SCALARS}
        if self._boundary is not None:
            scores["boundary"] = boundary_iou_scores(self._boundary)
            summary["BoundaryIoU"] = _percent(scores["boundary"]["mean"])
        summary["images"] = self._images
        for source, name in PER_CLASS.items():
            summary[name] = dict(zip(labels, map(_percent, scores[source]), strict=True))
        if self._boundary is not None:
            summary["BoundaryIoU-c"] = dict(zip(labels, map(_percent, scores["boundary"]["per_class"]), strict=True))
        summary["counts"] = counts_per_class(self._matrix, labels)
        return summary

    def options(self) -> dict[str, Any]:  # noqa: D102
        return {"metric": "semantic IoU", "ignored": IGNORED, "mIoU": "true classes over true or predicted classes"}

    def table(self, summary: dict[str, Any]) -> str:  # noqa: D102
        return semantic_table(summary, "%")

    def write(self, folder: Path) -> list[Path]:
        """Writes ``sem_seg_predictions.json``: COCO stuff results, one RLE per image and category (data set ids)."""
        results = []
        for entry in sorted(self._predictions, key=lambda p: p["index"]):
            labels = unpack_labels(entry["labels"])
            present = np.unique(labels).tolist()
            codes = encode_labels(labels, present)
            results += [
                {
                    "image_id": entry["image_id"],
                    "file_name": entry["file_name"],
                    "category_id": self.categories[c].id,
                    "segmentation": code,
                }
                for c, code in zip(present, codes, strict=True)
            ]
        path = folder / "sem_seg_predictions.json"
        atomic_write_json(path, results, indent=None)
        return [path]


def counts_per_class(matrix: np.ndarray, labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Returns true-positive, false-positive and false-negative pixels of each class."""
    hits, true, predicted = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    columns = zip(labels, hits.tolist(), (predicted - hits).tolist(), (true - hits).tolist(), strict=True)
    return {label: {"TP": tp, "FP": fp, "FN": fn} for label, tp, fp, fn in columns}


def semantic_table(summary: dict[str, Any], unit: str) -> str:
    """Returns a semantic summary as text: overall figures, then one line per category."""
    scalars = [n for n in (*SCALARS, "BoundaryIoU") if n in summary]
    per_class = [n for n in (*PER_CLASS.values(), "BoundaryIoU-c") if n in summary]
    rows = [[label, *(summary[name][label] for name in per_class)] for label in summary["IoU-c"]]
    overall = text_table([f"semantic, {unit}", *scalars], [["All", *(summary[n] for n in scalars)]])
    return overall + "\n" + text_table(["category", *(n.removesuffix("-c") for n in per_class)], rows)


def _percent(value: float | None) -> float | None:
    return None if value is None else 100.0 * value
