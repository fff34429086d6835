"""mIoU family of prediction files: PNG against PNG, or COCO stuff results (RLE) against PNG."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import DataError
from ...utils.image_io import read_label
from ...utils.structures.category import Category
from ..evaluators.base import METRIC_VERSION, category_labels, combined_sha256
from ..evaluators.semantic import PER_CLASS, SCALARS, counts_per_class
from ..formats.json_file import read_json
from ..formats.json_row import JsonRow
from ..formats.segmentation import decode_mask
from ..metrics.semantic_iou import (
    IGNORED,
    boundary_iou_scores,
    boundary_matrix,
    confusion_matrix,
    iou_scores,
)
from .label_files import label_files

_UNLABELLED = -1


def score_semantic(
    gt_folder: str | Path,
    prediction: str | Path,
    categories: Sequence[Category],
    *,
    ignored: int = IGNORED,
    boundary: bool = False,
    workers: int = 1,
) -> dict[str, Any]:
    """Scores semantic predictions.

    Args:
        gt_folder: PNGs with the category index per pixel.
        prediction: folder of PNGs of the same names (without suffix), or a JSON of COCO stuff results: image_id or
            file_name, category_id (the data set's ids), segmentation (RLE).
        categories: in index order.
        ignored: ground-truth value that counts for nothing.
        boundary: also the boundary IoU.
        workers: threads.

    Returns:
        ``mIoU``, ``mIoU_gt``, ``fwIoU``, ``mACC``, ``pACC`` in 0..1; ``IoU-c``, ``ACC-c``, ``Precision-c`` and
        ``counts`` by category name; None where nothing counts; further ``images``, ``unit``,
        ``metric_version``, ``protocol``, ``ground_truth_sha256``.

    Raises:
        DataError: a file is missing, sizes differ, or a value is out of range; names the file.
    """
    truth = label_files(Path(gt_folder))
    source = (
        _JsonSource(Path(prediction), categories) if Path(prediction).suffix == ".json" else _Pngs(Path(prediction))
    )
    count = len(categories)

    def one(name: str) -> tuple[np.ndarray, np.ndarray | None]:
        gt = _label(truth[name])
        try:
            pred = source.labels(name, (gt.shape[0], gt.shape[1]))
            matrix = confusion_matrix(pred, gt, count, ignored)
            return matrix, boundary_matrix(pred, gt, count, ignored) if boundary else None
        except ValueError as error:
            raise DataError(f"{truth[name]} against {source.describe(name)}: {error}") from error

    matrix, edges = np.zeros((count, count), np.int64), np.zeros((count + 1, count + 1), np.int64)
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        for counted, edge in pool.map(one, truth):
            matrix += counted
            edges += 0 if edge is None else edge
    result = _result(matrix, edges if boundary else None, category_labels(categories))
    protocol = {"metric": "semantic IoU", "ignored": ignored, "mIoU": "true classes over true or predicted classes"}
    return result | {
        "images": len(truth),
        "unit": "fraction",
        "metric_version": METRIC_VERSION,
        "protocol": protocol,
        "ground_truth_sha256": {"png": combined_sha256(truth.values())},
    }


def _result(matrix: np.ndarray, edges: np.ndarray | None, labels: Sequence[str]) -> dict[str, Any]:
    scores = iou_scores(matrix)
    result: dict[str, Any] = {name: scores[name] for name in SCALARS}
    result |= {name: dict(zip(labels, scores[key], strict=True)) for key, name in PER_CLASS.items()}
    if edges is not None:
        boundary = boundary_iou_scores(edges)
        result["BoundaryIoU"] = boundary["mean"]
        result["BoundaryIoU-c"] = dict(zip(labels, boundary["per_class"], strict=True))
    return result | {"counts": counts_per_class(matrix, labels)}


class _Pngs:
    """Predictions as PNG files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = label_files(folder)

    def describe(self, name: str) -> str:
        return str(self._files.get(name, self.folder / f"{name}.png"))

    def labels(self, name: str, size: tuple[int, int]) -> np.ndarray:
        if name not in self._files:
            raise DataError(f"{self.folder}: no prediction {name}.png")
        return _label(self._files[name])


class _JsonSource:
    """Predictions as COCO stuff results, joined by file name, else by image id."""

    def __init__(self, path: Path, categories: Sequence[Category]) -> None:
        self.path = path
        self._index = {c.id: i for i, c in enumerate(categories)}
        self._rows: dict[str, list[tuple[int, int, Any]]] = {}
        rows = read_json(path)
        if not isinstance(rows, list):
            raise DataError(f"{path}: expected a list of results (image_id, category_id, segmentation)")
        for number, value in enumerate(rows):
            row = JsonRow(value, f"{path}: result {number}")
            if not {"category_id", "segmentation"} <= row.fields.keys():
                raise DataError(f"{row.where} has no category_id or no segmentation")
            index = self._index.get(row.whole("category_id", None))
            if index is None:
                raise DataError(f"{row.where} has category {row.get('category_id')}, which is not defined")
            self._rows.setdefault(_join_key(row), []).append((number, index, row.get("segmentation")))

    def describe(self, name: str) -> str:
        return f"{self.path} (image {name})"

    def labels(self, name: str, size: tuple[int, int]) -> np.ndarray:
        rows = next((self._rows[key] for key in (name, name.lstrip("0") or "0") if key in self._rows), None)
        if rows is None:
            raise DataError(f"{self.path}: no results for image {name}")
        labels = np.full(size, _UNLABELLED, np.int32)
        for number, index, segmentation in rows:
            try:
                labels[decode_mask(segmentation, *size)] = index
            except ValueError as error:
                raise ValueError(f"result {number}: {error}") from error
        if (labels == _UNLABELLED).any():
            raise ValueError(f"{np.count_nonzero(labels == _UNLABELLED)} pixels have no predicted category")
        return labels


def _join_key(row: JsonRow) -> str:
    return Path(row.file_name("file_name")).stem if row.has("file_name") else str(row.identifier("image_id"))


def _label(path: Path) -> np.ndarray:
    labels = read_label(path, void=IGNORED)
    if labels.ndim != 2:
        raise DataError(f"{path}: a colour picture, expected one channel with category indices")
    return labels
