"""COCO panoptic format: a PNG whose colours are segment ids, and a JSON that says what each id is.

id = R + 256 G + 65536 B, 1..16777215; 0 is VOID (unlabelled). Format: https://cocodataset.org/#format-data (4).
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ...utils.errors import DataError
from ...utils.image_io import MAX_PIXELS, encode_png, read_color_label, read_label, write_png
from ...utils.mask_runs import measure_labels
from .coco_rows import image_row, listed
from .json_file import read_json
from .json_row import JsonRow

VOID = 0
LARGEST_ID = 0xFFFFFF


def rgb_to_id(rgb: np.ndarray) -> np.ndarray:
    """Turns colours (..., 3) uint8 into ids (...,) int32."""
    rgb = np.asarray(rgb)
    if rgb.ndim == 3 and rgb.dtype == np.uint8 and rgb.size and sys.byteorder == "little":
        # A fourth byte per pixel makes four bytes one integer: three times as fast as shifting.
        ids = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA).view(np.int32)[..., 0]
        ids &= 0xFFFFFF
        return ids
    ids = rgb[..., 2].astype(np.int32)
    ids <<= 8
    ids |= rgb[..., 1]
    ids <<= 8
    ids |= rgb[..., 0]
    return ids


def id_to_rgb(ids: np.ndarray | int) -> np.ndarray:
    """Turns ids (...,) in 0..16777215 into colours (..., 3) uint8.

    Raises:
        ValueError: an id is outside 0..16777215.
    """
    ids = np.asarray(ids)
    if ids.size and (ids.min() < 0 or ids.max() > LARGEST_ID):
        raise ValueError(f"ids must lie in 0..16777215, found {ids.min()}..{ids.max()}")
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)


def read_panoptic_png(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads an id map, (H, W) int32 with 0 = VOID, which transparent pixels are too.

    Raises:
        DataError: the file is missing, damaged, or not a colour picture.
    """
    label = read_label(path, max_pixels)
    if label.ndim == 2:
        if label.dtype == np.uint8 and label.any():
            # A palette file is fine (its colours are the ids); a grey one is a semantic map taken for a panoptic one.
            color = read_color_label(path, max_pixels)
            if (color[..., 0] != color[..., 1]).any():
                return rgb_to_id(color)
        if label.any():
            raise DataError(
                f"{path}: a grey picture, expected an RGB PNG with id = R + 256 G + 65536 B "
                "(is it a semantic map? that folder belongs under `semantic` in the record)"
            )
        return np.zeros(label.shape, np.int32)
    return rgb_to_id(label)


def write_panoptic_png(path: str | Path, ids: np.ndarray, compress: int = 1) -> None:
    """Writes an id map (H, W), values 0..16777215, atomically."""
    write_png(path, id_to_rgb(ids), compress)


def encode_panoptic_png(ids: np.ndarray, compress: int = 1) -> bytes:
    """Returns the PNG file of an id map (H, W), values 0..16777215."""
    return encode_png(id_to_rgb(ids), compress)


class SegmentStats(NamedTuple):
    """Size and place of one id: ``area`` in pixels, ``bbox`` = x, y, width, height in pixels."""

    area: int
    bbox: tuple[int, int, int, int]


def segment_stats(ids: np.ndarray) -> dict[int, SegmentStats]:
    """Measures every id of a map, VOID included, in ascending order of id.

    Args:
        ids: (H, W) integers.
    """
    return {identifier: SegmentStats(area, box) for identifier, (area, box) in measure_labels(ids).items()}


def check_ids(found: Collection[int], listed: Collection[int], png: Path, json_file: Path) -> None:
    """Compares the ids of a PNG with those of its JSON entry.

    Args:
        found: ids in the PNG; VOID is allowed and left out.
        listed: ids in ``segments_info``.
        png: named in the error.
        json_file: named in the error.

    Raises:
        DataError: an id occurs on one side only.
    """
    found, listed = set(found) - {VOID}, set(listed)
    if found == listed:
        return
    parts = []
    if found - listed:
        parts.append(f"{len(found - listed)} ids of the PNG are missing in {json_file} ({_some(found - listed)})")
    if listed - found:
        parts.append(f"{len(listed - found)} ids of {json_file} do not occur in the PNG ({_some(listed - found)})")
    raise DataError(f"{png}: {'; '.join(parts)}. Run `validate` on the data set for the full list.")


def read_panoptic_json(path: str | Path, *, categories: bool = False, numbers: bool = True) -> dict[str, Any]:
    """Reads a panoptic JSON and checks its shape.

    Args:
        path: the file.
        categories: also demand the ``categories`` list.
        numbers: also check the measures of segments (``area``, ``bbox``); ``validate`` lists such faults itself.

    Returns:
        The mapping with lists ``images`` (empty when absent, as in predictions; entries as
        :func:`~segfoundry.datasets.formats.coco_rows.image_row` gives them, ids may occur twice), ``annotations`` (each
        with ``image_id``, ``file_name``, ``segments_info`` of ``id``, ``category_id``, ``iscrowd`` and perhaps ``area``
        and ``bbox``) and ``categories`` if present.

    Raises:
        DataError: no JSON, or JSON of another kind (names the kind found and the converter to use); a field of another
            type.
    """
    path = Path(path)
    data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("annotations"), list):
        raise DataError(f"{path}: no list `annotations`; expected a COCO panoptic JSON")
    data["images"] = [image_row(v, f"{path}: images[{n}]") for n, v in enumerate(listed(data, path))]
    if not listed(data, path, "categories") and categories:
        raise DataError(f"{path}: no list `categories` (id, name, isthing, color)")
    data["annotations"] = [
        _annotation(JsonRow(annotation, f"{path}: annotations[{number}]"), numbers)
        for number, annotation in enumerate(data["annotations"])
    ]
    return data


def _annotation(row: JsonRow, numbers: bool) -> dict[str, Any]:
    if "segments_info" not in row.fields:
        if "segmentation" in row.fields:
            raise DataError(
                f"{row.where} has `segmentation` and no `segments_info`: this is a COCO instance JSON "
                "(convert it: prepare --convert detection2panoptic)"
            )
        raise DataError(f"{row.where} has no `segments_info`; expected a COCO panoptic JSON")
    ids: dict[str, Any] = {"image_id": row.identifier("image_id"), "file_name": row.file_name("file_name")}
    segments = row.get("segments_info")
    if not isinstance(segments, list):
        raise DataError(f"{row.where}: `segments_info` must be a list")
    where = f"{row.where} ({ids['file_name']}): segments_info"
    typed = [_segment(JsonRow(segment, f"{where}[{n}]"), numbers) for n, segment in enumerate(segments)]
    return {**row.fields, **ids, "segments_info": typed}


def _segment(row: JsonRow, numbers: bool) -> dict[str, Any]:
    if not {"id", "category_id"} <= row.fields.keys():
        raise DataError(f"{row.where}: a segment lacks an integer `id` or a `category_id`")
    typed: dict[str, Any] = {
        **row.fields,
        "id": row.whole("id", None),
        "category_id": row.whole("category_id", None),
        "iscrowd": int(row.flag("iscrowd", False)),
    }
    if numbers:
        typed |= {"area": row.measure("area")} if row.has("area") else {}
        typed |= {"bbox": list(row.box("bbox"))} if row.has("bbox") else {}
        typed = {name: value for name, value in typed.items() if value is not None}
    return typed


def _some(values: Collection[int], count: int = 5) -> str:
    shown = sorted(values)[:count]
    return ", ".join(map(str, shown)) + (", ..." if len(values) > count else "")
