"""Foreground against background: figures of a model's masks, in memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import DataError
from ...utils.files import atomic_write_text
from ...utils.masks import decode_masks, encode_masks
from ...utils.structures.category import Category
from ...utils.structures.results import Prediction
from ...utils.structures.samples import Sample
from ..formats.foreground import write_foreground
from ..metrics.foreground_overlap import (
    CONVENTIONS,
    MEAN_OF,
    SUMMED,
    image_scores,
    summarize_images,
)
from ..metrics.text_table import text_table
from .base import ImageEvaluator

IMAGES_FILE = "foreground_images.csv"
_COUNTS = ("tp", "fp", "fn", "tn")
_IMAGE_FIGURES = (*SUMMED, "boundary_iou", "cldice")


class ForegroundEvaluator(ImageEvaluator):
    """IoU, dice, precision, recall and accuracy of all pixels; mean IoU, dice, boundary IoU and clDice of the images.

    Args:
        categories: not needed; foreground has none.
        keep_predictions: remember the predictions (compressed) for :meth:`write`.
    """

    table_file = "foreground.txt"
    units = {"images": "images", "counts": "pixels", "loss": "the training loss"}

    def __init__(self, categories: Sequence[Category] = (), keep_predictions: bool = True) -> None:
        super().__init__()
        self.keep_predictions = keep_predictions

    def process(self, sample: Sample, prediction: Prediction) -> None:  # noqa: D102
        if sample.foreground is None:
            raise DataError(f"image {sample.image_id} ({sample.file_name}) has no foreground ground truth")
        if prediction.foreground is None:
            raise ValueError(f"image {sample.image_id}: no foreground prediction was made")
        mask = np.asarray(prediction.foreground.mask, bool)
        try:
            scores = image_scores(mask, np.asarray(sample.foreground, bool))
        except ValueError as error:
            raise DataError(f"image {sample.image_id} ({sample.file_name}): {error}") from error
        about = {"index": sample.index, "image_id": sample.image_id, "file_name": sample.file_name}
        entry = {**about, **scores, "loss": prediction.foreground.loss, "size": mask.shape}
        if self.keep_predictions:
            entry["mask"] = encode_masks(mask[None])[0]
        self._images.append(entry)

    def summarize(self) -> dict[str, Any]:
        """Returns the figures in percent, ``loss`` (mean over the images) as it is; None where nothing counts."""
        summary = summarize_images(self._images)
        for name in (*SUMMED, *MEAN_OF):
            summary[name] = None if summary[name] is None else 100 * summary[name]
        losses = [image["loss"] for image in self._images if image["loss"] is not None]
        return summary | {"loss": float(np.mean(losses)) if losses else None}

    def options(self) -> dict[str, Any]:  # noqa: D102
        return {"metric": "foreground", **CONVENTIONS, "loss": "mean over the images, not in percent"}

    def table(self, summary: dict[str, Any]) -> str:  # noqa: D102
        return foreground_table(summary, "%")

    def write(self, folder: Path) -> list[Path]:
        """Writes :data:`IMAGES_FILE`, one line per image, and the masks as ``foreground/IMAGE_ID.png``."""
        rows = io.StringIO()
        writer = csv.writer(rows, lineterminator="\n")
        writer.writerow(["image_id", "file_name", *_COUNTS, *_IMAGE_FIGURES, "loss"])
        written = [folder / IMAGES_FILE]
        for image in self._images:
            figures = [f"{100 * image[name]:.4f}" for name in _IMAGE_FIGURES]
            loss = "" if image["loss"] is None else f"{image['loss']:.6g}"
            counts = [image[name] for name in _COUNTS]
            writer.writerow([image["image_id"], image["file_name"], *counts, *figures, loss])
            if "mask" in image:
                written.append(folder / "foreground" / f"{image['image_id']}.png")
                write_foreground(written[-1], decode_masks([image["mask"]], image["size"])[0])
        atomic_write_text(written[0], rows.getvalue())
        return written


def foreground_table(summary: dict[str, Any], unit: str) -> str:
    """Returns a summary as text: figures of all pixels, then means over the images."""
    pixels = text_table([f"all pixels, {unit}", *SUMMED], [["Foreground", *(summary[name] for name in SUMMED)]])
    names = [*MEAN_OF, *(["loss"] if summary.get("loss") is not None else [])]
    row = [f"{summary['loss']:.4f}" if name == "loss" else summary[name] for name in names]
    return pixels + "\n" + text_table([f"mean of {summary['images']} images, {unit}", *names], [["Foreground", *row]])
