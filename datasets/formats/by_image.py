"""Annotation files whose entries name an image by its id: phrases, captions, instance masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...utils.errors import DataError
from ..records.image_item import InstanceAnnotation, Phrase, Segmentation
from .coco_rows import image_rows
from .json_file import read_json
from .json_row import JsonRow, shown


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
    for row in _rows(data, path):
        found.phrases.setdefault(str(row.identifier("image_id")), []).append(grounding_phrase(row, index_of))
    return found


def grounding_phrase(row: JsonRow, index_of: Mapping[int, int]) -> Phrase:
    """Returns what an annotation of a grounding JSON says; arguments and errors of :func:`read_grounding`."""
    name = "segmentation" if "segmentation" in row.fields else "segment_id"
    mask = row.fields.get(name)
    if not isinstance(mask, (list, dict)):
        if isinstance(mask, bool) or not isinstance(mask, (int, float)):
            raise DataError(f"{row.where} has neither a `segmentation` nor a `segment_id`")
        mask = row.whole(name)
    return Phrase(sentence_texts(row.fields.get("sentences"), row.where), mask, category_index(row, index_of))


def read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """Reads a COCO caption JSON: image id as text -> its captions.

    Raises:
        DataError: no such JSON, or an annotation without ``caption``; names file and annotation.
    """
    captions: dict[str, tuple[str, ...]] = {}
    for row in _rows(_read(path, "caption JSON"), path):
        image = str(row.identifier("image_id"))
        captions[image] = (*captions.get(image, ()), row.text("caption").strip())
    return captions


def read_instances(path: Path) -> dict[str, list[InstanceAnnotation]]:
    """Reads the masks of a COCO or LVIS instance JSON: image id as text -> its masks.

    Raises:
        DataError: no such JSON, or an annotation without ``segmentation`` or ``bbox``; names file and annotation.
    """
    instances: dict[str, list[InstanceAnnotation]] = {}
    for row in _rows(_read(path, "instance JSON"), path):
        found = InstanceAnnotation(segmentation_of(row), row.box("bbox"))
        instances.setdefault(str(row.identifier("image_id")), []).append(found)
    return instances


def segmentation_of(row: JsonRow) -> Segmentation:
    """Returns the mask of an annotation as it stands there; it is checked when it is drawn, at its image's size.

    Raises:
        DataError: it has none.
    """
    segmentation = row.get("segmentation")
    if not isinstance(segmentation, (list, dict)):
        raise row.wrong("segmentation", "polygons or a run-length mask {size, counts}")
    return segmentation


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
            raise DataError(f"{where}: a sentence is {shown(text)}, expected text")
        texts.append(text.strip().lower())
    return tuple(texts)


def category_index(row: JsonRow, index_of: Mapping[int, int]) -> int | None:
    """Returns the category index of an annotation, None when it names no known category.

    Raises:
        DataError: its ``category_id`` is no id.
    """
    category = row.identifier("category_id") if row.has("category_id") else None
    return index_of.get(category) if isinstance(category, int) else None


def images_by_id(data: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """Returns the entries of ``images`` by id as text.

    Raises:
        DataError: see :func:`~segfoundry.datasets.formats.coco_rows.image_rows`.
    """
    return {str(info["id"]): info for info in image_rows(data, path)}


def _read(path: Path, kind: str) -> dict[str, Any]:
    data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("annotations"), list):
        raise DataError(f"{path}: no list `annotations`; expected a {kind}")
    return data


def _rows(data: Mapping[str, Any], path: Path) -> Iterator[JsonRow]:
    for number, row in enumerate(data["annotations"]):
        yield JsonRow(row, f"{path}: annotations[{number}]")
