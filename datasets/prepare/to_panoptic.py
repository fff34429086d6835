"""COCO instance JSON (with optional stuff), or two-channel PNGs -> panoptic PNG + JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...utils.errors import DataError
from ...utils.image_io import read_label
from ...utils.mask_runs import overlapping_pixels, rle_pixels
from ...utils.masks import Rle, rle_areas
from ...utils.structures.category import Category
from ..formats.detection import read_detection_json, segmentation_code
from ..formats.json_file import read_json, write_json_stream
from ..formats.panoptic import encode_panoptic_png, segment_stats
from .categories import coco_categories, coco_entry
from .parallel import run_parallel
from .segment_ids import SegmentIds
from .staging import check_output, holds_only_png, staged


@dataclass(frozen=True)
class ConvertOptions:
    """Common to the converters: ``seed`` of segment colours, ``force`` replaces earlier results, ``workers``."""

    seed: int = 0
    force: bool = False
    workers: int | None = None


@dataclass(frozen=True)
class _Job:
    """One image of a conversion."""

    image: Mapping[str, Any]
    annotations: Sequence[Mapping[str, Any]]
    stuff: Sequence[Mapping[str, Any]]
    categories: tuple[Category, ...]
    source: Path
    png: Path
    name: str
    seed: int
    overlap: str = "error"
    void: int = 0


class _Layer(NamedTuple):
    """One annotation of an image with its category index and its mask."""

    annotation: Mapping[str, Any]
    index: int
    code: Rle


def png_name(file_name: str) -> str:
    """Returns the PNG of an image: only the last suffix is replaced (``a.b.jpg`` -> ``a.b.png``)."""
    return Path(file_name).with_suffix(".png").as_posix()


def detection_to_panoptic(
    detection_json: Path,
    output_json: Path,
    png_folder: Path,
    options: ConvertOptions,
    *,
    stuff_json: Path | None = None,
    categories: Sequence[Category] | None = None,
    overlap: str = "error",
) -> int:
    """Turns instance masks into panoptic annotations.

    Args:
        detection_json: COCO instance JSON; it may hold stuff annotations too.
        output_json: panoptic JSON to write.
        png_folder: folder of PNGs to write.
        options: see there.
        stuff_json: COCO stuff JSON; it fills the pixels that the first file leaves free.
        categories: default: those of the JSON files (instance JSON: things unless it says otherwise; the other: stuff).
        overlap: what is on top where segments overlap: "error" refuses, "area" the smaller, "score" the higher score,
            "order" the later one. Crowds lie below other things in any case.

    Returns:
        Number of segments that were left out because nothing of them is visible.

    Raises:
        DataError: faulty JSON, unknown category or image, overlaps under "error".
    """
    inputs = [p for p in (detection_json, stuff_json) if p is not None]
    _check_outputs(output_json, png_folder, inputs, options)
    data = read_detection_json(detection_json)
    stuff = {"annotations": [], "categories": []} if stuff_json is None else read_detection_json(stuff_json)
    if not data["images"]:
        raise DataError(f"{detection_json}: no list `images` with id, file_name, height and width")
    if categories is None:
        listed = coco_categories(data["categories"], f"{detection_json}: categories", isthing=True)
        known = {c.id for c in listed}
        extra = [v for v in stuff["categories"] if v.get("id") not in known]
        merged = [coco_entry(c) for c in listed] + [{"isthing": 0} | dict(v) for v in extra]
        categories = coco_categories(merged, f"{detection_json}: categories", isthing=None)
    by_image = _group(data["annotations"], data["images"], detection_json)
    stuff_by_image = _group(stuff["annotations"], data["images"], stuff_json or detection_json)
    with staged(output_json, png_folder) as (json_path, folder):
        jobs = [
            _Job(i, by_image[i["id"]], stuff_by_image[i["id"]], tuple(categories), detection_json, folder / name, name,
                 options.seed, overlap=overlap)
            for i in data["images"] for name in (png_name(i["file_name"]),)
        ]  # fmt: skip
        _check_names(jobs, detection_json)
        hidden = 0

        def rows() -> Iterator[dict[str, Any]]:
            nonlocal hidden
            for annotation, count in run_parallel(_merge_masks, jobs, workers=options.workers, label="to panoptic"):
                hidden += count
                yield annotation

        _write_panoptic(json_path, folder, data, categories, rows())
    return hidden


def two_channel_to_panoptic(
    source: Path,
    images_json: Path,
    output_json: Path,
    png_folder: Path,
    categories: Sequence[Category],
    options: ConvertOptions,
    *,
    void: int = 0,
) -> None:
    """Turns PNGs with R = category id and G + 256 B = instance number into panoptic PNG + JSON.

    Args:
        source: folder of the PNGs, named as the images.
        images_json: any JSON with the list ``images``.
        output_json: panoptic JSON to write.
        png_folder: folder of PNGs to write.
        categories: what the R values mean.
        options: see there.
        void: R value of unlabelled pixels.

    Raises:
        DataError: a PNG is missing or no colour picture, an R value is no category.
    """
    _check_outputs(output_json, png_folder, [source, images_json], options)
    data = read_json(images_json)
    if not isinstance(data, dict) or not isinstance(data.get("images"), list) or not data["images"]:
        raise DataError(f"{images_json}: no list `images` with id and file_name")
    with staged(output_json, png_folder) as (json_path, folder):
        jobs = [
            _Job(i, (), (), tuple(categories), source / name, folder / name, name, options.seed, void=void)
            for i in data["images"] for name in (png_name(i["file_name"]),)
        ]  # fmt: skip
        _check_names(jobs, images_json)
        rows = run_parallel(_split_channels, jobs, workers=options.workers, label="to panoptic")
        _write_panoptic(json_path, folder, data, categories, rows)


def _merge_masks(job: _Job) -> tuple[dict[str, Any], int]:
    """Draws the masks of one image over each other; runs in a worker."""
    height, width = _size(job)
    index_of = {c.id: i for i, c in enumerate(job.categories)}
    layers = []
    for number, annotation in enumerate((*job.stuff, *job.annotations)):
        where = f"{job.source}: annotation {annotation.get('id', number)} of {job.image['file_name']}"
        index = index_of.get(annotation["category_id"])
        if index is None:
            raise DataError(
                f"{where}: unknown category id {annotation['category_id']!r}; pass a file with --categories"
            )
        layers.append(_Layer(annotation, index, segmentation_code(annotation["segmentation"], height, width, where)))
    _check_overlap(job, layers[len(job.stuff) :])
    generator = SegmentIds(job.categories, job.seed, job.name)
    new_ids = [generator.take(layer.index) for layer in layers]
    # Codes count down the columns, so the map is drawn on its side.
    flat = np.zeros(width * height, np.int32)
    crowded: dict[int, bool] = {}
    category_of: dict[int, int] = {}
    for number in sorted(range(len(layers)), key=_heights(job, layers).__getitem__):
        layer, segment = layers[number], new_ids[number]
        flat[rle_pixels(layer.code)] = segment
        category_of[segment] = job.categories[layer.index].id
        crowded[segment] = _is_crowd(job, layer)
    annotation = _finish(job, np.ascontiguousarray(flat.reshape(width, height).T), category_of, crowded)
    return annotation, len(category_of) - len(annotation["segments_info"])


def _is_crowd(job: _Job, layer: _Layer) -> bool:
    return bool(layer.annotation.get("iscrowd", 0)) and job.categories[layer.index].isthing


def _heights(job: _Job, layers: Sequence[_Layer]) -> list[tuple[int, float]]:
    """Returns sort keys: what is larger lies above. Separate stuff < crowds < the rest, by the overlap rule."""
    areas = rle_areas([layer.code for layer in layers]).tolist() if job.overlap == "area" else ()
    heights = []
    for number, layer in enumerate(layers):
        if number < len(job.stuff):
            heights.append((0, 0.0))
        elif _is_crowd(job, layer):
            heights.append((1, 0.0))
        elif job.overlap == "area":
            heights.append((2, -float(areas[number])))
        else:
            heights.append((2, float(layer.annotation.get("score", 0)) if job.overlap == "score" else 0.0))
    return heights


def _check_overlap(job: _Job, layers: Sequence[_Layer]) -> None:
    if job.overlap != "error":
        return
    pixels = overlapping_pixels(layer.code for layer in layers if not _is_crowd(job, layer))
    if pixels:
        raise DataError(
            f"{job.source}: segments of {job.image['file_name']} overlap in {pixels} pixels; say what is on top with "
            "--overlap area (the smaller), score or order"
        )


def _split_channels(job: _Job) -> dict[str, Any]:
    """Converts one two-channel PNG; runs in a worker."""
    label = read_label(job.source)
    if label.ndim != 3:
        raise DataError(f"{job.source}: a grey picture, expected colours with R = category id, G = instance number")
    packed = label[..., 0].astype(np.int32) << 16 | label[..., 2].astype(np.int32) << 8 | label[..., 1]
    index_of = {c.id: i for i, c in enumerate(job.categories)}
    generator = SegmentIds(job.categories, job.seed, job.name)
    category_of: dict[int, int] = {}
    values, places = np.unique(packed, return_inverse=True)
    segments = np.zeros(len(values), np.int32)
    for place, value in enumerate(values.tolist()):
        category = value >> 16
        if category == job.void:
            continue
        if category not in index_of:
            pixels = int((packed == value).sum())
            raise DataError(
                f"{job.source}: R = {category} ({pixels} pixels) is no category id; unlabelled pixels: --void"
            )
        segments[place] = generator.take(index_of[category])
        category_of[int(segments[place])] = category
    return _finish(job, segments[places.reshape(packed.shape)], category_of, {})


def _finish(job: _Job, ids: np.ndarray, category_of: Mapping[int, int], crowded: Mapping[int, bool]) -> dict[str, Any]:
    """Writes the PNG and returns the annotation; segments without a visible pixel are left out."""
    job.png.parent.mkdir(parents=True, exist_ok=True)
    job.png.write_bytes(encode_panoptic_png(ids))
    stats = segment_stats(ids)
    segments = [
        {"id": segment, "category_id": category, "area": stats[segment].area, "bbox": list(stats[segment].bbox),
         "iscrowd": int(crowded.get(segment, False))}
        for segment, category in category_of.items() if segment in stats
    ]  # fmt: skip
    return {"image_id": job.image["id"], "file_name": job.name, "segments_info": segments}


def _size(job: _Job) -> tuple[int, int]:
    try:
        return int(job.image["height"]), int(job.image["width"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{job.source}: image {job.image.get('file_name')} has no height or width") from error


def _write_panoptic(
    path: Path, folder: Path, data: Mapping[str, Any], categories: Sequence[Category], rows: Any
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    head = {k: data[k] for k in ("info", "licenses", "images") if k in data}
    write_json_stream(path, head | {"categories": [coco_entry(c) for c in categories]}, "annotations", rows)


def _group(annotations: Sequence[dict], images: Sequence[dict], path: Path) -> dict[Any, list[dict]]:
    groups: dict[Any, list[dict]] = {image["id"]: [] for image in images}
    for number, annotation in enumerate(annotations):
        if annotation["image_id"] not in groups:
            raise DataError(
                f"{path}: annotations[{number}] belongs to image {annotation['image_id']!r}, not in `images`"
            )
        groups[annotation["image_id"]].append(annotation)
    return groups


def _check_names(jobs: Sequence[_Job], path: Path) -> None:
    seen: dict[str, str] = {}
    for job in jobs:
        if Path(job.name).is_absolute() or ".." in Path(job.name).parts:
            raise DataError(f"{path}: file name {job.image['file_name']!r} leads out of the folder")
        if job.name in seen:
            raise DataError(f"{path}: {seen[job.name]} and {job.image['file_name']} would share the PNG {job.name}")
        seen[job.name] = job.image["file_name"]


def _check_outputs(json_path: Path, folder: Path, inputs: Sequence[Path], options: ConvertOptions) -> None:
    check_output(json_path, force=options.force, inputs=inputs)
    check_output(folder, force=options.force, inputs=inputs, replaceable=holds_only_png)
