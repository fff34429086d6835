"""Panoptic PNG + JSON -> COCO instance JSON, semantic PNGs or COCO stuff JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import DataError
from ...utils.image_io import encode_png
from ...utils.mask_runs import encode_labels
from ...utils.structures.category import Category
from ..formats.coco_rows import passed_on
from ..formats.detection import encode_mask, mask_box
from ..formats.foreign_names import find_file
from ..formats.json_file import write_json_stream
from ..formats.panoptic import check_ids, read_panoptic_json, read_panoptic_png, segment_stats
from .categories import coco_categories, coco_entry
from .parallel import run_parallel
from .staging import check_output, holds_only_png, staged
from .to_panoptic import ConvertOptions, check_png_names, png_name

SEMANTIC_VOID = 255
OTHER_ID = 183  # COCO stuff's id of "other": all things together


@dataclass(frozen=True)
class _Job:
    """One annotation; ``values`` maps a category id to what it becomes (absent: left out)."""

    annotation: Mapping[str, Any]
    png: Path
    json_file: Path
    values: Mapping[int, int]
    void: int = 0
    target: Path | None = None


def panoptic_to_detection(
    panoptic_json: Path, png_folder: Path, output_json: Path, options: ConvertOptions, *, things_only: bool = False
) -> int:
    """Writes one annotation with a run-length mask per segment; areas and boxes are measured on the PNG.

    Ids count from 1 (pycocotools' evaluation takes a ground truth of id 0 for "no match").

    Returns:
        Number of annotations.

    Raises:
        DataError: a PNG is missing or damaged, its ids differ from the JSON's, unknown category; nothing would be left.
    """
    check_output(output_json, force=options.force, inputs=[panoptic_json, png_folder])
    data, categories = _read(panoptic_json)
    kept = [c for c in categories if c.isthing or not things_only]
    jobs = _jobs(data, panoptic_json, png_folder, categories, {c.id: c.id for c in kept})
    found = [segment["category_id"] for job in jobs for segment in job.annotation["segments_info"]]
    if found and not {c.id for c in kept}.intersection(found):
        raise DataError(
            f"{panoptic_json}: nothing would be left of its {len(found)} segments, all are stuff (isthing 0)"
        )

    with staged(output_json) as (path,):
        rows = run_parallel(_to_masks, jobs, workers=options.workers, label="to instances")
        return write_json_stream(
            path, _head(data, panoptic_json, map(coco_entry, kept)), "annotations", _numbered(rows)
        )


def panoptic_to_semantic_png(
    panoptic_json: Path,
    png_folder: Path,
    output: Path,
    options: ConvertOptions,
    *,
    dataset_ids: bool = False,
    things_other: bool = False,
) -> None:
    """Writes one semantic PNG per image.

    Args:
        panoptic_json: the annotations.
        png_folder: their PNGs.
        output: folder to write.
        options: see there.
        dataset_ids: pixels hold data set ids with 0 = unlabelled, as panopticapi writes them (16 bit when an id exceeds
            255); default: category indices with 255 = unlabelled, which training and evaluation need.
        things_other: all things become one category: index behind the stuff, or id 183.

    Raises:
        DataError: as :func:`panoptic_to_detection`; more than 255 categories; a category of id 0 with ``dataset_ids``.
    """
    check_output(output, force=options.force, inputs=[panoptic_json, png_folder], replaceable=holds_only_png)
    data, categories = _read(panoptic_json)
    kept = [c for c in categories if not (things_other and c.isthing)]
    values = {c.id: c.id if dataset_ids else i for i, c in enumerate(kept)}
    values |= {c.id: OTHER_ID if dataset_ids else len(kept) for c in categories if c not in kept}
    if dataset_ids and 0 in values:
        raise DataError(f"{panoptic_json}: a category has id 0, which means unlabelled here; write indices instead")
    if not dataset_ids and max(values.values()) >= SEMANTIC_VOID:
        raise DataError(
            f"{panoptic_json}: {len(categories)} categories do not fit 8 bits beside 255; write data set ids"
        )
    with staged(output) as (folder,):
        folder.mkdir(parents=True)
        void = 0 if dataset_ids else SEMANTIC_VOID
        jobs = _jobs(data, panoptic_json, png_folder, categories, values, void, folder)
        for _ in run_parallel(_to_semantic, jobs, workers=options.workers, label="to semantic"):
            pass


def panoptic_to_semantic_json(
    panoptic_json: Path, png_folder: Path, output_json: Path, options: ConvertOptions, *, things_other: bool = False
) -> int:
    """Writes a COCO stuff JSON: per image one run-length mask for each category; returns their number.

    Raises:
        DataError: as :func:`panoptic_to_detection`.
    """
    check_output(output_json, force=options.force, inputs=[panoptic_json, png_folder])
    data, categories = _read(panoptic_json)
    values = {c.id: OTHER_ID if things_other and c.isthing else c.id for c in categories}
    listed = [coco_entry(c) for c in categories if values[c.id] == c.id and not (things_other and c.isthing)]
    if things_other:
        if any(entry["id"] == OTHER_ID for entry in listed):
            raise DataError(f"{panoptic_json}: a stuff category already has the id {OTHER_ID} of `other`")
        listed.append({"id": OTHER_ID, "name": "other", "supercategory": "other", "isthing": 0})
    jobs = _jobs(data, panoptic_json, png_folder, categories, values)
    with staged(output_json) as (path,):
        rows = run_parallel(_to_category_masks, jobs, workers=options.workers, label="to semantic")
        return write_json_stream(path, _head(data, panoptic_json, listed), "annotations", _numbered(rows))


def replace_ids(ids: np.ndarray, values: Mapping[int, int], void: int) -> np.ndarray:
    """Replaces segment ids by values: (H, W) int32 -> (H, W) uint8, or uint16 when a value exceeds 255.

    Args:
        ids: id map.
        values: segment id -> value.
        void: value of all other ids.
    """
    keys, inverse = np.unique(ids, return_inverse=True)
    table = np.array([values.get(key, void) for key in keys.tolist()], np.int64)
    kind = np.uint8 if max([void, *values.values()]) <= 255 else np.uint16
    return table.astype(kind)[inverse.reshape(ids.shape)]


def _to_masks(job: _Job) -> list[dict[str, Any]]:
    ids = _load(job)
    stats = segment_stats(ids)
    kept = [s for s in job.annotation["segments_info"] if s["category_id"] in job.values]
    rows = []
    for segment, code in zip(kept, encode_labels(ids, [s["id"] for s in kept]), strict=True):
        area, box = stats[segment["id"]]
        row = {"image_id": job.annotation["image_id"], "category_id": segment["category_id"], "area": area}
        row |= {"bbox": list(box), "iscrowd": int(segment.get("iscrowd", 0))}
        rows.append(row | {"segmentation": code})
    return rows


def _to_semantic(job: _Job) -> None:
    assert job.target is not None
    wide = max(job.values.values()) > 255
    values = {s["id"]: job.values[s["category_id"]] for s in job.annotation["segments_info"]}
    semantic = replace_ids(_load(job), values, job.void).astype(np.uint16 if wide else np.uint8)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    job.target.write_bytes(encode_png(semantic))


def _to_category_masks(job: _Job) -> list[dict[str, Any]]:
    ids = _load(job)
    members: dict[int, list[int]] = {}
    for segment in job.annotation["segments_info"]:
        members.setdefault(job.values[segment["category_id"]], []).append(segment["id"])
    rows = []
    for category, segments in members.items():
        mask = np.isin(ids, segments)
        row = {"image_id": job.annotation["image_id"], "category_id": category, "area": int(mask.sum())}
        rows.append(row | {"bbox": mask_box(mask), "iscrowd": 0, "segmentation": encode_mask(mask)})
    return rows


def _load(job: _Job) -> np.ndarray:
    ids = read_panoptic_png(job.png)
    check_ids(segment_stats(ids), [s["id"] for s in job.annotation["segments_info"]], job.png, job.json_file)
    return ids


def _read(panoptic_json: Path) -> tuple[dict[str, Any], tuple[Category, ...]]:
    data = read_panoptic_json(panoptic_json, categories=True)
    return data, coco_categories(data["categories"], f"{panoptic_json}: categories", isthing=None)


def _jobs(
    data: Mapping[str, Any],
    json_file: Path,
    png_folder: Path,
    categories: Sequence[Category],
    values: Mapping[int, int],
    void: int = 0,
    target: Path | None = None,
) -> list[_Job]:
    known = {c.id for c in categories}
    check_png_names(dict.fromkeys(a["file_name"] for a in data["annotations"]), json_file)
    jobs: dict[str, _Job] = {}
    for annotation in data["annotations"]:
        name = annotation["file_name"]
        if name in jobs:
            raise DataError(f"{json_file}: {name} has two annotations")
        seen: set[int] = set()
        for segment in annotation["segments_info"]:
            if segment["category_id"] not in known:
                raise DataError(f"{json_file}: {name} has category id {segment['category_id']!r}, not in `categories`")
            if segment["id"] in seen:
                raise DataError(f"{json_file}: {name} lists segment {segment['id']} twice")
            seen.add(segment["id"])
        place = None if target is None else target / png_name(name)
        jobs[name] = _Job(annotation, find_file(png_folder, name), json_file, values, void, place)
    return list(jobs.values())


def _head(data: Mapping[str, Any], path: Path, categories: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return passed_on(data, path) | {"categories": list(categories)}


def _numbered(groups: Iterable[list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    for number, row in enumerate((row for rows in groups for row in rows), 1):
        yield {"id": number, **row}
