"""COCO instance JSON (with optional stuff), or two-channel PNGs -> panoptic PNG + JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...utils.errors import DataError
from ...utils.image_io import MAX_PIXELS, read_label
from ...utils.mask_runs import overlapping_pixels, rle_pixels
from ...utils.masks import Rle, rle_areas
from ...utils.structures.category import Category
from ..formats.coco_rows import AnnotationRow, image_rows, passed_on
from ..formats.detection import read_detection_json, segmentation_code
from ..formats.foreign_names import find_file, portable_name, storable
from ..formats.json_file import read_json, write_json_stream
from ..formats.json_row import JsonRow
from ..formats.panoptic import encode_panoptic_png, segment_stats
from .categories import coco_categories, coco_entry
from .left_out import NO_MASK, LostRow, Refusals, in_shares, refuse_empty, why_invisible
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
    annotations: Sequence[AnnotationRow]
    stuff: Sequence[AnnotationRow]
    categories: tuple[Category, ...]
    source: Path
    png: Path
    name: str
    seed: int
    overlap: str = "error"
    void: int = 0
    skip_bad: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of an image that says it."""
        return self.image["height"], self.image["width"]


class _Layer(NamedTuple):
    """One annotation of an image with its category index, its mask and its name in messages."""

    annotation: AnnotationRow
    category: int
    code: Rle
    place: str


def png_name(file_name: str) -> str:
    """Returns the PNG of an image: only the last suffix is replaced (``a.b.jpg`` -> ``a.b.png``).

    A name that another machine wrote gives a path of this one, see :func:`.foreign_names.portable_name`.
    """
    return Path(portable_name(file_name)).with_suffix(".png").as_posix()


def png_names(images: Sequence[Mapping[str, Any]], path: Path) -> list[str]:
    """Returns the PNG of each image of a file.

    Raises:
        DataError: two images would share one, or a name leads out of the folder.
    """
    names = [image["file_name"] for image in images]
    check_png_names(names, path)
    return [png_name(name) for name in names]


def listed_images(data: Any, path: Path, sized: bool = False) -> list[dict[str, Any]]:
    """Returns the entries of ``images`` of a file, with names, and with sizes if they must be ``sized``.

    Raises:
        DataError: there is none, or a faulty one.
    """
    rows = image_rows(data, path, named=True, sized=sized, most_pixels=MAX_PIXELS) if isinstance(data, dict) else []
    if not rows:
        raise DataError(f"{path}: no list `images` with id, file_name, height and width")
    return rows


