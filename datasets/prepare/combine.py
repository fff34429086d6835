"""Separate semantic and instance predictions -> panoptic PNG + JSON, the greedy rule of the panoptic paper.

Instances are taken by falling score; one that is hidden by more than a share is dropped; stuff fills what is left.
Source: Kirillov et al., Panoptic Segmentation (CVPR 2019), section 7 ("PQ for combined systems").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import DataError
from ...utils.mask_runs import rle_pixels
from ...utils.structures.category import Category
from ..formats.detection import read_detection_json, segmentation_code
from ..formats.json_file import read_json, write_json_stream
from ..formats.panoptic import encode_panoptic_png, segment_stats
from .categories import coco_entry
from .parallel import run_parallel
from .segment_ids import SegmentIds
from .staging import check_output, holds_only_png, staged
from .to_panoptic import ConvertOptions, png_name


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
    instances: Sequence[Mapping[str, Any]]
    semantic: Sequence[Mapping[str, Any]]
    categories: tuple[Category, ...]
    rules: CombineRules
    folder: Path
    seed: int


def combine_predictions(
    semantic_json: Path,
    instance_json: Path,
    images_json: Path,
    output_json: Path,
    png_folder: Path,
    categories: Sequence[Category],
    options: ConvertOptions,
    rules: CombineRules = CombineRules(),  # noqa: B008 (frozen)
) -> None:
    """Writes panoptic predictions; arguments are COCO stuff results, COCO instance results and a JSON with ``images``.

    Raises:
        DataError: faulty JSON, unknown category, an instance without a score.
    """
    inputs = [semantic_json, instance_json, images_json]
    check_output(output_json, force=options.force, inputs=inputs)
    check_output(png_folder, force=options.force, inputs=inputs, replaceable=holds_only_png)
    images = read_json(images_json)
    if not isinstance(images, dict) or not isinstance(images.get("images"), list) or not images["images"]:
        raise DataError(f"{images_json}: no list `images` with id, file_name, height and width")
    known = {c.id: c for c in categories}
    groups = [_by_image(path, known, scores) for path, scores in ((instance_json, True), (semantic_json, False))]
    with staged(output_json, png_folder) as (path, folder):
        folder.mkdir(parents=True)
        jobs = [
            _Job(
                i,
                groups[0].get(i["id"], ()),
                groups[1].get(i["id"], ()),
                tuple(categories),
                rules,
                folder,
                options.seed,
            )
            for i in images["images"]
        ]
        rows = run_parallel(_combine_one, jobs, workers=options.workers, label="combine")
        head = {"images": images["images"], "categories": [coco_entry(c) for c in categories]}
        write_json_stream(path, head, "annotations", rows)


def _combine_one(job: _Job) -> dict[str, Any]:
    height, width = int(job.image["height"]), int(job.image["width"])
    index_of = {c.id: i for i, c in enumerate(job.categories)}
    name = png_name(job.image["file_name"])
    generator = SegmentIds(job.categories, job.seed, name)
    flat = np.zeros(width * height, np.int32)  # column by column, as codes count
    category_of: dict[int, int] = {}
    chosen = [i for i in job.instances if i["score"] >= job.rules.min_score]
    for annotation in sorted(chosen, key=lambda a: -a["score"]):
        pixels = rle_pixels(segmentation_code(annotation["segmentation"], height, width, f"{name}: instance"))
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
        pixels = rle_pixels(segmentation_code(annotation["segmentation"], height, width, f"{name}: stuff"))
        free = pixels[flat[pixels] == 0]
        if len(free) >= max(job.rules.min_stuff_area, 1):
            segment = generator.take(index)
            flat[free] = segment
            category_of[segment] = annotation["category_id"]
    ids = np.ascontiguousarray(flat.reshape(width, height).T)
    png = job.folder / name
    png.parent.mkdir(parents=True, exist_ok=True)
    png.write_bytes(encode_panoptic_png(ids))
    stats = segment_stats(ids)
    segments = [
        {"id": s, "category_id": c, "area": stats[s].area, "bbox": list(stats[s].bbox), "iscrowd": 0}
        for s, c in category_of.items()
    ]
    return {"image_id": job.image["id"], "file_name": name, "segments_info": segments}


def _by_image(path: Path, known: Mapping[int, Category], scores: bool) -> dict[Any, list[dict[str, Any]]]:
    groups: dict[Any, list[dict[str, Any]]] = {}
    for number, annotation in enumerate(read_detection_json(path)["annotations"]):
        category = known.get(annotation["category_id"])
        # COCO stuff results call all things together "other"; it is skipped like any thing category.
        if category is None and scores:
            raise DataError(f"{path}: annotations[{number}] has the unknown category id {annotation['category_id']!r}")
        if scores and not isinstance(annotation.get("score"), (int, float)):
            raise DataError(f"{path}: annotations[{number}] has no `score`")
        if category is not None:
            groups.setdefault(annotation["image_id"], []).append(annotation)
    return groups
