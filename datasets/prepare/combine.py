"""Separate semantic and instance predictions -> panoptic PNG + JSON, the greedy rule of the panoptic paper.

Instances are taken by falling score; one that is hidden by more than a share is dropped; stuff fills what is left.
Source: Kirillov et al., Panoptic Segmentation (CVPR 2019), section 7 ("PQ for combined systems").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import DataError
from ...utils.mask_runs import rle_pixels
from ...utils.structures.category import Category
from ..formats.coco_rows import AnnotationRow, passed_on
from ..formats.detection import read_detection_json, segmentation_code
from ..formats.json_file import read_json, write_json_stream
from ..formats.panoptic import encode_panoptic_png, segment_stats
from .categories import coco_entry
from .left_out import OTHER_IMAGE, LostRow, Refusals, refuse_empty
from .parallel import run_parallel
from .segment_ids import SegmentIds
from .staging import check_output, holds_only_png, staged
from .to_panoptic import ConvertOptions, listed_images, png_names


@dataclass(frozen=True)
class CombineRules:
    """Thresholds.

    Attributes:
        min_score: instances below are left out.
        max_hidden: share 0..1 of an instance that better ones may cover; more drops it.
        min_stuff_area: smaller stuff is left out (pixels, after things were laid over it).
    """

    min_score: float = 0.5
    max_hidden: float = 0.5
    min_stuff_area: int = 64 * 64


@dataclass(frozen=True)
class _Job:
    image: Mapping[str, Any]
    name: str
    instances: Sequence[AnnotationRow]
    semantic: Sequence[AnnotationRow]
    categories: tuple[Category, ...]
    rules: CombineRules
    folder: Path
    seed: int
    skip_bad: bool


def combine_predictions(
    semantic_json: Path,
    instance_json: Path,
    images_json: Path,
    output_json: Path,
    png_folder: Path,
    categories: Sequence[Category],
    options: ConvertOptions,
    rules: CombineRules = CombineRules(),  # noqa: B008 (frozen)
    *,
    skip_bad: bool = False,
) -> list[LostRow]:
    """Writes panoptic predictions; arguments are COCO stuff results, COCO instance results and a JSON with ``images``.

    Args:
        semantic_json: COCO stuff results.
        instance_json: COCO instance results.
        images_json: any JSON with ``images``.
        output_json: panoptic JSON to write.
        png_folder: folder of PNGs to write.
        categories: of both.
        options: see there.
        rules: thresholds.
        skip_bad: leave faulty results out.

    Returns:
        Results that the rules did not judge: faulty ones, and those of images that are not listed.

    Raises:
        DataError: faulty JSON, unknown category, an instance without a score; nothing would be left.
    """
    inputs = [semantic_json, instance_json, images_json]
    check_output(output_json, force=options.force, inputs=inputs)
    check_output(png_folder, force=options.force, inputs=inputs, replaceable=holds_only_png)
    images = listed_images(read_json(images_json), images_json, sized=True)
    known, refuse = {c.id: c for c in categories}, Refusals(skip_bad)
    groups = [_by_image(p, known, scores, refuse) for p, scores in ((instance_json, True), (semantic_json, False))]
    lost, kept = refuse.lost + _elsewhere(groups, images), 0
    with staged(output_json, png_folder) as (path, folder):
        folder.mkdir(parents=True)
        jobs = [
            _Job(
                i,
                name,
                groups[0].get(i["id"], ()),
                groups[1].get(i["id"], ()),
                tuple(categories),
                rules,
                folder,
                options.seed,
                skip_bad,
            )
            for i, name in zip(images, png_names(images, images_json), strict=True)
        ]

        def rows() -> Iterator[dict[str, Any]]:
            nonlocal kept
            for annotation, found in run_parallel(_combine_one, jobs, workers=options.workers, label="combine"):
                lost.extend(found)
                kept += len(annotation["segments_info"])
                yield annotation

        head = passed_on({"images": images}, images_json) | {"categories": [coco_entry(c) for c in categories]}
        write_json_stream(path, head, "annotations", rows())
        refuse_empty(instance_json, lost, kept)
        if not kept and any(groups):
            raise DataError(
                f"{instance_json}: nothing would be left of its results and those of {semantic_json}: no instance has "
                f"a score of at least {rules.min_score:g}, no stuff {rules.min_stuff_area} pixels"
            )
    return lost


def _elsewhere(
    groups: Sequence[Mapping[int | str, Sequence[Any]]], images: Sequence[Mapping[str, Any]]
) -> list[LostRow]:
    listed = {image["id"] for image in images}
    return [
        LostRow(f"{len(rows)} results of image {image}", OTHER_IMAGE)
        for group in groups
        for image, rows in group.items()
        if image not in listed
    ]


def _combine_one(job: _Job) -> tuple[dict[str, Any], list[LostRow]]:
    height, width = job.image["height"], job.image["width"]
    index_of = {c.id: i for i, c in enumerate(job.categories)}
    generator, refuse = SegmentIds(job.categories, job.seed, job.name), Refusals(job.skip_bad)
    flat = np.zeros(width * height, np.int32)  # column by column, as codes count
    category_of: dict[int, int] = {}
    chosen = [i for i in job.instances if i["score"] >= job.rules.min_score]
    for annotation in sorted(chosen, key=lambda a: -a["score"]):
        pixels = _pixels(job, annotation, "instance", refuse)
        free = pixels[flat[pixels] == 0]
        if not len(free) or 1 - len(free) / len(pixels) > job.rules.max_hidden:
            continue
        segment = generator.take(index_of[annotation["category_id"]])
        flat[free] = segment
        category_of[segment] = annotation["category_id"]
    for annotation in job.semantic:
        index = index_of[annotation["category_id"]]
        if job.categories[index].isthing:
            continue
        pixels = _pixels(job, annotation, "stuff", refuse)
        free = pixels[flat[pixels] == 0]
        if len(free) >= max(job.rules.min_stuff_area, 1):
            segment = generator.take(index)
            flat[free] = segment
            category_of[segment] = annotation["category_id"]
    ids = np.ascontiguousarray(flat.reshape(width, height).T)
    png = job.folder / job.name
    png.parent.mkdir(parents=True, exist_ok=True)
    png.write_bytes(encode_panoptic_png(ids))
    stats = segment_stats(ids)
    segments = [
        {"id": s, "category_id": c, "area": stats[s].area, "bbox": list(stats[s].bbox), "iscrowd": 0}
        for s, c in category_of.items()
    ]
    return {"image_id": job.image["id"], "file_name": job.name, "segments_info": segments}, refuse.lost


def _pixels(job: _Job, annotation: AnnotationRow, kind: str, refuse: Refusals) -> np.ndarray:
    where = f"{job.name}: {kind} result {annotation['entry']}"
    try:
        code = segmentation_code(annotation.get("segmentation", []), job.image["height"], job.image["width"], where)
    except DataError as error:
        refuse(error)
        return np.zeros(0, np.int32)
    return rle_pixels(code)


def _by_image(
    path: Path, known: Mapping[int, Category], scored: bool, refuse: Refusals
) -> dict[int | str, list[AnnotationRow]]:
    groups: dict[int | str, list[AnnotationRow]] = {}
    for annotation in read_detection_json(path, scored=scored, refuse=refuse)["annotations"]:
        # COCO stuff results call all things together "other"; it is skipped like any thing category.
        if annotation["category_id"] in known:
            groups.setdefault(annotation["image_id"], []).append(annotation)
        elif scored:
            where = f"{path}: annotations[{annotation['entry']}]"
            refuse(DataError(f"{where} has the unknown category id {annotation['category_id']}"))
    return groups
