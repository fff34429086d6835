"""COCO's JSON: annotations and results, for the converters and for `score`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ..support.tiny_data import CATEGORIES
from .data_set_targets import GROUNDING, IMAGES, POLYGON, RECORD, RLE, list_one, record_with
from .target import Target, command

_OBJECTS = [
    {"id": 1, "image_id": 1, "category_id": 7, "segmentation": POLYGON, "area": 100, "bbox": [2, 2, 10, 10],
        "iscrowd": 0},
    {"id": 2, "image_id": 2, "category_id": 7, "segmentation": RLE, "area": 20, "bbox": [4, 4, 2, 12], "iscrowd": 1},
    {"id": 3, "image_id": 2, "category_id": 9, "segmentation": [[14, 14, 20, 14, 20, 20]], "area": 18.5,
     "bbox": [14, 14, 6, 6]},
]  # fmt: skip
_THINGS = [c | {"isthing": 1} for c in RECORD["categories"] if c["isthing"]]  # type: ignore[attr-defined]
_DETECTION = {"info": {}, "images": IMAGES, "annotations": _OBJECTS, "categories": _THINGS}
_STUFF = _DETECTION | {
    "annotations": [{"id": n, "image_id": n, "category_id": 1, "segmentation": RLE, "area": 20} for n in (1, 2)],
    "categories": [dict(CATEGORIES[0])],
}
_RESULTS = [
    {"image_id": 1, "category_id": 7, "segmentation": RLE, "score": 0.9, "bbox": [4, 4, 2, 12]},
    {
        "image_id": 2,
        "category_id": 9,
        "segmentation": {"size": [24, 24], "counts": "l13e00G3GM93GM93GM93GM93GM93GM93GM93GM93GM93GM93GMb0000000000d2"},
        "score": 1,
    },
]
_STUFF_RESULTS = [
    {"image_id": n, "category_id": 1, "segmentation": {"size": [24, 24], "counts": [0, 576]}} for n in (1, 2)
]
_PANOPTIC = {
    "images": IMAGES[:1],
    "annotations": [
        {"image_id": 1, "file_name": "001.png", "segments_info": [
            {"id": 1, "category_id": 1, "area": 300, "bbox": [0, 0, 24, 12], "iscrowd": 0},
            {"id": 2, "category_id": 7, "area": 276, "bbox": [0, 12, 24, 12], "iscrowd": 0}]},
    ],
    "categories": RECORD["categories"],
}  # fmt: skip
_CLICKS = {
    "max_clicks": 3, "iou_click": 1, "metric_version": 1,
    "objects": [{"image_id": 1, "object": n, "iou": [0.5, 0.8, 0.91]} for n in (0, 1)],
}  # fmt: skip
_PHRASE_RESULTS = [
    {"image_id": 1, "object": 0, "text": "the left ball", "segmentation": RLE},
    {"image_id": 1, "object": 1, "text": "a disc", "segmentation": POLYGON},
    {"image_id": 2, "object": 0, "text": "the sky", "segmentation": RLE},
]


def _panoptic_png() -> bytes:
    ids = np.ones((24, 24), np.uint8)
    ids[12:] = 2
    return cv2.imencode(".png", np.stack([0 * ids, 0 * ids, ids], -1))[1].tobytes()


def _convert(kind: str, name: str, *words: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        shutil.rmtree(folder / "out", ignore_errors=True)
        output = folder / "out" / ("semantic" if kind.endswith("semantic") else "out.json")
        paths = [folder / w if "." in w or w == "png" else w for w in words]
        command("prepare", "--convert", kind, "--input", folder / name, "--output", output, "--workers", 1, *paths)

    return read


def _score(task: str, *words: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        command("score", task, *(folder / w if "." in w or w in ("png", "semantic") else w for w in words))

    return read


_INSTANCES = ("instances", "--gt_json", "gt.json", "--pred_json", "results.json", "--no_accelerator")
_PNG = {"png/001.png": _panoptic_png()}
COCO = (
    Target("finer masks", "lvis.json", "json", _DETECTION, list_one,
        {"record.yaml": record_with(instances="lvis.json")}),
    Target("detection", "gt.json", "json", _DETECTION,
           _convert("detection2panoptic", "gt.json", "--overlap", "order"), images=False),
    Target("stuff", "stuff.json", "json", _STUFF,
           _convert("detection2panoptic", "gt.json", "--stuff", "stuff.json"), {"gt.json": _DETECTION}, images=False),
    Target("panoptic", "panoptic.json", "json", _PANOPTIC,
           _convert("panoptic2detection", "panoptic.json", "--masks", "png"), _PNG, images=False),
    Target("panoptic for semantic", "panoptic.json", "json", _PANOPTIC,
           _convert("panoptic2semantic", "panoptic.json", "--masks", "png"), _PNG, images=False),
    Target("panoptic of a record", "panoptic.json", "json", _PANOPTIC,
           lambda folder: command("validate", folder / "record.yaml", "--workers", 1),
           {**_PNG, "record.yaml": record_with(panoptic_json="panoptic.json", panoptic="png")}),
    Target("scored instances", "gt.json", "json", _DETECTION, _score(*_INSTANCES), {"results.json": _RESULTS},
        images=False),
    Target("results", "results.json", "json", _RESULTS, _score(*_INSTANCES), {"gt.json": _DETECTION}, images=False),
    Target("scored panoptic", "panoptic.json", "json", _PANOPTIC,
           _score("panoptic", "--gt_json", "panoptic.json", "--gt_folder", "png", "--pred_json", "pred.json",
                  "--pred_folder", "png"), {**_PNG, "pred.json": _PANOPTIC}, images=False),
    Target("panoptic results", "pred.json", "json", _PANOPTIC,
           _score("panoptic", "--gt_json", "panoptic.json", "--gt_folder", "png", "--pred_json", "pred.json",
                  "--pred_folder", "png"), {**_PNG, "panoptic.json": _PANOPTIC}, images=False),
    Target("stuff results", "results.json", "json", [r | {"category_id": 7} for r in _STUFF_RESULTS],
           _score("semantic", "--gt_folder", "semantic", "--pred_json", "results.json", "--record", "record.yaml"),
           {"record.yaml": RECORD, "semantic/1.png": cv2.imencode(".png", np.zeros((24, 24), np.uint8))[1].tobytes()},
           images=False),
    Target("phrase results", "results.json", "json", _PHRASE_RESULTS,
           _score("referring", "--record", "record.yaml", "--pred_json", "results.json"),
           {"record.yaml": record_with(grounding="grounding.json"), "grounding.json": GROUNDING}),
    Target("click overlaps", "interactive_clicks.json", "json", _CLICKS,
           _score("interactive", "--pred_json", "interactive_clicks.json"), images=False),
)  # fmt: skip
