"""Data set records and what they name, and the tables and sentences that `prepare` reads."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segfoundry.utils.errors import UserError

from ..support.tiny_data import CATEGORIES
from .target import Target, command

RLE = {"size": [24, 24], "counts": [100, 20, 456]}
POLYGON = [[2, 2, 12, 2, 12, 12, 2, 12]]
IMAGES = [{"id": n, "file_name": f"{n:03d}.png", "height": 24, "width": 24} for n in (1, 2)]
RECORD = {
    "name": "tiny",
    "root": ".",
    "categories": [*CATEGORIES, {"id": 9, "name": "cup", "isthing": True, "supercategory": "kitchen"}],
    "ignore_color": [0, 0, 0],
    "splits": {
        "train": {"images": "train/images", "panoptic_json": "train/panoptic.json", "panoptic": "train/panoptic"},
        "maps": {
            "images": "train/images", "semantic": "train/labels", "objects": "train/labels", "semantic_values": "id",
            "semantic_ignore": [0, 255], "object_ignore": [0], "object_union": True, "image_list": "list.txt",
            "image_names": "*.png", "semantic_names": "*.png", "prompt": "Box",
        },
        "val": {
            "like": "train", "images": "val/images", "panoptic_json": ["missing.json", "val/panoptic.json"],
            "panoptic": "val/panoptic", "captions": "captions.json", "instances": "no.json",
            "optional": ["instances", "captions"],
        },
        "refs": {"images": "train/images", "refs": "refs.p", "refs_split": "val"},
    },
    "evaluators": ["panoptic", "semantic"],
    "aliases": {"tiny_train": "train", "tiny_any": None},
    "min_size_test": 24,
    "max_size_test": 64,
    "resize_test": "bicubic",
}  # fmt: skip


def _list_record(path: Path, *names: str) -> None:
    from segfoundry.datasets.records.catalog import find_record
    from segfoundry.datasets.records.list_items import list_items
    from segfoundry.datasets.records.record import read_record

    record = read_record(path)
    for name in names or record.splits:
        _, split = find_record(str(path), name)
        record.evaluators_for(split)
        list_items(record, split)


def record_with(**keys: Any) -> dict[str, Any]:
    split = {"images": "train/images", "panoptic_json": "train/panoptic.json", "panoptic": "train/panoptic"} | keys
    return RECORD | {"aliases": None, "splits": {"val": {k: v for k, v in split.items() if v is not None}}}


def _labels() -> bytes:
    return cv2.imencode(".png", np.full((24, 24), 7, np.uint8))[1].tobytes()


_LABELS = {f"train/labels/{n:03d}.png": _labels() for n in (1, 2)}
_CAPTIONS = {"images": IMAGES, "annotations": [{"id": n, "image_id": n, "caption": "a ball"} for n in (1, 2)]}
_SENTENCES = [{"sent_id": 1, "raw": "The left ball"}, {"sent_id": 2, "raw": "ball"}]
GROUNDING = {
    "images": IMAGES,
    "categories": list(CATEGORIES),
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "segment_id": 3, "area": 9, "bbox": [1, 2, 3, 4],
            "sentences": _SENTENCES},
        {"id": 2, "image_id": 1, "category_id": 7, "segmentation": RLE, "sentences": [{"raw": "a disc"}]},
        {"id": 3, "image_id": 2, "category_id": 1, "segmentation": POLYGON, "sentences": ["the sky"]},
    ],
}  # fmt: skip
_REFS = [
    {"ref_id": n, "ann_id": n, "image_id": 1, "split": s, "category_id": 7, "file_name": "001.png",
        "sentences": _SENTENCES}
    for n, s in ((1, "val"), (2, "val"), (3, "testA"))
]  # fmt: skip
_REF_MASKS = {
    "images": IMAGES,
    "annotations": [{"id": n, "image_id": 1, "category_id": 7, "segmentation": POLYGON} for n in (1, 2, 3)],
}
_REFS_RECORD = {**record_with(panoptic_json=None, panoptic=None, refs="refs.p", refs_split="val")}


def _pickled(value: Any) -> bytes:
    return pickle.dumps(value, 2)


def list_one(folder: Path) -> None:
    _list_record(folder / "record.yaml", "val")


RECORDS = (
    Target(
        "record", "record.yaml", "yaml", RECORD, lambda folder: _list_record(folder / "record.yaml"),
        {**_LABELS, "list.txt": b"001\n", "captions.json": _CAPTIONS, "refs.p": _pickled(_REFS),
            "instances.json": _REF_MASKS},
    ),
    Target(
        "validated record", "record.yaml", "yaml", record_with(),
        lambda folder: command("validate", folder / "record.yaml", "--workers", 1),
    ),
    Target(
        "image list", "list.txt", "lines", ["001.png", "train/images/002", "# a remark", "/002.png x y"], list_one,
        {**_LABELS, "record.yaml": record_with(panoptic_json=None, panoptic=None, semantic="train/labels",
            image_list="list.txt")},
    ),
    Target(
        "captions", "captions.json", "json", _CAPTIONS, list_one,
        {"record.yaml": record_with(captions="captions.json")}
    ),
    Target(
        "grounding", "grounding.json", "json", GROUNDING, lambda folder: _read_phrases(folder),
        {"record.yaml": record_with(grounding="grounding.json")},
    ),
    Target(
        "grounding alone", "grounding.json", "json", GROUNDING, lambda folder: _read_phrases(folder),
        {"record.yaml": record_with(panoptic_json=None, panoptic=None, grounding="grounding.json")},
    ),
    Target(
        "refs", "refs.p", "pickle", _REFS, lambda folder: _read_phrases(folder),
        {"record.yaml": _REFS_RECORD, "instances.json": _REF_MASKS},
    ),
    Target(
        "refs as JSON", "refs.json", "json", _REFS, lambda folder: _read_phrases(folder),
        {"record.yaml": record_with(panoptic_json=None, panoptic=None, refs="refs.json"),
            "instances.json": _REF_MASKS},
    ),
    Target(
        "masks of refs", "instances.json", "json", _REF_MASKS, lambda folder: _read_phrases(folder),
        {"record.yaml": _REFS_RECORD, "refs.p": _pickled(_REFS)},
    ),
)  # fmt: skip


def _read_phrases(folder: Path) -> None:
    """Lists the images with their phrases and draws the phrases' masks, as training does."""
    from segfoundry.datasets.mappers.phrase_masks import phrase_truth
    from segfoundry.datasets.records.catalog import find_record
    from segfoundry.datasets.records.list_items import list_items

    record, split = find_record(str(folder / "record.yaml"), "val")
    ids = np.ones((24, 24), np.int32)
    ids[12:], ids[3:6, 3:6] = 2, 3
    for item in list_items(record, split):
        try:
            phrase_truth(item, (24, 24), ids, "all")
        except ValueError as error:  # the loader names the image and goes on as INPUT.ON_CORRUPT says
            raise UserError(str(error)) from error


