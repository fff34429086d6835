"""Entries of COCO's JSON files as typed rows: what all readers of ``images``, ``annotations`` and results share.

Format: https://cocodataset.org/#format-data and https://cocodataset.org/#format-results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from ...utils.errors import DataError
from .json_row import JsonRow, shown
from .segmentation import MOST_PIXELS


class AnnotationRow(TypedDict, total=False):
    """One object of an instance, stuff or result file; keys that the file leaves out, or has as null, are absent.

    ``image_id`` and ``category_id`` are always there, and in rows of a whole file ``entry``, the place in its list.
    ``segmentation`` is a list or mapping that is not empty; its
    content is checked by :func:`~segfoundry.datasets.formats.segmentation.encode_segmentation`, which knows the image's
    size.
    """

    entry: int
    id: int | str
    image_id: int | str
    category_id: int
    segmentation: list[Any] | dict[str, Any]
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: bool
    score: float


def image_rows(
    data: Mapping[str, Any], path: Path, *, named: bool = False, sized: bool = False, most_pixels: int = MOST_PIXELS
) -> list[dict[str, Any]]:
    """Returns the list ``images`` of a file: its entries, with ``id``, ``file_name``, ``height`` and ``width`` typed.

    Args:
        data: content of the file.
        path: named in errors.
        named: each entry must have a ``file_name``.
        sized: each entry must have ``height`` and ``width``.
        most_pixels: largest image.

    Returns:
        Entries with different ids; empty when the file has no ``images``.

    Raises:
        DataError: no list, an entry lacks a field or has one of another kind, an id occurs twice.
    """
    rows = [image_row(v, f"{path}: images[{n}]", named, sized, most_pixels) for n, v in enumerate(listed(data, path))]
    seen: dict[int | str, int] = {}
    for number, row in enumerate(rows):
        first = seen.setdefault(row["id"], number)
        if first != number:
            raise DataError(f"{path}: images[{number}] has the id {shown(row['id'])}, as images[{first}] has")
    return rows


def listed(data: Mapping[str, Any], path: Path, name: str = "images") -> list[Any]:
    """Returns a list of a file, empty when it has none.

    Raises:
        DataError: it is something else.
    """
    values = data.get(name)
    if values is not None and not isinstance(values, list):
        raise DataError(f"{path}: `{name}` must be a list, found {shown(values)}")
    return values or []


def image_row(
    value: Any, where: str, named: bool = False, sized: bool = False, most_pixels: int = MOST_PIXELS
) -> dict[str, Any]:
    """Returns an entry of ``images``; arguments and errors of :func:`image_rows`."""
    row = JsonRow(value, where)
    typed: dict[str, Any] = {**row.fields, "id": row.identifier("id")}
    if named or "file_name" in typed:
        typed["file_name"] = row.file_name("file_name")
    for name in ("height", "width"):
        if row.has(name):
            typed[name] = row.whole(name, 1)
        elif sized:
            raise DataError(f"{where} ({shown(typed.get('file_name', typed['id']))}) has no height or width")
        else:
            typed.pop(name, None)
    if typed.get("height", 1) * typed.get("width", 1) > most_pixels:
        raise DataError(
            f"{where}: {typed.get('width')} x {typed.get('height')} pixels, at most {most_pixels} can be read"
        )
    return typed


def passed_on(data: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Returns what a converter takes over as it is: ``info``, ``licenses`` and ``images``, as far as a file has them.

    Raises:
        DataError: something in them cannot be written as JSON again (NaN, Infinity).
    """
    kept = {name: data[name] for name in ("info", "licenses", "images") if name in data}
    for name, value in kept.items():
        try:
            json.dumps(value, allow_nan=False)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: `{name}` holds what no JSON file can hold ({error})") from error
    return kept


def annotation_row(value: Any, where: str, *, scored: bool = False) -> AnnotationRow:
    """Returns an object of an instance, stuff or result file.

    Args:
        value: entry of the file.
        where: file and entry, for errors.
        scored: it is a prediction and must have a ``score``.

    Raises:
        DataError: a field is missing or of another kind.
    """
    row = JsonRow(value, where)
    typed = AnnotationRow(image_id=row.identifier("image_id"), category_id=row.whole("category_id", None))
    if row.has("id"):
        typed["id"] = row.identifier("id")
    if has_mask(row.fields):
        segmentation = row.get("segmentation")
        if not isinstance(segmentation, (list, dict)):
            raise row.wrong("segmentation", "polygons or a run-length mask {size, counts}")
        typed["segmentation"] = segmentation
    if row.fields.get("bbox") not in (None, []):
        typed["bbox"] = row.box("bbox")
    if row.has("area"):
        typed["area"] = row.measure("area")
    typed["iscrowd"] = row.flag("iscrowd", False)
    if scored or "score" in row.fields:
        typed["score"] = row.number("score")
    return typed


def has_mask(row: Mapping[str, Any]) -> bool:
    """True if an entry has a ``segmentation``: neither null nor the empty list that annotators write beside a box."""
    return row.get("segmentation") not in (None, [])
