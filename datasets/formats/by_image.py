"""Annotation files whose entries name an image by its id: phrases, captions, instance masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...utils.errors import DataError
from ..records.image_item import InstanceAnnotation, Phrase
from .json_file import read_json


@dataclass
class PhraseFile:
    """Content of a file of phrases.

    Attributes:
        images: image id as text -> its entry (``id``, ``file_name``, ``height``, ``width``), in the order of the file.
        phrases: image id as text -> its phrases.
    """

    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    phrases: dict[str, list[Phrase]] = field(default_factory=dict)


def read_grounding(path: Path, index_of: Mapping[int, int]) -> PhraseFile:
    """Reads a grounding JSON: one annotation per object, each with one or several sentences.

    Args:
        path: JSON with ``annotations[]`` of ``image_id``, ``segmentation`` (or ``segment_id`` of the panoptic map) and
            ``sentences[].raw``; ``images[]`` and ``category_id`` are optional.
        index_of: category id -> category index.

    Returns:
        Phrases with lower-case texts.

    Raises:
        DataError: no such JSON, or an annotation lacks something; names file and annotation.
    """
    data = _read(path, "grounding JSON")
    found = PhraseFile(images_by_id(data, path))
    for where, row in _rows(data, path):
        mask = row.get("segmentation", row.get("segment_id"))
        if not isinstance(mask, (list, dict, int)) or isinstance(mask, bool):
            raise DataError(f"{where} has neither a `segmentation` nor a `segment_id`")
        phrase = Phrase(sentence_texts(row.get("sentences"), where), mask, category_index(row, index_of))
        found.phrases.setdefault(str(row["image_id"]), []).append(phrase)
    return found


def read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """Reads a COCO caption JSON: image id as text -> its captions.

    Raises:
        DataError: no such JSON, or an annotation without ``caption``; names file and annotation.
    """
    captions: dict[str, tuple[str, ...]] = {}
    for where, row in _rows(_read(path, "caption JSON"), path):
        if not isinstance(row.get("caption"), str):
            raise DataError(f"{where} has no `caption`")
        image = str(row["image_id"])
        captions[image] = (*captions.get(image, ()), row["caption"].strip())
    return captions


def read_instances(path: Path) -> dict[str, list[InstanceAnnotation]]:
    """Reads the masks of a COCO or LVIS instance JSON: image id as text -> its masks.

    Raises:
        DataError: no such JSON, or an annotation without ``segmentation`` or ``bbox``; names file and annotation.
    """
    instances: dict[str, list[InstanceAnnotation]] = {}
    for where, row in _rows(_read(path, "instance JSON"), path):
        segmentation, box = row.get("segmentation"), row.get("bbox")
        if not isinstance(segmentation, (list, dict)):
            raise DataError(f"{where} has no `segmentation`")
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, (int, float)) for v in box):
            raise DataError(f"{where}: `bbox` is {box!r}, expected [x, y, width, height]")
        found = InstanceAnnotation(segmentation, (box[0], box[1], box[2], box[3]))
        instances.setdefault(str(row["image_id"]), []).append(found)
    return instances


def sentence_texts(sentences: Any, where: str) -> tuple[str, ...]:
    """Returns the texts of a list of sentences, ``{"raw": ...}`` or plain, in lower case and without outer blanks.

    Raises:
        DataError: no list, an empty one, or a sentence without text.
    """
    if not isinstance(sentences, list) or not sentences:
        raise DataError(f"{where}: `sentences` must be a list of {{raw: text}} with at least one entry")
    texts: list[str] = []
    for sentence in sentences:
        text = sentence.get("raw", sentence.get("sent")) if isinstance(sentence, dict) else sentence
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{where}: a sentence is {text!r}, expected text")
        texts.append(text.strip().lower())
    return tuple(texts)


def category_index(row: Mapping[str, Any], index_of: Mapping[int, int]) -> int | None:
    """Returns the category index of an annotation, None when it names no known category."""
    category = row.get("category_id")
    return index_of.get(category) if isinstance(category, int) else None


def images_by_id(data: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """Returns the entries of ``images`` by id as text.

    Raises:
        DataError: ``images`` is no list of mappings with ``id``.
    """
    images = data.get("images") or []
    if not isinstance(images, list) or not all(isinstance(i, dict) and "id" in i for i in images):
        raise DataError(f"{path}: `images` must be a list of mappings, each with an `id`")
    return {str(info["id"]): info for info in images}


def _read(path: Path, kind: str) -> dict[str, Any]:
    data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("annotations"), list):
        raise DataError(f"{path}: no list `annotations`; expected a {kind}")
    return data


def _rows(data: Mapping[str, Any], path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Gives each annotation with the start of its error messages."""
    for number, row in enumerate(data["annotations"]):
        where = f"{path}: annotations[{number}]"
        if not isinstance(row, dict) or "image_id" not in row:
            raise DataError(f"{where} is no mapping with an `image_id`")
        yield where, row