# ---- what `prepare` reads --------------------------------------------------------------------------------------------

_COLORS = {
    "categories": [
        {"id": 1, "name": "sky", "color": [70, 130, 180], "isthing": False, "shades": [[70, 130, 181], "#4682b6"]},
        {"name": "cup", "color": "#dc143c", "kind": "thing", "instances": "color", "supercategory": "kitchen"},
        {"name": "table", "color": [1, 1, 1], "kind": "stuff", "range": [[1, 1, 1], [9, 9, 9]]},
        {"name": "nothing", "color": [255, 255, 255], "kind": "ignore"},
    ],
    "ignore_color": [0, 0, 0],
}
_COLOR_ROWS = [
    ["id", "name", "color", "kind", "r", "g", "b"],
    ["1", "sky", "#4682b4", "stuff", "", "", ""],
    ["2", "cup", '"220, 20, 60"', "thing", "", "", ""],
    ["3", "table", "", "stuff", "9", "8", "7"],
]
_OWN_SENTENCES = {
    "categories": {"sky": ["a blue sky"], "ball": "the ball"},
    "images": {
        "001.png": [
            {"point": [3, 4], "sentences": ["the left ball"]},
            {"category": "ground", "sentences": "the ground"},
        ]
    },
}


def _read_colors(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from segfoundry.datasets.formats.color_table import read_color_table

        table = read_color_table(folder / name)
        table.assign(np.array([[70, 130, 180], [5, 5, 5], [219, 20, 60], [0, 0, 0]], np.uint8), tolerance=2)
        table.nearest((1, 2, 3))

    return read


def _read_sentences(folder: Path) -> None:
    from segfoundry.datasets.formats.grounding import own_segment_sentences, read_sentences
    from segfoundry.datasets.records.record import parse_categories

    found = read_sentences(folder / "sentences.yaml", parse_categories(list(CATEGORIES), "here"))
    ids = np.arange(24 * 24).reshape(24, 24) % 3 + 1
    for image, entries in found.images.items():
        own_segment_sentences(entries, ids, {1: "sky", 2: "ground", 3: "ball"}, image)


def _read_category_file(folder: Path) -> None:
    from segfoundry.datasets.prepare.categories import read_categories

    read_categories(folder / "categories.json")


PREPARATION = (
    Target("colour table", "colors.yaml", "yaml", _COLORS, _read_colors("colors.yaml"), images=False),
    Target("colour table as CSV", "colors.csv", "csv", _COLOR_ROWS, _read_colors("colors.csv"), images=False),
    Target("sentences", "sentences.yaml", "yaml", _OWN_SENTENCES, _read_sentences, images=False),
    Target(
        "categories", "categories.json", "json", {"categories": list(CATEGORIES)}, _read_category_file, images=False
    ),
)
