"""How many clicks an object needs (NoC), from the overlap after each simulated click."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import DataError
from ...utils.files import atomic_write_json
from ...utils.structures.category import Category
from ...utils.structures.results import Prediction
from ...utils.structures.samples import Sample
from ..metrics.text_table import text_table
from .base import METRIC_VERSION, ImageEvaluator

THRESHOLDS = (0.5, 0.8, 0.85, 0.9)
STOP_IOU = 0.9
"""A record is finished when the overlap of each of its objects exceeds this."""


CLICK_UNITS = {"noc@*": "clicks", "nof@*": "objects", "counts": "numbers"}
"""Units of the figures that are not in percent."""


class InteractiveEvaluator(ImageEvaluator):
    """Number of clicks (NoC), objects that failed (NoF), and mean overlap after each click.

    Protocol of SEEM (arXiv 2304.06718, section 4): the first prompt is click 1; each further click goes to the
    innermost pixel of the larger error region; ``click_ious`` of the prediction hold the overlap after each click.

    Args:
        categories: of the data set; objects are not told apart by category.
        max_clicks: R, clicks after which an object has failed; also its NoC then.
        iou_click: which click's mean overlap is reported as ``miou@iterN``, 1..R.
        start: kind of the first prompt, for the protocol.
    """

    table_file = "interactive.txt"
    units = CLICK_UNITS

    def __init__(
        self, categories: Sequence[Category] = (), max_clicks: int = 20, iou_click: int = 1, start: str = "Point"
    ) -> None:
        self.max_clicks = max_clicks
        self.iou_click = iou_click
        self.start = start
        super().__init__()

    def process(self, sample: Sample, prediction: Prediction) -> None:  # noqa: D102
        if sample.objects is None:
            raise DataError(f"image {sample.image_id} ({sample.file_name}) has no objects to click on")
        ious = prediction.click_ious
        if ious is None or ious.shape != (len(sample.objects), self.max_clicks):
            found = None if ious is None else ious.shape
            expected = (len(sample.objects), self.max_clicks)
            raise ValueError(f"image {sample.image_id}: overlaps of shape {found}, expected {expected}")
        entry = {"index": sample.index, "image_id": sample.image_id, "file_name": sample.file_name, "ious": ious}
        self._images.append(entry)

    def summarize(self) -> dict[str, Any]:  # noqa: D102
        images = self._images
        ious = np.concatenate([image["ious"] for image in images]) if images else np.zeros((0, self.max_clicks))
        return click_summary(ious, len(images), self.iou_click)

    def options(self) -> dict[str, Any]:  # noqa: D102
        return {
            "metric": "clicks (noc@T: mean number, nof@T: objects that never reach the overlap T)",
            "max_clicks": self.max_clicks,
            "first_prompt": self.start,
            "clicks": "3 x 3 pixels, innermost pixel of the larger error region",
            "stop": f"all objects of a record above {STOP_IOU}; the last overlap is repeated",
        }

    def table(self, summary: dict[str, Any]) -> str:  # noqa: D102
        return click_table(summary)

    def write(self, folder: Path) -> list[Path]:
        """Writes ``interactive_clicks.json``: the overlap (0..1) of each object after each click."""
        images = self._images
        rows = [
            {"image_id": image["image_id"], "file_name": image["file_name"], "object": number, "iou": row}
            for image in images
            for number, row in enumerate(image["ious"].tolist())
        ]
        path = folder / "interactive_clicks.json"
        content = {"metric_version": METRIC_VERSION, "iou_click": self.iou_click, **self.options(), "objects": rows}
        atomic_write_json(path, content, indent=None)
        return [path]


def click_summary(ious: np.ndarray, images: int, iou_click: int = 1) -> dict[str, Any]:
    """Returns the metrics of N objects.

    Args:
        ious: (N, R) float64 in 0..1, overlap after each click.
        images: number of images, for the counts.
        iou_click: the click of ``miou@iterN``, 1..R.

    Returns:
        ``noc@T`` in clicks, ``nof@T`` in objects, ``miou@iterN`` and ``iou_by_click`` in percent, ``counts``; None
        where there is no object.
    """
    objects, clicks = ious.shape
    reached = ious[:, :, None] >= np.array(THRESHOLDS)
    failed = ~np.any(reached, axis=1)
    number = np.where(failed, clicks, np.argmax(reached, axis=1) + 1)
    curve = [_percent(ious[:, k]) for k in range(clicks)]
    summary: dict[str, Any] = {
        f"noc@{t:g}": float(number[:, i].mean()) if objects else None for i, t in enumerate(THRESHOLDS)
    }
    summary |= {f"nof@{t:g}": int(failed[:, i].sum()) if objects else None for i, t in enumerate(THRESHOLDS)}
    summary[f"miou@iter{iou_click}"] = curve[iou_click - 1]
    summary["iou_by_click"] = {str(k): value for k, value in enumerate(curve, 1)}
    summary["counts"] = {"images": images, "objects": objects}
    return summary


def click_table(summary: dict[str, Any]) -> str:
    """Returns a summary as text: clicks and failures by threshold, then the overlap by click."""
    rows = [[f"IoU {t:g}", summary[f"noc@{t:g}"], summary[f"nof@{t:g}"]] for t in THRESHOLDS]
    head = text_table([f"{summary['counts']['objects']} objects", "NoC (clicks)", "NoF (objects)"], rows)
    curve = [[name, value] for name, value in summary["iou_by_click"].items()]
    return head + "\n" + text_table(["click", "mIoU (%)"], curve)


def _percent(values: np.ndarray) -> float | None:
    return 100.0 * float(values.mean()) if len(values) else None
