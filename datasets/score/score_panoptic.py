"""Panoptic quality of prediction files (COCO panoptic JSON + PNG folder) of any tool."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...utils.errors import DataError
from ...utils.masks import hotcoco
from ..evaluators.base import METRIC_VERSION, combined_sha256
from ..formats.foreign_names import find_file, portable_name
from ..formats.json_row import JsonRow
from ..formats.panoptic import LARGEST_ID, read_panoptic_json, read_panoptic_png
from ..metrics.panoptic_quality import (
    CategoryCounts,
    ImageMatch,
    PanopticProtocol,
    PanopticTally,
    SegmentInfo,
    match_segments,
    quality,
)
from ..metrics.text_table import text_table


@dataclass(frozen=True)
class PanopticFiles:
    """One side of a comparison: the JSON and the folder of its PNGs (default: the JSON's path without suffix)."""

    json: Path
    folder: Path

    @staticmethod
    def at(json: str | Path, folder: str | Path | None = None) -> PanopticFiles:
        """Fills in the default folder."""
        return PanopticFiles(Path(json), Path(json).with_suffix("") if folder is None else Path(folder))


@dataclass(frozen=True)
class _Task:
    """One image to be compared."""

    image_id: Any
    pred_id: Any
    gt_png: Path
    gt: dict[int, SegmentInfo]
    pred_png: Path
    pred: dict[int, SegmentInfo]


def score_panoptic(
    truth: PanopticFiles,
    prediction: PanopticFiles,
    *,
    protocol: PanopticProtocol = PanopticProtocol(),  # noqa: B008 (frozen)
    workers: int = 1,
    accelerate: bool = True,
) -> dict[str, Any]:
    """Scores prediction files.

    hotcoco, when it is installed, does the work where it follows the same rules: ground-truth areas believed
    (``reference_area``), integer image ids, the last crowd only. Counts are equal, sums equal up to rounding.

    Args:
        truth: ground truth; the JSON has categories.
        prediction: predictions, joined by ``image_id``; entries for other images are ignored.
        protocol: options of the metric.
        workers: threads.
        accelerate: use hotcoco when possible.

    Returns:
        panopticapi's layout in 0..1: ``All``, ``Things``, ``Stuff`` (pq, sq, rq, n; None where n is 0) and
        ``per_class`` by category id, zeros where it never occurs; further ``counts`` by category id (tp, fp, fn,
        iou_sum), ``images``, ``unit``, ``metric_version``, ``protocol``, ``ground_truth_sha256``.

    Raises:
        DataError: a file is missing or faulty, an id or category is unknown, sizes differ; names file and image.
    """
    gt_data = read_panoptic_json(truth.json, categories=True)
    categories = _categories(truth.json, gt_data["categories"])
    tasks = list(_tasks(truth, gt_data["annotations"], prediction, categories))
    if protocol.reference_area:
        _check_areas(truth.json, tasks)
    counts = _hotcoco_counts(truth, prediction, protocol, tasks, categories) if accelerate else None
    engine = "own" if counts is None else "hotcoco"
    if counts is None:
        tally = _tally(tasks, protocol, workers)
        _warn(tally, protocol)
        counts = {category: tally.counts(category) for category in categories}
    measured = quality(counts, categories)
    # As panopticapi lists them: zeros where a category never occurs. Those enter no mean; `counts` tells them apart.
    per_class = {c: {name: value or 0.0 for name, value in q.items()} for c, q in measured["per_class"].items()}
    return {
        **measured,
        "per_class": per_class,
        "counts": {c: {"tp": n.tp, "fp": n.fp, "fn": n.fn, "iou_sum": n.iou_sum} for c, n in counts.items()},
        "images": len(tasks),
        "unit": "fraction",
        "metric_version": METRIC_VERSION,
        "protocol": {
            "metric": "panoptic quality",
            "match": "IoU > 0.5",
            "area": "as claimed by the JSON" if protocol.reference_area else "pixels",
            "crowd_union": protocol.crowd_union,
            "engine": engine,
        },
        "ground_truth_sha256": {
            "json": combined_sha256([truth.json]),
            "png": combined_sha256(task.gt_png for task in tasks),
        },
    }


def panoptic_table(result: Mapping[str, Any], names: Mapping[int, str]) -> str:
    """Returns a result of :func:`score_panoptic` as text, in percent."""
    groups = [[g, *_percents(result[g]), result[g]["n"]] for g in ("All", "Things", "Stuff")]
    counts = result["counts"]
    rows = [
        [names.get(c, str(c)), *_percents(q), counts[c]["tp"], counts[c]["fp"], counts[c]["fn"]]
        for c, q in result["per_class"].items()
        if counts[c]["tp"] + counts[c]["fp"] + counts[c]["fn"]
    ]
    overall = text_table(["panoptic, %", "PQ", "SQ", "RQ", "n"], groups)
    return overall + "\n" + text_table(["category", "PQ", "SQ", "RQ", "TP", "FP", "FN"], rows)


def _percents(group: Mapping[str, Any]) -> list[float | None]:
    return [None if group[m] is None else 100.0 * group[m] for m in ("pq", "sq", "rq")]


def _categories(path: Path, entries: list[dict[str, Any]]) -> dict[int, bool]:
    """Returns category id -> countable, in file order."""
    things: dict[int, bool] = {}
    for number, entry in enumerate(entries):
        row = JsonRow(entry, f"{path}: categories[{number}]")
        identifier = row.whole("id", None)
        if identifier in things:
            raise DataError(f"{path}: category id {identifier} is listed twice")
        things[identifier] = row.flag("isthing", False)
    return things


def _tasks(
    truth: PanopticFiles, annotations: list[dict[str, Any]], prediction: PanopticFiles, categories: Mapping[int, bool]
) -> Iterable[_Task]:
    predicted: dict[Any, dict[str, Any]] = {}
    for entry in read_panoptic_json(prediction.json)["annotations"]:
        if entry["image_id"] in predicted:
            raise DataError(f"{prediction.json}: image {entry['image_id']} is listed twice")
        predicted[entry["image_id"]] = entry
    if not any(entry["image_id"] in predicted for entry in annotations):
        predicted = _joined_by_name(annotations, predicted)
    seen = set()
    for entry in annotations:
        image_id = entry["image_id"]
        if image_id in seen:
            raise DataError(f"{truth.json}: image {image_id} is listed twice")
        seen.add(image_id)
        if image_id not in predicted:
            missing = sum(a["image_id"] not in predicted for a in annotations)
            raise DataError(
                f"{prediction.json}: no prediction for image {image_id} ({missing} of {len(annotations)} images of "
                f"{truth.json} are missing; image ids must agree in type and value)"
            )
        yield _Task(
            image_id,
            predicted[image_id]["image_id"],
            find_file(truth.folder, entry["file_name"]),
            _segments(truth.json, entry, categories),
            find_file(prediction.folder, predicted[image_id]["file_name"]),
            _segments(prediction.json, predicted[image_id], categories),
        )


def _joined_by_name(
    annotations: Sequence[Mapping[str, Any]], predicted: Mapping[Any, dict[str, Any]]
) -> dict[Any, dict[str, Any]]:
    """Files predictions, none of whose image ids is known, under the ids of the ground truth with the same PNG name.

    Tools that see pictures without their JSON cannot know its ids. Returns the predictions as they were unless the
    names of all images agree.
    """
    by_stem = {Path(portable_name(entry["file_name"])).stem: entry for entry in predicted.values()}
    stems = {entry["image_id"]: Path(portable_name(entry["file_name"])).stem for entry in annotations}
    unique = len(by_stem) == len(predicted) and len(set(stems.values())) == len(stems)
    if not unique or not by_stem.keys() >= set(stems.values()):
        return dict(predicted)
    warnings.warn("no image id of the predictions is known; joined by the names of the PNG files", stacklevel=4)
    return {image_id: by_stem[stem] for image_id, stem in stems.items()}


def _segments(path: Path, annotation: Mapping[str, Any], categories: Mapping[int, bool]) -> dict[int, SegmentInfo]:
    segments: dict[int, SegmentInfo] = {}
    for entry in annotation["segments_info"]:
        where = f"{path}: image {annotation['image_id']}: segment {entry['id']}"
        if entry["id"] in segments:
            raise DataError(f"{where} is listed twice")
        if not 1 <= entry["id"] <= LARGEST_ID:
            raise DataError(f"{where}: ids of segments are colours, 1 to {LARGEST_ID}")
        if entry["category_id"] not in categories:
            raise DataError(f"{where} has category {entry['category_id']}, which the ground truth does not define")
        segments[entry["id"]] = SegmentInfo(entry["category_id"], bool(entry["iscrowd"]), entry.get("area"))
    return segments


def _check_areas(path: Path, tasks: Sequence[_Task]) -> None:
    """Refuses areas of 0 where they are believed: such a segment has no overlap to speak of."""
    for task in tasks:
        for identifier, segment in task.gt.items():
            if segment.claimed_area == 0:
                raise DataError(
                    f"{path}: image {task.image_id}: segment {identifier} has the area 0, expected its pixels "
                    "(without --reference_area they are counted)"
                )


def _tally(tasks: list[_Task], protocol: PanopticProtocol, workers: int) -> PanopticTally:
    tally = PanopticTally()
    if workers <= 1:
        for task in tasks:
            tally.add(_match(task, protocol))
        return tally
    with ThreadPoolExecutor(workers) as pool:  # decoding and sorting release the interpreter lock
        for match in pool.map(_match, tasks, [protocol] * len(tasks)):
            tally.add(match)
    return tally


def _match(task: _Task, protocol: PanopticProtocol) -> ImageMatch:
    gt_map, pred_map = read_panoptic_png(task.gt_png), read_panoptic_png(task.pred_png)
    try:
        return match_segments(gt_map, task.gt, pred_map, task.pred, protocol)
    except ValueError as error:
        raise DataError(f"image {task.image_id} ({task.pred_png}): {error}") from error


def _warn(tally: PanopticTally, protocol: PanopticProtocol) -> None:
    if tally.wrong_areas:
        used = "believed as they are" if protocol.reference_area else "counted again"
        warnings.warn(
            f"{tally.wrong_areas} ground-truth areas differ from the PNG's pixel counts ({used})", stacklevel=3
        )
    if tally.unlisted:
        warnings.warn(
            f"{tally.unlisted} ids of ground-truth PNGs are missing in the JSON (their pixels count as area)",
            stacklevel=3,
        )


def _hotcoco_counts(
    truth: PanopticFiles,
    prediction: PanopticFiles,
    protocol: PanopticProtocol,
    tasks: list[_Task],
    categories: Mapping[int, bool],
) -> dict[int, CategoryCounts] | None:
    """Returns hotcoco's counts per category, or None where it is absent or would follow other rules."""
    module = hotcoco()
    if module is None or not protocol.reference_area or protocol.crowd_union:
        return None
    if not tasks or not all(isinstance(task.image_id, int) and task.pred_id == task.image_id for task in tasks):
        return None
    if any(segment.claimed_area is None for task in tasks for segment in task.gt.values()):
        return None
    from hotcoco.panoptic import PanopticEval

    try:
        evaluation = PanopticEval(
            str(truth.json), str(prediction.json), gt_folder=str(truth.folder), pred_folder=str(prediction.folder)
        )
        evaluation.evaluate()
        per_class = evaluation.results()["per_class"]
        return {
            c: CategoryCounts(*(per_class[c][name] for name in ("iou", "tp", "fp", "fn")))
            if c in per_class
            else CategoryCounts(0.0, 0, 0, 0)
            for c in categories
        }
    except (ValueError, OSError, KeyError, TypeError):
        return None  # our own reader says in its words what is wrong, or copes with it
