"""Predictions back to files: panoptic PNG + JSON, semantic PNG, instance JSON (COCO RLE).

Layout of the output folder, NAME being the image's output name (which may contain folders)::

    panoptic.json       COCO panoptic: images, annotations with segments_info (plus score), categories
    panoptic/NAME.png   id = R + 256 G + 65536 B, 0 = nothing predicted
    semantic/NAME.png   category index 0..K-1 per pixel, one channel (8 bit; 16 bit for more than 255 categories)
    instances.json      COCO results: image_id, category_id, segmentation (RLE), bbox, score
    foreground/NAME.png 255 = foreground, 0 = background
    probability/NAME.png probability of foreground, 0..255 (on request)
    everything/NAME.*   masks found without prompts, see :mod:`segfoundry.datasets.everything_writer`
    categories.json     the vocabulary in index order

All ids of categories in the files are the categories' own ids; only the semantic PNG holds indices.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.files import atomic_write_json
from ..utils.image_io import write_png
from ..utils.structures import Category, InstanceResult, PanopticResult, Prediction
from .everything_writer import write_everything_json, write_everything_png
from .formats.foreground import write_foreground
from .formats.panoptic import segment_stats, write_panoptic_png

_PARTS = ("panoptic", "semantic", "instances", "foreground", "everything")


class PredictionWriter:
    """Writes the predictions of many images into one folder.

    PNG files are written at once, the JSON files by :meth:`close`, ordered by the places that the images were given.

    Args:
        folder: output folder; created.
        categories: the vocabulary, in index order.
        everything_png: masks of everything as PNG files with a table, instead of JSON.
        probability: also write the probability of foreground.
    """

    def __init__(
        self,
        folder: Path,
        categories: Sequence[Category],
        *,
        everything_png: bool = False,
        probability: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self._write_everything = write_everything_png if everything_png else write_everything_json
        self._probability = probability
        self.categories = list(categories)
        self._images: dict[tuple[int, int], dict[str, Any]] = {}
        self._panoptic: dict[tuple[int, int], dict[str, Any]] = {}
        self._instances: dict[tuple[int, int], list[dict[str, Any]]] = {}
        self.folder.mkdir(parents=True, exist_ok=True)

    def add(
        self, place: tuple[int, int], name: str, image_id: int | str, file_name: str, prediction: Prediction
    ) -> None:
        """Writes the parts of ``prediction`` that are there.

        Args:
            place: place of the image in the JSON files: number of the input file, number of the frame in it.
            name: output name without suffix, relative to the folders ``panoptic`` and ``semantic``.
            image_id: id that the JSON files give the image.
            file_name: name of the input file, for the JSON files.
            prediction: what to write; at least one part is not None.

        Raises:
            ValueError: if there is nothing to write.
        """
        if all(getattr(prediction, part) is None for part in _PARTS):
            raise ValueError(f"the prediction is empty: none of {', '.join(_PARTS)}")
        if prediction.panoptic is not None:
            height, width = prediction.panoptic.ids.shape
            self._images[place] = {"id": image_id, "file_name": file_name, "height": height, "width": width}
            write_panoptic_png(self.folder / "panoptic" / f"{name}.png", prediction.panoptic.ids)
            self._panoptic[place] = {
                "image_id": image_id,
                "file_name": f"{name}.png",
                "segments_info": segments_info(prediction.panoptic, self.categories),
            }
        if prediction.semantic is not None:
            dtype = np.uint8 if len(self.categories) <= 255 else np.uint16
            write_png(self.folder / "semantic" / f"{name}.png", prediction.semantic.astype(dtype))
        if prediction.instances is not None:
            self._instances[place] = instance_results(prediction.instances, image_id, self.categories)
        if prediction.foreground is not None:
            write_foreground(self.folder / "foreground" / f"{name}.png", prediction.foreground.mask)
            if self._probability:
                grey = (prediction.foreground.probability * 255 + 0.5).astype(np.uint8)
                write_png(self.folder / "probability" / f"{name}.png", grey)
        if prediction.everything is not None:
            self._write_everything(self.folder / "everything", name, prediction.everything)

    def close(self) -> list[Path]:
        """Writes the JSON files and returns their paths."""
        categories = [category_entry(c) for c in self.categories]
        written = [self.folder / "categories.json"]
        atomic_write_json(written[0], categories)
        if self._panoptic:
            document = {
                "images": [self._images[n] for n in sorted(self._panoptic)],
                "annotations": [self._panoptic[n] for n in sorted(self._panoptic)],
                "categories": categories,
            }
            written.append(self.folder / "panoptic.json")
            atomic_write_json(written[-1], document, indent=None)
        if self._instances:
            results = [entry for n in sorted(self._instances) for entry in self._instances[n]]
            written.append(self.folder / "instances.json")
            atomic_write_json(written[-1], results, indent=None)
        return written


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
