"""Phrase masks and click overlaps from result files, measured again without the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import DataError
from ...utils.image_io import image_size
from ...utils.structures.samples import PhraseTruth
from ..evaluators.base import METRIC_VERSION, combined_sha256, units_in
from ..evaluators.interactive import CLICK_UNITS, click_summary
from ..evaluators.referring import phrase_overlap, referring_options, referring_summary
from ..formats.json_file import read_json
from ..formats.json_row import JsonRow, shown
from ..formats.panoptic import read_panoptic_png
from ..formats.segmentation import decode_mask
from ..mappers.phrase_masks import phrase_truth
from ..records.catalog import find_record
from ..records.image_item import ImageItem
from ..records.list_items import list_items

_MOST_CLICKS = 10_000
_KEYS = {"image_id", "object", "text", "segmentation"}


def score_referring(name: str, prediction: str | Path, *, sentences: str = "first") -> dict[str, Any]:
    """Scores masks of phrases.

    Args:
        name: data set record, optionally ``NAME:split``; the split has phrases.
        prediction: JSON list of results: image_id, object (place of the phrase's mask in the image,
            from 0), text, segmentation (RLE or polygons).
        sentences: which sentences are scored: "first" of each object or "all".

    Returns:
        ``precision@0.5`` ... ``precision@0.9``, ``cIoU`` and ``mIoU`` in 0..1, and ``counts``; further ``unit``,
        ``metric_version``, ``protocol``.

    Raises:
        DataError: a phrase has no mask, or two different ones; a file is unreadable; names it.
    """
    record, split = find_record(name, "val")
    results = _Results(Path(prediction))
    overlaps = []
    for item in list_items(record, split):
        truth = _truth(item, sentences)
        if truth.texts:
            overlaps.append(phrase_overlap(truth, results.masks(item, truth)))
    if not overlaps:
        raise DataError(f"{record.path}: split {split.name!r} has no phrases")
    return referring_summary(overlaps, scale=1.0) | {
        "unit": "fraction",
        "metric_version": METRIC_VERSION,
        "protocol": referring_options(sentences),
        "ground_truth_sha256": {split.referring.name: combined_sha256([split.referring])} if split.referring else {},
    }


def score_interactive(prediction: str | Path) -> dict[str, Any]:
    """Computes the metrics of ``interactive_clicks.json`` again.

    Returns:
        See :func:`click_summary`; further ``unit`` (percent) and ``units`` (of the other figures), ``metric_version``,
        ``protocol``.

    Raises:
        DataError: not such a file, or an object with another number of clicks; names it.
    """
    data = read_json(prediction)
    if not isinstance(data, dict) or not isinstance(data.get("objects"), list):
        raise DataError(f"{prediction}: expected the file interactive_clicks.json of an evaluation (key `objects`)")
    head = JsonRow(data, str(prediction))
    clicks = head.whole("max_clicks", 1, _MOST_CLICKS) if "max_clicks" in data else 20
    click = head.whole("iou_click", 1, clicks) if "iou_click" in data else 1
    rows = [JsonRow(row, f"{prediction}: objects[{number}]") for number, row in enumerate(data["objects"])]
    ious = np.array([_overlaps(row, clicks) for row in rows], np.float64).reshape(len(rows), clicks)
    images = len({row.identifier("image_id") if row.has("image_id") else None for row in rows})
    protocol = {key: _option(head, key) for key in data if key not in ("objects", "metric_version")}
    summary = click_summary(ious, images, click)
    return summary | {
        "unit": "percent",
        "units": units_in(summary, CLICK_UNITS),
        "metric_version": METRIC_VERSION,
        "protocol": protocol,
    }


def _option(head: JsonRow, name: str) -> str | float:
    return head.text(name) if isinstance(head.get(name), str) else head.number(name)


def _overlaps(row: JsonRow, clicks: int) -> list[float]:
    values = row.fields.get("iou")
    if not isinstance(values, list) or len(values) != clicks:
        raise DataError(f"{row.where}.iou: expected {clicks} numbers, one per click")
    if not set(map(type, values)) <= {int, float} or not all(0 <= v <= 1 for v in values):
        raise DataError(f"{row.where}.iou: overlaps must be numbers 0..1, found {shown(values)}")
    return values


def _truth(item: ImageItem, sentences: str) -> PhraseTruth:
    size = (item.height, item.width) if item.height and item.width else image_size(item.image)
    by_id = item.panoptic is not None and any(isinstance(phrase.mask, int) for phrase in item.phrases)
    ids = read_panoptic_png(item.panoptic) if by_id and item.panoptic is not None else None
    return phrase_truth(item, size, ids, sentences)


class _Results:
    """Predicted masks, joined by image, object and text."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._masks: dict[tuple[str, int, str], Any] = {}
        rows = read_json(path)
        if not isinstance(rows, list):
            raise DataError(f"{path}: expected a list of results (image_id, object, text, segmentation)")
        for number, value in enumerate(rows):
            row = JsonRow(value, f"{path}: result {number}")
            if not _KEYS <= row.fields.keys():
                raise DataError(f"{row.where} lacks image_id, object, text or segmentation")
            key = (str(row.identifier("image_id")), row.whole("object"), row.text("text"))
            mask = row.get("segmentation")
            if key in self._masks and self._masks[key] != mask:
                raise DataError(f"{row.where}: {key[2]!r} of image {key[0]} has two different masks")
            self._masks[key] = mask

    def masks(self, item: ImageItem, truth: PhraseTruth) -> np.ndarray:
        """Returns the masks (T, H, W) bool of an image's phrases."""
        height, width = truth.masks.shape[1:]
        masks = np.zeros((len(truth.texts), height, width), bool)
        for place, (text, owner) in enumerate(zip(truth.texts, truth.owner.tolist(), strict=True)):
            key = (str(item.image_id), owner, text)
            if key not in self._masks:
                raise DataError(f"{self.path}: no mask of {text!r} (object {owner} of image {item.image_id})")
            try:
                masks[place] = decode_mask(self._masks[key], height, width)
            except ValueError as error:
                raise DataError(f"{self.path}: {text!r} of image {item.image_id}: {error}") from error
        return masks
