"""Panoptic quality of a model's predictions, in memory."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...utils.errors import DataError
from ...utils.files import atomic_write_json
from ...utils.masks import PackedLabels, pack_labels, unpack_labels
from ...utils.structures.category import Category
from ...utils.structures.results import PanopticResult, Prediction, Segment
from ...utils.structures.samples import Sample
from ..formats.panoptic import write_panoptic_png
from ..metrics.panoptic_quality import (
    PanopticProtocol,
    PanopticTally,
    SegmentInfo,
    match_segments,
    quality,
)
from ..metrics.text_table import text_table
from .base import Evaluator, category_labels

_SUFFIX = {"All": "", "Things": "_th", "Stuff": "_st"}


class PanopticEvaluator(Evaluator):
    """PQ, SQ and RQ: over all categories, over things, over stuff, and per category.

    Args:
        categories: the data set's categories, in index order.
        protocol: options of the metric; areas are always counted, since the ground truth is in memory.
        keep_predictions: remember the predictions (packed) for :meth:`write`.
    """

    table_file = "panoptic_per_class.txt"
    units = {"images": "images", "per_class/*/[TF][PN]": "segments"}

    def __init__(
        self,
        categories: Sequence[Category],
        protocol: PanopticProtocol = PanopticProtocol(),  # noqa: B008 (frozen)
        keep_predictions: bool = True,
    ) -> None:
        self.categories = list(categories)
        self.rules = protocol
        self.keep_predictions = keep_predictions
        self.tally = PanopticTally()
        self._predictions: list[dict[str, Any]] = []

    def process(self, sample: Sample, prediction: Prediction) -> None:  # noqa: D102
        if sample.panoptic is None:
            raise DataError(f"image {sample.image_id} ({sample.file_name}) has no panoptic ground truth")
        if prediction.panoptic is None:
            raise ValueError(f"image {sample.image_id}: no panoptic prediction was made")
        gt, pred = sample.panoptic, prediction.panoptic
        try:
            match = match_segments(gt.ids, _infos(gt), pred.ids, _infos(pred), self.rules)
        except ValueError as error:
            raise DataError(f"image {sample.image_id} ({sample.file_name}): {error}") from error
        self.tally.add(match)
        if self.keep_predictions:
            self._predictions.append(_packed(sample, pred))

    def state(self) -> Any:  # noqa: D102
        return {"tally": self.tally, "predictions": self._predictions}

    def merge(self, states: list[Any]) -> None:  # noqa: D102
        tally = PanopticTally()
        for state in states:
            tally.merge(state["tally"])
        self.tally = tally
        self._predictions = [p for state in states for p in state["predictions"]]

    def summarize(self) -> dict[str, Any]:  # noqa: D102
        counts = {i: self.tally.counts(i) for i in range(len(self.categories))}
        result = quality(counts, {i: c.isthing for i, c in enumerate(self.categories)})
        if self.tally.unlisted:
            warnings.warn(f"{self.tally.unlisted} ids of ground-truth maps belong to no segment", stacklevel=2)
        summary: dict[str, Any] = {}
        for group, suffix in _SUFFIX.items():
            for name in ("pq", "sq", "rq"):
                summary[name.upper() + suffix] = _percent(result[group][name])
        summary["n"] = {group: result[group]["n"] for group in _SUFFIX}
        summary["images"] = self.tally.images
        summary["per_class"] = {
            label: {name.upper(): _percent(value) for name, value in result["per_class"][i].items()}
            | {"TP": counts[i].tp, "FP": counts[i].fp, "FN": counts[i].fn}
            for i, label in enumerate(category_labels(self.categories))
        }
        return summary

    def options(self) -> dict[str, Any]:  # noqa: D102
        return {
            "metric": "panoptic quality",
            "match": "IoU > 0.5",
            "area": "pixels",
            "crowd_union": self.rules.crowd_union,
        }

    def table(self, summary: dict[str, Any]) -> str:  # noqa: D102
        groups = [[g, *(summary[m + s] for m in ("PQ", "SQ", "RQ")), summary["n"][g]] for g, s in _SUFFIX.items()]
        rows = [
            [name, *(v[m] for m in ("PQ", "SQ", "RQ", "TP", "FP", "FN"))] for name, v in summary["per_class"].items()
        ]
        overall = text_table(["panoptic, %", "PQ", "SQ", "RQ", "n"], groups)
        return overall + "\n" + text_table(["category", "PQ", "SQ", "RQ", "TP", "FP", "FN"], rows)

    def write(self, folder: Path) -> list[Path]:
        """Writes ``predictions.json`` (COCO panoptic format, data set ids) and the PNG folder ``predictions``."""
        annotations = []
        for entry in sorted(self._predictions, key=lambda p: p["index"]):
            name = f"{entry['stem']}.png"
            write_panoptic_png(folder / "predictions" / name, unpack_labels(entry["ids"]))
            segments = [self._segment(s) for s in entry["segments"]]
            annotations.append({"image_id": entry["image_id"], "file_name": name, "segments_info": segments})
        path = folder / "predictions.json"
        atomic_write_json(path, {"annotations": annotations}, indent=None)
        return [path, folder / "predictions"]

    def _segment(self, segment: Segment) -> dict[str, Any]:
        entry = {
            "id": int(segment.id),
            "category_id": self.categories[segment.category].id,
            "isthing": int(segment.isthing),
        }
        return entry if segment.score is None else entry | {"score": float(segment.score)}


def _infos(result: PanopticResult) -> dict[int, SegmentInfo]:
    infos = {int(s.id): SegmentInfo(int(s.category), bool(s.iscrowd)) for s in result.segments}
    if len(infos) != len(result.segments):
        raise ValueError("a segment id is listed twice")
    return infos


def _packed(sample: Sample, result: PanopticResult) -> dict[str, Any]:
    ids: PackedLabels = pack_labels(result.ids)
    # An image id may hold any text; as a file name it must stay inside the folder.
    stem = f"{sample.image_id:012d}" if isinstance(sample.image_id, int) else _safe_name(str(sample.image_id))
    return {
        "index": sample.index,
        "image_id": sample.image_id,
        "stem": stem,
        "ids": ids,
        "segments": list(result.segments),
    }


def _safe_name(text: str) -> str:
    """Percent-encodes what is no letter, digit, dot, dash or underscore, so that different ids keep different names."""
    from urllib.parse import quote

    name = quote(text, safe="")
    return f"%2E{name[1:]}" if name.startswith(".") else name


def _percent(value: float | None) -> float | None:
    return None if value is None else 100.0 * value
