"""Masks of phrases: precision at overlap thresholds, cumulative and mean IoU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import DataError
from ...utils.files import atomic_write_json
from ...utils.masks import encode_masks
from ...utils.structures.category import Category
from ...utils.structures.results import Prediction
from ...utils.structures.samples import PhraseTruth, Sample
from ..metrics.text_table import text_table
from .base import ImageEvaluator

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
SENTENCES = ("first", "all")
_EPSILON = 1e-6


class ReferringEvaluator(ImageEvaluator):
    """P@0.5 ... P@0.9, cIoU (overall IoU) and mIoU (mean over the phrases) in percent.

    Args:
        categories: of the data set; phrases are not told apart by category.
        sentences: which sentences of an object are scored, for the protocol: "first" or "all".
        keep_predictions: remember the masks (run-length coded) for :meth:`write`.
    """

    table_file = "referring.txt"

    def __init__(
        self, categories: Sequence[Category] = (), sentences: str = "first", keep_predictions: bool = True
    ) -> None:
        self.sentences = sentences
        self.keep_predictions = keep_predictions
        super().__init__()

    def process(self, sample: Sample, prediction: Prediction) -> None:  # noqa: D102
        truth = sample.phrases
        if truth is None:
            raise DataError(f"image {sample.image_id} ({sample.file_name}) has no phrases")
        if prediction.phrases is None or len(prediction.phrases) != len(truth.texts):
            found = None if prediction.phrases is None else len(prediction.phrases)
            raise ValueError(f"image {sample.image_id}: {found} masks for {len(truth.texts)} phrases")
        if len(truth.texts) and prediction.phrases.shape[1:] != truth.masks.shape[1:]:
            raise DataError(
                f"image {sample.image_id} ({sample.file_name}): masks of size {prediction.phrases.shape[1:]}, "
                f"ground truth {truth.masks.shape[1:]}"
            )
        entry = {
            "index": sample.index,
            "image_id": sample.image_id,
            "file_name": sample.file_name,
            "texts": list(truth.texts),
            "owner": truth.owner.tolist(),
            "overlap": phrase_overlap(truth, prediction.phrases),
        }
        if self.keep_predictions:
            entry["masks"] = encode_masks(prediction.phrases)
        self._images.append(entry)

    def summarize(self) -> dict[str, Any]:  # noqa: D102
        images = self._images
        return referring_summary([image["overlap"] for image in images])

    def options(self) -> dict[str, Any]:  # noqa: D102
        return referring_options(self.sentences)

    def table(self, summary: dict[str, Any]) -> str:  # noqa: D102
        return referring_table(summary, "%")

    def write(self, folder: Path) -> list[Path]:
        """Writes ``referring_predictions.json``: one mask (RLE) per phrase, ``object`` is its place in the image."""
        if not self.keep_predictions:
            return []
        rows = [
            {
                "image_id": image["image_id"],
                "file_name": image["file_name"],
                "object": owner,
                "text": text,
                "segmentation": code,
            }
            for image in self._images
            for owner, text, code in zip(image["owner"], image["texts"], image["masks"], strict=True)
        ]
        path = folder / "referring_predictions.json"
        atomic_write_json(path, rows, indent=None)
        return [path]


def phrase_overlap(truth: PhraseTruth, predicted: np.ndarray) -> np.ndarray:
    """Compares the masks of one image's phrases.

    Args:
        truth: texts and masks, M masks of (H, W).
        predicted: (T, H, W) bool.

    Returns:
        (T, 3) int64 pixels: intersection, union, ground truth.
    """
    overlap = np.zeros((len(predicted), 3), np.int64)
    areas = [int(np.count_nonzero(mask)) for mask in truth.masks]
    for row, mask, owner in zip(overlap, predicted, truth.owner.tolist(), strict=True):
        both = int(np.count_nonzero(mask & truth.masks[owner]))
        row[:] = both, int(np.count_nonzero(mask)) + areas[owner] - both, areas[owner]
    return overlap


def referring_summary(overlaps: Sequence[np.ndarray], scale: float = 100.0) -> dict[str, Any]:
    """Returns the metrics of all phrases.

    A phrase that names nothing in the image (empty ground truth) has IoU 1 if nothing is predicted, else 0; its
    predicted pixels enlarge cIoU's union (as gRefCOCO, arXiv 2306.00968).

    Args:
        overlaps: per image, (T, 3) int64 from :func:`phrase_overlap`.
        scale: 100 for percent, 1 for fractions.
    """
    pixels = np.concatenate([np.zeros((0, 3), np.int64), *overlaps])
    both, union, area = pixels.T
    iou = np.where((area == 0) & (union == 0), 1.0, both / (union + _EPSILON))
    count = len(iou)
    summary: dict[str, Any] = {
        f"precision@{t:g}": scale * float((iou >= t).mean()) if count else None for t in THRESHOLDS
    }
    summary["cIoU"] = scale * int(both.sum()) / int(union.sum()) if union.sum() else None
    summary["mIoU"] = scale * float(iou.mean()) if count else None
    summary["counts"] = {"images": len(overlaps), "phrases": count, "no_target": int((area == 0).sum())}
    return summary


def referring_options(sentences: str) -> dict[str, Any]:
    """Returns the options that decide the figures."""
    return {
        "metric": "phrase masks",
        "sentences": sentences,
        "no_target": "IoU 1 for an empty mask, else 0; predicted pixels count in the union of cIoU",
    }


def referring_table(summary: dict[str, Any], unit: str) -> str:
    """Returns a summary as text."""
    names = [name for name in summary if name.startswith("precision@")] + ["cIoU", "mIoU"]
    header = [f"{summary['counts']['phrases']} phrases, {unit}", *(n.replace("precision", "P") for n in names)]
    return text_table(header, [["All", *(summary[n] for n in names)]])
