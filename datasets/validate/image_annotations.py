"""Checks of the files whose entries name images by id: phrases, captions, finer masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...utils.errors import DataError
from ...utils.masks import rle_areas
from ..formats.by_image import PhraseFile, grounding_phrase, images_by_id, read_captions, read_instances
from ..formats.json_file import read_json
from ..formats.json_row import JsonRow
from ..formats.segmentation import encode_segmentation
from ..records.list_items import read_phrases
from ..records.record import Record
from ..records.split import Split
from .findings import Findings


def check_by_image(record: Record, split: Split, findings: Findings) -> int:
    """Checks phrases, captions and finer masks of a split, as far as it has them; returns the number of phrases."""
    for path, read, code in (
        (split.captions, read_captions, "captions-invalid"),
        (split.instances, read_instances, "instances-invalid"),
    ):
        try:
            if path is not None:
                read(path)
        except DataError as error:
            findings.add(code, split.name, str(error))
    if split.grounding is not None:
        return _check_grounding(split, findings)
    try:
        phrases = read_phrases(record, split)
    except DataError as error:
        findings.add("grounding-invalid", split.name, str(error))
        return 0
    return 0 if phrases is None else _check_masks(phrases, split, findings)


def _check_masks(phrases: PhraseFile, split: Split, findings: Findings) -> int:
    """Checks the mask of every phrase; returns their number."""
    count = 0
    for image_id, found in phrases.phrases.items():
        for phrase in found:
            problem = _mask_problem(phrase.mask, phrases.images.get(image_id, {}))
            if problem:
                place = f"{split.referring}: image {image_id}: {phrase.texts[0]!r}: {problem}"
                findings.add("grounding-invalid", split.name, place)
        count += len(found)
    return count


def _check_grounding(split: Split, findings: Findings) -> int:
    """Checks each annotation of a grounding JSON by itself, to report all faults; returns their number."""
    assert split.grounding is not None
    try:
        data = read_json(split.grounding)
        if not isinstance(data, dict) or not isinstance(data.get("annotations"), list):
            raise DataError(f"{split.grounding}: no list `annotations`")
        images = images_by_id(data, split.grounding)
    except DataError as error:
        findings.add("grounding-invalid", split.name, str(error))
        return 0
    for number, annotation in enumerate(data["annotations"]):
        where = f"{split.grounding}: annotations[{number}]"
        try:
            problem = _problem(JsonRow(annotation, where), images)
        except DataError as error:
            problem = str(error)
        if problem:
            findings.add(
                "grounding-invalid", split.name, problem if problem.startswith(where) else f"{where}: {problem}"
            )
    return len(data["annotations"])


def _problem(row: JsonRow, images: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns what is wrong with an annotation, or an empty string."""
    image_id = row.identifier("image_id")
    phrase = grounding_phrase(row, {})
    if images and str(image_id) not in images:
        return f"image id {image_id!r} is not in `images`"
    return _mask_problem(phrase.mask, images.get(str(image_id), {}))


def _mask_problem(segmentation: Any, info: Mapping[str, Any]) -> str:
    """Returns what is wrong with a mask, or an empty string: also for segment ids and images of unknown size."""
    if isinstance(segmentation, int) or "height" not in info or "width" not in info:
        return ""
    try:
        code = encode_segmentation(segmentation, info["height"], info["width"])
    except ValueError as error:
        return str(error)
    return "" if rle_areas([code])[0] else "its mask is empty"
