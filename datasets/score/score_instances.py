"""COCO AP of prediction files: instance JSON against result JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...utils.errors import DataError
from ...utils.masks import rle_areas, rle_boxes, segmentation_to_rle
from ...utils.structures.category import Category
from ..evaluators.base import METRIC_VERSION, category_labels, combined_sha256
from ..formats.json_file import read_json
from ..metrics.average_precision import SCALARS, average_precision


def score_instances(gt_json: str | Path, pred_json: str | Path, *, accelerate: bool = True) -> dict[str, Any]:
    """Scores instance predictions by masks and by boxes.

    Args:
        gt_json: COCO instance JSON: images (id, height, width), annotations, categories.
        pred_json: list of results: image_id, category_id, score, segmentation (RLE or polygons) and/or bbox.
        accelerate: use hotcoco when it is installed.

    Returns:
        The twelve COCO figures in 0..1 and ``AP-c`` by category name: masks at the top, boxes under ``bbox``;
        None where nothing counts (masks: also where the predictions have none); further ``counts``, ``unit``,
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
    results = read_json(pred_path)
    if isinstance(results, dict) and isinstance(results.get("annotations"), list):
        results = results["annotations"]
    if not isinstance(results, list):
        raise DataError(f"{pred_path}: expected a list of results (image_id, category_id, score, segmentation or bbox)")
    categories = [_category(path, entry) for entry in data["categories"]]
    reader = _Reader({image["id"]: image for image in data["images"]}, {c.id for c in categories})
    truth = [reader.row(path, n, row) for n, row in enumerate(data["annotations"])]
    detections = [reader.row(pred_path, n, row, scored=True) for n, row in enumerate(results)]
    images = [{"id": n, "height": i["height"], "width": i["width"]} for n, i in enumerate(data["images"], 1)]
    labels = category_labels(categories)
    # A ground-truth row without a mask counts in neither kind of comparison of masks.
    masked = all("segmentation" in row for row in detections) and all("segmentation" in row for row in truth)
    per_type = {}
    for iou_type in ("segm", "bbox"):
        if iou_type == "segm" and not masked:
            per_type[iou_type] = dict.fromkeys(SCALARS) | {"AP-c": dict.fromkeys(labels)}
            continue
        scores = average_precision(images, truth, detections, [c.id for c in categories], iou_type, accelerate)
        named = dict(zip(labels, scores.pop("per_class"), strict=True))
        per_type[iou_type] = {**scores, "AP-c": named}
    return {
        **per_type["segm"],
        "bbox": per_type["bbox"],
        "counts": {"images": len(images), "ground_truth": len(truth), "detections": len(detections)},
        "unit": "fraction",
        "metric_version": METRIC_VERSION,
        "protocol": {"metric": "COCO AP", "iou": "0.50:0.05:0.95", "detections_per_image_and_category": 100},
        "ground_truth_sha256": {"json": combined_sha256([path])},
    }


def _category(path: Path, entry: dict[str, Any]) -> Category:
    if "id" not in entry or "name" not in entry:
        raise DataError(f"{path}: an entry of `categories` has no `id` or no `name`")
    return Category(entry["id"], str(entry["name"]), True, (0, 0, 0))


class _Reader:
    """Turns annotation entries into the form that the AP evaluation takes, with images numbered from 1."""

    def __init__(self, images: dict[Any, dict[str, Any]], categories: set[int]) -> None:
        self._images = images
        self._numbers = {image_id: number for number, image_id in enumerate(images, 1)}
        self._categories = categories

    def row(self, path: Path, number: int, entry: Any, scored: bool = False) -> dict[str, Any]:
        where = f"{path}: entry {number}"
        if not isinstance(entry, dict) or "image_id" not in entry or "category_id" not in entry:
            raise DataError(f"{where} has no image_id or no category_id")
        if entry["image_id"] not in self._images:
            raise DataError(f"{where} names image {entry['image_id']!r}, which the ground truth does not have")
        if entry["category_id"] not in self._categories:
            raise DataError(f"{where} has category {entry['category_id']}, which the ground truth does not have")
        if scored and not isinstance(entry.get("score"), (int, float)):
            raise DataError(f"{where} has no score")
        return self._plain(where, entry, scored)

    def _plain(self, where: str, entry: dict[str, Any], scored: bool) -> dict[str, Any]:
        image = self._images[entry["image_id"]]
        row = {"image_id": self._numbers[entry["image_id"]], "category_id": entry["category_id"]}
        if scored:
            row["score"] = float(entry["score"])
        else:
            row["iscrowd"] = int(entry.get("iscrowd", 0))
        if entry.get("segmentation"):
            try:
                code = segmentation_to_rle(entry["segmentation"], image["height"], image["width"])
            except ValueError as error:
                raise DataError(f"{where} (image {entry['image_id']}): {error}") from error
            row["segmentation"] = code
            row["area"] = int(rle_areas([code])[0])
            row["bbox"] = rle_boxes([code])[0].tolist()
        if entry.get("bbox"):
            row["bbox"] = [float(v) for v in entry["bbox"]]
        if "bbox" not in row:
            raise DataError(f"{where} has neither segmentation nor bbox")
        row.setdefault("area", row["bbox"][2] * row["bbox"][3])
        if not scored and entry.get("area") is not None:
            row["area"] = entry["area"]  # COCO's own field decides the size class of ground truth
        return row
