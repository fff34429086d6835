"""Checks of a panoptic JSON against the record and against itself."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ...utils.errors import DataError
from ...utils.structures.category import Category
from ..formats.json_row import JsonRow
from ..records.record import Record
from ..records.split import Split
from .findings import Findings


def check_panoptic_json(record: Record, split: Split, data: Mapping[str, Any], findings: Findings) -> None:
    """Reports ids given twice, missing or unknown, wrong numbers, and categories that differ from the record's."""
    add = lambda code, place: findings.add(code, split.name, place)  # noqa: E731
    ids = Counter(info["id"] for info in data["images"])
    annotated = Counter(annotation["image_id"] for annotation in data["annotations"])
    for info in data["images"]:
        place = f"image {info['id']} ({info.get('file_name', 'no file_name')})"
        if ids[info["id"]] > 1:
            add("image-id-duplicate", place)
        if info["id"] not in annotated:
            add("annotation-missing", place)
    for names in (
        Counter(i["file_name"] for i in data["images"] if "file_name" in i),
        Counter(a["file_name"] for a in data["annotations"]),
    ):
        for name, count in names.items():
            if count > 1:
                add("file-name-duplicate", f"{name} ({count} times)")
    for annotation in data["annotations"]:
        place = f"{annotation['file_name']} (image {annotation['image_id']})"
        if annotated[annotation["image_id"]] > 1:
            add("annotation-duplicate", place)
        if ids and annotation["image_id"] not in ids:
            add("annotation-orphan", place)
        _check_segments(record, annotation, place, add)
    if data.get("categories"):
        _check_categories(record.categories, data["categories"], add)


def _check_segments(record: Record, annotation: Mapping[str, Any], place: str, add: Any) -> None:
    seen: Counter[int] = Counter(segment["id"] for segment in annotation["segments_info"])
    stuff: Counter[int] = Counter()
    for segment in annotation["segments_info"]:
        here = f"{place}: segment {segment['id']}"
        if not 1 <= segment["id"] <= 0xFFFFFF:
            add("segment-id-invalid", here)
        index = record.index_of.get(segment["category_id"])
        if index is None:
            add("category-unknown", f"{here}: category id {segment['category_id']!r}")
        elif not record.categories[index].isthing:
            stuff[index] += 1
            if segment.get("iscrowd"):
                add("crowd-stuff", here)
        elif segment.get("iscrowd"):
            add("crowd", here)
        for name in ("area", "bbox"):
            values = segment.get(name, 0)
            values = values if isinstance(values, list) else [values]
            if not all(type(v) in (int, float) and math.isfinite(v) for v in values):
                add("number-invalid", f"{here}: {name} {segment[name]!r}")
    for identifier, count in seen.items():
        if count > 1:
            add("segment-id-duplicate", f"{place}: id {identifier} {count} times")
    for index, count in stuff.items():
        if count > 1:
            add("stuff-twice", f"{place}: {record.categories[index].name} in {count} segments")


def _check_categories(ours: Iterable[Category], theirs: Iterable[Any], add: Any) -> None:
    by_id = {category.id: category for category in ours}
    seen: Counter[int] = Counter()
    for number, entry in enumerate(theirs):
        try:
            row = JsonRow(entry, f"JSON category {number}")
            identifier, category = row.whole("id", None), by_id.get(row.whole("id", None))
            isthing = row.flag("isthing", category is not None and category.isthing)
        except DataError as error:
            add("category-differs", str(error))
            continue
        seen[identifier] += 1
        if category is None:
            continue  # reported where a segment uses it
        if category.name not in _synonyms(entry.get("name", category.name)):
            add("category-differs", f"id {category.id}: {category.name!r} in the record, {entry['name']!r} in the JSON")
        if isthing != category.isthing:
            add("category-differs", f"id {category.id} ({category.name}): isthing differs")
    for identifier, count in seen.items():
        if count > 1:
            add("category-differs", f"JSON lists the category id {identifier} {count} times")


def _synonyms(name: Any) -> list[Any]:
    """Returns a JSON's category name and, where it lists synonyms ("road, route"), each of them."""
    return [name, *(part.strip() for part in name.split(","))] if isinstance(name, str) else [name]
