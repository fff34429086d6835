"""Referring expressions in the files of the RefCOCO authors: ``refs(unc).p`` and ``instances.json`` beside it.

Kazemzadeh et al. 2014 (RefCOCO, RefCOCO+), Mao et al. 2016 and Nagaraja et al. 2016 (RefCOCOg, splits google and umd).
The ``.p`` files are Python pickles. A pickle is a program; the reader here runs only those that build plain containers
of numbers and texts, and refuses every one that names a class or function. The same list as JSON is read as well.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ...utils.errors import DataError, did_you_mean
from ..records.image_item import Phrase
from .by_image import PhraseFile, category_index, images_by_id, segmentation_of, sentence_texts
from .json_file import read_bytes, read_json
from .json_row import JsonRow, shown

INSTANCES = "instances.json"
_KEYS = ("image_id", "ann_id", "split", "sentences")
_DAMAGED = (
    pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError,
    MemoryError, RecursionError, json.JSONDecodeError,
)  # fmt: skip


def read_refs(path: Path, split: str, index_of: Mapping[int, int]) -> PhraseFile:
    """Reads the expressions of one split and their masks.

    Expressions about the same object are one phrase with several texts.

    Args:
        path: ``refs(....).p`` or ``.json``; the masks are those of ``instances.json`` in its folder.
        split: "train", "val", "test", "testA" or "testB".
        index_of: category id -> category index.

    Raises:
        DataError: a file is missing, damaged or unsafe; no expression of that split; an entry without its mask.
    """
    listed = read_ref_list(path)
    rows = [row for row in listed if row["split"] == split]
    if not rows:
        known = sorted({str(row["split"]) for row in listed})
        raise DataError(f"{path}: no expression of split {split!r}{did_you_mean(split, known) or '.'} Splits: {known}")
    masks, infos = _read_masks(path.parent / INSTANCES, {row["ann_id"] for row in rows})
    texts: dict[int, tuple[str, ...]] = {}
    place: dict[int, str] = {}
    for number, row in enumerate(rows):
        where = f"{path}: expression {number} of split {split} (ann_id {row['ann_id']})"
        if row["ann_id"] not in masks or str(row["image_id"]) not in infos:
            raise DataError(f"{where}: its object or image is missing in {path.parent / INSTANCES}")
        texts[row["ann_id"]] = (*texts.get(row["ann_id"], ()), *sentence_texts(row["sentences"], where))
        place[row["ann_id"]] = str(row["image_id"])
    found = PhraseFile()
    for annotation, image in place.items():
        mask = masks[annotation]
        found.images.setdefault(image, infos[image])
        phrase = Phrase(tuple(dict.fromkeys(texts[annotation])), segmentation_of(mask), category_index(mask, index_of))
        found.phrases.setdefault(image, []).append(phrase)
    return found


def read_ref_list(path: Path) -> list[dict[str, Any]]:
    """Reads the list of expressions of all splits, from a pickle or JSON.

    Raises:
        DataError: the file is missing, damaged, another kind, or a pickle of more than plain data.
    """
    data = read_bytes(path)
    try:
        rows = (
            json.loads(data) if path.suffix == ".json" else _PlainUnpickler(io.BytesIO(data), encoding="utf-8").load()
        )
    except _DAMAGED as error:
        raise DataError(f"{path}: not a readable list of expressions ({error})") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of expressions, found {type(rows).__name__}")
    return [_expression(row, f"{path}: expression {number}") for number, row in enumerate(rows)]


def _expression(value: Any, where: str) -> dict[str, Any]:
    row = JsonRow(value, where)
    if not all(key in row.fields for key in _KEYS):
        raise DataError(f"{where} lacks one of {', '.join(_KEYS)}")
    ids = {name: row.identifier(name) for name in ("image_id", "ann_id")}
    return {**ids, "split": row.text("split"), "sentences": row.get("sentences")}


class _PlainUnpickler(pickle.Unpickler):
    """Builds lists, tuples, dicts, sets, texts and numbers; the opcodes that name anything else end in an error."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}; only plain data is read")


def _read_masks(path: Path, wanted: set[int]) -> tuple[dict[int | str, JsonRow], dict[str, dict[str, Any]]]:
    """Returns the annotations ``wanted`` by id, and all images by id as text."""
    data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("annotations"), list):
        raise DataError(f"{path}: no list `annotations`; expected COCO instances")
    masks: dict[int | str, JsonRow] = {}
    for number, value in enumerate(data["annotations"]):
        row = JsonRow(value, f"{path}: annotations[{number}]")
        if "id" not in row.fields or "segmentation" not in row.fields:
            raise DataError(f"{row.where} lacks `id` or `segmentation`")
        identifier = row.identifier("id")
        if identifier in masks:
            raise DataError(f"{row.where} has the id {shown(identifier)}, as an earlier annotation has")
        if identifier in wanted:
            masks[identifier] = row
    return masks, images_by_id(data, path)
