"""Predictions back to files, each task in its own way (:mod:`segfoundry.datasets.tasks`).

Layout of the output folder, NAME being the image's output name (which may contain folders)::

    panoptic.json       COCO panoptic: images, annotations with segments_info (plus score), categories
    panoptic/NAME.png   id = R + 256 G + 65536 B, 0 = nothing predicted
    semantic/NAME.png   category index 0..K-1 per pixel, one channel (8 bit; 16 bit for more than 255 categories)
    instances.json      COCO results: image_id, category_id, segmentation (RLE), bbox, score
    foreground/NAME.png 255 = foreground, 0 = background
    probability/NAME.png probability of foreground, 0..255 (on request)
    everything/NAME.*   masks found without prompts, see :mod:`segfoundry.datasets.writers.everything`
    categories.json     the vocabulary in index order

All ids of categories in the files are the categories' own ids; only the semantic PNG holds indices.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.files import atomic_write_json
from ...utils.structures.category import Category
from ...utils.structures.results import InstanceResult, PanopticResult, Prediction
from ..formats.panoptic import segment_stats
from ..tasks.base import PredictedImage, ResultTask, ResultWriter
from ..tasks.registry import all_result_tasks, results_of


class PredictionWriter:
    """Writes the predictions of many images into one folder.

    PNG files are written at once, the JSON files by :meth:`close`, ordered by the places that the images were given.

    Args:
        folder: output folder; created.
        categories: the vocabulary, in index order.
        options: keywords of the tasks' writers that are on (``ResultTask.options``).
    """

    def __init__(self, folder: Path, categories: Sequence[Category], **options: bool) -> None:
        self.folder = Path(folder)
        self.categories = list(categories)
        self._options = options
        self._writers: dict[str, ResultWriter] = {}
        self.folder.mkdir(parents=True, exist_ok=True)

    def add(
        self, place: tuple[int, int], name: str, image_id: int | str, file_name: str, prediction: Prediction
    ) -> None:
        """Writes the parts of ``prediction`` that are there.

        Args:
            place: place of the image in the JSON files: number of the input file, number of the frame in it.
            name: output name without suffix, relative to the folders of the tasks.
            image_id: id that the JSON files give the image.
            file_name: name of the input file, for the JSON files.
            prediction: what to write; at least one part is there.

        Raises:
            ValueError: if there is nothing to write.
        """
        found = results_of(prediction)
        if not found:
            raise ValueError(f"the prediction is empty: none of {', '.join(task.name for task in all_result_tasks())}")
        image = PredictedImage(place, name, image_id, file_name)
        for task, result in found:
            writer = self._writers.get(task.name) or self._begin(task)
            writer.add(image, result)
            self._writers[task.name] = writer  # now that it has something to close

    def _begin(self, task: ResultTask) -> ResultWriter:
        own = {o.keyword: self._options[o.keyword] for o in task.options if o.keyword in self._options}
        return task.writer(self.folder, self.categories, **own)

    def close(self) -> list[Path]:
        """Writes the JSON files and returns their paths."""
        categories = self.folder / "categories.json"
        atomic_write_json(categories, [category_entry(c) for c in self.categories])
        return [categories, *(path for writer in self._writers.values() for path in writer.close())]


def category_entry(category: Category) -> dict[str, Any]:
    """Returns a category as COCO's JSON files hold it."""
    return {
        "id": category.id,
        "name": category.name,
        "isthing": int(category.isthing),
        "color": list(category.color),
        "supercategory": category.supercategory,
    }


def segments_info(result: PanopticResult, categories: Sequence[Category]) -> list[dict[str, Any]]:
    """Returns COCO's ``segments_info`` of a panoptic map; areas and boxes (x, y, width, height) are measured in it."""
    measured = segment_stats(result.ids)
    entries = []
    for segment in result.segments:
        if segment.id not in measured:
            continue
        area, box = measured[segment.id]
        entry = {
            "id": segment.id,
            "category_id": categories[segment.category].id,
            "isthing": int(segment.isthing),
            "iscrowd": int(segment.iscrowd),
            "area": int(area),
            "bbox": [int(v) for v in box],
        }
        if segment.score is not None:
            entry["score"] = round(float(segment.score), 6)
        entries.append(entry)
    return entries


def instance_results(
    instances: InstanceResult, image_id: int | str, categories: Sequence[Category]
) -> list[dict[str, Any]]:
    """Returns COCO result entries of one image, best score first; empty masks are left out."""
    from pycocotools import mask as coco_mask

    entries = []
    for i in np.argsort(-instances.scores, kind="stable"):
        if not instances.masks[i].any():
            continue
        rle = coco_mask.encode(np.asfortranarray(instances.masks[i], dtype=np.uint8))
        entries.append(
            {
                "image_id": image_id,
                "category_id": categories[int(instances.categories[i])].id,
                "segmentation": {"size": [int(s) for s in rle["size"]], "counts": rle["counts"].decode("ascii")},
                "bbox": [float(v) for v in coco_mask.toBbox(rle)],
                "score": float(instances.scores[i]),
            }
        )
    return entries