def detection_to_panoptic(
    detection_json: Path,
    output_json: Path,
    png_folder: Path,
    options: ConvertOptions,
    *,
    stuff_json: Path | None = None,
    categories: Sequence[Category] | None = None,
    overlap: str = "error",
    skip_bad: bool = False,
) -> list[LostRow]:
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
        skip_bad: leave faulty annotations out.

    Returns:
        What was left out: segments of which nothing is visible, and faulty annotations.

    Raises:
        DataError: faulty JSON, unknown category or image, overlaps under "error"; nothing would be left.
    """
    inputs = [p for p in (detection_json, stuff_json) if p is not None]
    _check_outputs(output_json, png_folder, inputs, options)
    refuse = Refusals(skip_bad)
    data = read_detection_json(detection_json, refuse=refuse)
    images = listed_images(data, detection_json, sized=True)
    stuff: dict[str, Any] = {"annotations": [], "categories": []}
    if stuff_json is not None:
        stuff = read_detection_json(stuff_json, refuse=refuse)
    if categories is None:
        categories = _merged_categories(data["categories"], stuff["categories"], detection_json)
    by_image = _group(data["annotations"], images, detection_json, refuse)
    stuff_by_image = _group(stuff["annotations"], images, stuff_json or detection_json, refuse)
    lost, kept, head = refuse.lost, 0, passed_on(data | {"images": images}, detection_json)
    with staged(output_json, png_folder) as (json_path, folder):
        jobs = [
            _Job(i, by_image[i["id"]], stuff_by_image[i["id"]], tuple(categories), detection_json, folder / name, name,
                 options.seed, overlap=overlap, skip_bad=skip_bad)
            for i, name in zip(images, png_names(images, detection_json), strict=True)
        ]  # fmt: skip

        def rows() -> Iterator[dict[str, Any]]:
            nonlocal kept
            for annotation, found in run_parallel(_merge_masks, jobs, workers=options.workers, label="to panoptic"):
                lost.extend(found)
                kept += len(annotation["segments_info"])
                yield annotation

        _write_panoptic(json_path, folder, head, categories, rows())
        refuse_empty(detection_json, lost, kept)
    return lost


def _merged_categories(things: Sequence[Any], stuff: Sequence[Any], path: Path) -> tuple[Category, ...]:
    """Joins the categories of both files; ids that both have are those of the first."""
    listed = coco_categories(things, f"{path}: categories", isthing=True)
    known = {c.id for c in listed}
    rows = [JsonRow(value, f"{path}: categories of the stuff[{n}]") for n, value in enumerate(stuff)]
    extra = [{"isthing": 0, **row.fields} for row in rows if row.whole("id") not in known]
    return coco_categories([*map(coco_entry, listed), *extra], f"{path}: categories", isthing=None)


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
    images = listed_images(data, images_json)
    head = passed_on(data | {"images": images}, images_json)
    with staged(output_json, png_folder) as (json_path, folder):
        jobs = [
            _Job(i, (), (), tuple(categories), find_file(source, name), folder / name, name, options.seed, void=void)
            for i, name in zip(images, png_names(images, images_json), strict=True)
        ]  # fmt: skip
        kept = 0

        def rows() -> Iterator[dict[str, Any]]:
            nonlocal kept
            for annotation in run_parallel(_split_channels, jobs, workers=options.workers, label="to panoptic"):
                kept += len(annotation["segments_info"])
                yield annotation

        _write_panoptic(json_path, folder, head, categories, rows())
        if not kept:
            raise DataError(f"{source}: every pixel of its PNGs has R = {void}, unlabelled (--void)")


def _merge_masks(job: _Job) -> tuple[dict[str, Any], list[LostRow]]:
    """Draws the masks of one image over each other; runs in a worker."""
    height, width = job.size
    refuse = Refusals(job.skip_bad)
    layers = _layers(job, job.stuff, refuse)
    stuff = len(layers)
    layers += _layers(job, job.annotations, refuse)
    _check_overlap(job, layers[stuff:])
    generator = SegmentIds(job.categories, job.seed, job.name)
    new_ids = [generator.take(layer.category) for layer in layers]
    # Codes count down the columns, so the map is drawn on its side.
    flat = np.zeros(width * height, np.int32)
    crowded: dict[int, bool] = {}
    category_of: dict[int, int] = {}
    for number in sorted(range(len(layers)), key=_heights(job, layers, stuff).__getitem__):
        layer, segment = layers[number], new_ids[number]
        flat[rle_pixels(layer.code)] = segment
        category_of[segment] = job.categories[layer.category].id
        crowded[segment] = _is_crowd(job, layer)
    annotation = _finish(job, np.ascontiguousarray(flat.reshape(width, height).T), category_of, crowded)
    return annotation, [*refuse.lost, *_invisible(job, annotation, new_ids, layers)]


def _layers(job: _Job, annotations: Sequence[AnnotationRow], refuse: Refusals) -> list[_Layer]:
    """Reads the masks of annotations."""
    height, width = job.size
    index_of = {c.id: i for i, c in enumerate(job.categories)}
    layers = []
    for annotation in annotations:
        place = f"annotation {annotation.get('id', annotation['entry'])} of {job.image['file_name']}"
        index, where = index_of.get(annotation["category_id"]), f"{job.source}: {place}"
        try:
            if index is None:
                category = annotation["category_id"]
                raise DataError(f"{where}: unknown category id {category}; pass a file with --categories")
            code = segmentation_code(annotation.get("segmentation", []), height, width, where)
        except DataError as error:
            refuse(error)
            continue
        layers.append(_Layer(annotation, index, code, place))
    areas = rle_areas([layer.code for layer in layers]).tolist()
    nothing = segmentation_code([], height, width, "")
    return [
        layer._replace(code=nothing) if in_shares(layer.annotation.get("segmentation"), area) else layer
        for layer, area in zip(layers, areas, strict=True)
    ]


def _invisible(
    job: _Job, annotation: Mapping[str, Any], new_ids: Sequence[int], layers: Sequence[_Layer]
) -> Iterator[LostRow]:
    """Yields segments that are not to be seen, and masks without a pixel that should have been part of one."""
    visible = {segment["id"] for segment in annotation["segments_info"]}
    areas = rle_areas([layer.code for layer in layers]).tolist()
    said = set(visible)
    for segment, layer, area in zip(new_ids, layers, areas, strict=True):
        cause = "" if segment in visible and area else why_invisible(layer.annotation, area, *job.size)
        if cause and (segment not in said or (segment in visible and cause != NO_MASK)):
            yield LostRow(layer.place, cause)
        said.add(segment)


def _is_crowd(job: _Job, layer: _Layer) -> bool:
    return bool(layer.annotation.get("iscrowd", 0)) and job.categories[layer.category].isthing


def _heights(job: _Job, layers: Sequence[_Layer], stuff: int) -> list[tuple[int, float]]:
    """Returns sort keys: what is larger lies above. The first ones, stuff < crowds < the rest, by the overlap rule."""
    areas = rle_areas([layer.code for layer in layers]).tolist() if job.overlap == "area" else ()
    heights = []
    for number, layer in enumerate(layers):
        if number < stuff:
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
    label = read_label(job.source, void=job.void)
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


def _write_panoptic(
    path: Path, folder: Path, head: Mapping[str, Any], categories: Sequence[Category], rows: Any
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json_stream(path, {**head, "categories": [coco_entry(c) for c in categories]}, "annotations", rows)


def _group(
    annotations: Sequence[AnnotationRow], images: Sequence[Mapping[str, Any]], path: Path, refuse: Refusals
) -> dict[int | str, list[AnnotationRow]]:
    groups: dict[int | str, list[AnnotationRow]] = {image["id"]: [] for image in images}
    for annotation in annotations:
        image = annotation["image_id"]
        if image in groups:
            groups[image].append(annotation)
        else:
            where = f"{path}: annotations[{annotation['entry']}]"
            refuse(DataError(f"{where} belongs to image {image!r}, not in `images`"))
    return groups


def check_png_names(file_names: Iterable[str], path: Path) -> None:
    """Refuses names of images whose PNGs would lie outside the folder, or be one file.

    Raises:
        DataError: there are some; names ``path``, the JSON file.
    """
    seen: dict[str, str] = {}
    for file_name in file_names:
        name = png_name(file_name)
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"{path}: file name {file_name!r} leads out of the folder")
        if not storable(name):
            raise DataError(f"{path}: file name {file_name!r} is none that a file can have; correct it")
        if name in seen:
            raise DataError(f"{path}: {seen[name]} and {file_name} would share the PNG {name}")
        seen[name] = file_name


def _check_outputs(json_path: Path, folder: Path, inputs: Sequence[Path], options: ConvertOptions) -> None:
    check_output(json_path, force=options.force, inputs=inputs)
    check_output(folder, force=options.force, inputs=inputs, replaceable=holds_only_png)
