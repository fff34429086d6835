"""COCO AP of prediction files: instance JSON against result JSON."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...utils.errors import DataError
from ...utils.masks import rle_areas, rle_boxes
from ...utils.structures.category import Category
from ..evaluators.base import METRIC_VERSION, category_labels, combined_sha256
from ..formats.coco_rows import annotation_row, image_rows
from ..formats.json_file import read_json
from ..formats.json_row import JsonRow
from ..formats.segmentation import encode_segmentation
from ..metrics.average_precision import SCALARS, average_precision

_SHOWN = 5


def score_instances(gt_json: str | Path, pred_json: str | Path, *, accelerate: bool = True) -> dict[str, Any]:
    """Scores instance predictions by masks and by boxes.

    Rows without a mask count in the comparison of boxes alone; a warning names them.

    Args:
        gt_json: COCO instance JSON: images (id, height, width), annotations, categories.
        pred_json: list of results: image_id, category_id, score, segmentation (RLE or polygons) and/or bbox.
        accelerate: use hotcoco when it is installed.

    Returns:
        The twelve COCO figures in 0..1 and ``AP-c`` by category name: masks at the top, boxes under ``bbox``;
        None where nothing counts (masks: also where no row of a file has one); further ``counts``, ``unit``,
        ``metric_version``, ``protocol``, ``ground_truth_sha256``.

    Raises:
        DataError: a file is missing or faulty, an image or category is unknown; names the entry.
    """
    path, pred_path = Path(gt_json), Path(pred_json)
    data = read_json(path)
    if not isinstance(data, dict) or not all(
        isinstance(data.get(k), list) for k in ("images", "annotations", "categories")
    ):
        raise DataError(f"{path}: expected a COCO instance JSON with images, annotations and categories")
    infos, categories = image_rows(data, path, sized=True), _categories(path, data["categories"])
    reader = _Reader(infos, {c.id for c in categories})
    truth = [reader.row(path, n, row) for n, row in enumerate(data["annotations"])]
    detections = [reader.row(pred_path, n, row, scored=True) for n, row in enumerate(_results(pred_path))]
    images = [{"id": n, "height": i["height"], "width": i["width"]} for n, i in enumerate(infos, 1)]
    per_type = {}
    for iou_type in ("segm", "bbox"):
        sides: list[list[dict[str, Any]] | None] = [truth, detections]
        if iou_type == "segm":
            sides = [_masked(rows, place, infos) for rows, place in ((truth, path), (detections, pred_path))]
        per_type[iou_type] = _figures(images, sides, categories, iou_type, accelerate)
    return {
        **per_type["segm"],
        "bbox": per_type["bbox"],
        "counts": {"images": len(images), "ground_truth": len(truth), "detections": len(detections)},
        "unit": "fraction",
        "metric_version": METRIC_VERSION,
        "protocol": {"metric": "COCO AP", "iou": "0.50:0.05:0.95", "detections_per_image_and_category": 100},
        "ground_truth_sha256": {"json": combined_sha256([path])},
    }


def _figures(
    images: Sequence[dict[str, Any]],
    sides: Sequence[Sequence[dict[str, Any]] | None],
    categories: Sequence[Category],
    iou_type: str,
    accelerate: bool,
) -> dict[str, Any]:
    labels, (truth, detections) = category_labels(categories), sides
    if truth is None or detections is None:
        return dict.fromkeys(SCALARS) | {"AP-c": dict.fromkeys(labels)}
    scores = average_precision(images, truth, detections, [c.id for c in categories], iou_type, accelerate)
    named = dict(zip(labels, scores.pop("per_class"), strict=True))
    return {**scores, "AP-c": named}


def _masked(
    rows: Sequence[dict[str, Any]], path: Path, images: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]] | None:
    """Returns the rows with a mask and warns of the others; None where a file has boxes alone."""
    kept = [row for row in rows if "segmentation" in row]
    if not kept and rows:
        return None
    lost = [number for number, row in enumerate(rows) if "segmentation" not in row]
    if lost:
        named = [f"entry {number} of image {images[rows[number]['image_id'] - 1]['id']}" for number in lost[:_SHOWN]]
        warnings.warn(
            f"{path}: {len(lost)} of {len(rows)} entries have no mask and do not count in the figures of masks: "
            + ", ".join(named + ["..."] * (len(lost) > _SHOWN)),
            stacklevel=3,
        )
    return kept


def _results(path: Path) -> list[Any]:
    results = read_json(path)
    if isinstance(results, dict) and isinstance(results.get("annotations"), list):
        results = results["annotations"]
    if not isinstance(results, list):
        raise DataError(f"{path}: expected a list of results (image_id, category_id, score, segmentation or bbox)")
    return results


def _categories(path: Path, entries: Sequence[Any]) -> list[Category]:
    found: dict[int, Category] = {}
    for number, entry in enumerate(entries):
        row = JsonRow(entry, f"{path}: categories[{number}]")
        identifier = row.whole("id", None)
        if identifier in found:
            raise DataError(f"{row.where}: the category id {identifier} is listed twice")
        found[identifier] = Category(identifier, row.text("name"), True, (0, 0, 0))
    return list(found.values())


class _Reader:
    """Turns annotation entries into the form that the AP evaluation takes, with images numbered from 1."""

    def __init__(self, images: Sequence[Mapping[str, Any]], categories: set[int]) -> None:
        self._images = {image["id"]: image for image in images}
        self._numbers = {image["id"]: number for number, image in enumerate(images, 1)}
        self._categories = categories

    def row(self, path: Path, number: int, entry: Any, scored: bool = False) -> dict[str, Any]:
        where = f"{path}: entry {number}"
        if scored and isinstance(entry, dict) and "score" not in entry:
            raise DataError(f"{where} has no score (the ground truth taken for the predictions?)")
        typed = annotation_row(entry, where, scored=scored)
        image_id = typed["image_id"]
        if image_id not in self._images:
            raise DataError(f"{where} names image {image_id!r}, which the ground truth does not have")
        if typed["category_id"] not in self._categories:
            raise DataError(f"{where} has category {typed['category_id']}, which the ground truth does not have")
        image = self._images[image_id]
        row: dict[str, Any] = {"image_id": self._numbers[image_id], "category_id": typed["category_id"]}
        row |= {"score": float(typed["score"])} if scored else {"iscrowd": int(typed["iscrowd"])}
        if "segmentation" in typed:
            try:
                code = encode_segmentation(typed["segmentation"], image["height"], image["width"])
            except ValueError as error:
                raise DataError(f"{where} (image {image_id}): {error}") from error
            row |= {"segmentation": code, "area": int(rle_areas([code])[0]), "bbox": rle_boxes([code])[0].tolist()}
        if "bbox" in typed:
            row["bbox"] = [float(v) for v in typed["bbox"]]
        if "bbox" not in row:
            raise DataError(f"{where} has neither segmentation nor bbox")
        row.setdefault("area", row["bbox"][2] * row["bbox"][3])
        if not scored and "area" in typed:
            row["area"] = typed["area"]  # COCO's own field decides the size class of ground truth
        return row
