"""One part of a data set (train, val, ...): where its files lie and how their names and values are to be read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...utils.errors import DataError, did_you_mean
from ...utils.paths import MOST_NAME_BYTES
from ..formats.label_maps import UNLABELLED, ObjectCoding, SemanticCoding
from ..formats.listing import NamePattern
from ..strokes.base import START_PROMPTS
from .fields import check_mapping, one_of, text, whole_number, whole_numbers

ANNOTATIONS = ("panoptic_json", "semantic", "objects", "foreground", "grounding", "refs")
"""Keys of which a split needs at least one."""
_PATHS = (
    "images", "panoptic_json", "panoptic", "semantic", "objects", "foreground", "grounding", "refs", "captions",
    "instances", "image_list",
)  # fmt: skip
_PATTERNS = ("image_names", "panoptic_names", "semantic_names", "object_names", "foreground_names")
_KEYS = (
    *_PATHS, *_PATTERNS,
    "semantic_values", "semantic_ignore", "object_ignore", "object_union", "refs_split", "prompt", "optional", "like",
)  # fmt: skip


@dataclass(frozen=True)
class Split:
    """Files of one part of a data set; absolute paths.

    Attributes:
        name: "train", "val", ...
        images: folder of the images.
        panoptic_json: COCO panoptic JSON, or None.
        panoptic: folder of the panoptic PNGs; set whenever ``panoptic_json`` is.
        semantic: folder of semantic PNGs, or None.
        grounding: JSON of phrases, or None.
        registered: name in detectron2's DatasetCatalog when the items come from there.
        objects: folder of PNGs with a number per object, or None.
        refs: expressions in the files of the RefCOCO authors (``refs(unc).p`` with ``instances.json`` beside it), or
            None.
        refs_split: which of the expressions: "train", "val", "testA", ...
        captions: COCO caption JSON, or None.
        instances: instance JSON of finer masks (LVIS for COCO), or None.
        image_list: text file that names the images, one a line, or None: all of the folder.
        image_names: form of the images' names below their folder, or None.
        panoptic_names: form of the panoptic PNGs' names.
        semantic_names: form of the semantic PNGs' names.
        object_names: form of the object PNGs' names.
        semantic_coding: what the values of semantic PNGs mean; None: category index, 255 = VOID.
        object_coding: what the values of object PNGs mean.
        prompt: shape of the first prompt of an interactive evaluation; None: the configuration decides.
        absent: annotation files that may be absent, and are.
        foreground: folder of foreground masks (values above 0 are foreground), or None.
        foreground_names: form of their names.
        backgrounds: folders of images that replace what is not foreground; empty: nothing is replaced.
        augment: colours and crops change at random.
        crop_foreground: image and mask are zoomed into at random, together; with ``augment`` and ``backgrounds`` only.
        share: of the images, how many an epoch shows, drawn anew in each; above 1 some are shown several times.
    """

    name: str
    images: Path
    panoptic_json: Path | None = None
    panoptic: Path | None = None
    semantic: Path | None = None
    grounding: Path | None = None
    registered: str | None = None
    objects: Path | None = None
    refs: Path | None = None
    refs_split: str = ""
    captions: Path | None = None
    instances: Path | None = None
    image_list: Path | None = None
    image_names: NamePattern | None = None
    panoptic_names: NamePattern | None = None
    semantic_names: NamePattern | None = None
    object_names: NamePattern | None = None
    semantic_coding: SemanticCoding | None = None
    object_coding: ObjectCoding = ObjectCoding()
    prompt: str | None = None
    absent: tuple[Path, ...] = ()
    foreground: Path | None = None
    foreground_names: NamePattern | None = None
    backgrounds: tuple[Path, ...] = ()
    augment: bool = False
    crop_foreground: bool = False
    share: float = 1.0

    @property
    def referring(self) -> Path | None:
        """The file of phrases: ``grounding`` or ``refs``."""
        return self.grounding or self.refs

    @property
    def masks_only(self) -> bool:
        """Foreground masks are all that is known about the images: no category occurs."""
        return self.foreground is not None and not any(
            (self.panoptic_json, self.semantic, self.objects, self.referring, self.registered)
        )

    @property
    def paths(self) -> dict[str, Path]:
        """The folders and files that the record names, by key."""
        return {key: path for key in _PATHS if (path := getattr(self, key)) is not None}


def parse_splits(values: Any, root: Path, index_of: Mapping[int, int], where: str) -> dict[str, Split]:
    """Reads the key ``splits`` of a record.

    Args:
        values: split name -> mapping.
        root: folder that relative paths start from.
        index_of: category id -> category index.
        where: prefix of errors.

    Raises:
        DataError: no split, an unknown key, a missing or contradicting one, or a value of the wrong kind.
    """
    if not isinstance(values, dict) or not values:
        raise DataError(f"{where} must be a mapping with at least one split, such as train: {{images: ...}}")
    named = {str(name): value for name, value in values.items()}
    return {name: _parse(name, _inherit(name, named, where), root, index_of, f"{where}.{name}") for name in named}


def _inherit(name: str, splits: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns the keys of a split, those of the split it is ``like`` filled in; null takes a key away."""
    keys: dict[str, Any] = {}
    seen = [name]
    current = splits[name]
    while True:
        check_mapping(current, _KEYS, f"{where}.{seen[-1]}")
        keys = {**current, **keys}
        parent = current.get("like")
        if parent is None:
            return keys
        if not isinstance(parent, str) or parent not in splits or parent in seen:
            hint = " (a circle)" if parent in seen else did_you_mean(str(parent), splits)
            raise DataError(f"{where}.{seen[-1]}.like: no split {parent!r} to start from{hint}")
        seen.append(parent)
        current = splits[parent]


def _parse(name: str, value: dict[str, Any], root: Path, index_of: Mapping[int, int], where: str) -> Split:
    check_mapping(value, _KEYS, where, required=("images",))
    paths = {key: find_path(root, value[key], f"{where}.{key}") for key in _PATHS if value.get(key) is not None}
    absent = [key for key in _optional(value, where) if key in paths and not paths[key].exists()]
    absent_paths = tuple(paths.pop(key) for key in absent)
    if "panoptic" in paths and "panoptic_json" not in paths:
        raise DataError(f"{where}: `panoptic` (PNG folder) needs `panoptic_json`, the file that says what each id is")
    if "panoptic_json" in paths:
        paths.setdefault("panoptic", paths["panoptic_json"].with_suffix(""))
    elif not any(key in paths for key in ANNOTATIONS):
        raise DataError(f"{where}: no annotations; expected one of {', '.join(ANNOTATIONS)}")
    if "grounding" in paths and "refs" in paths:
        raise DataError(f"{where}: phrases come from `grounding` or from `refs`, not from both")
    files: dict[str, Any] = {
        **paths,
        **{key: _pattern(value[key], f"{where}.{key}") for key in _PATTERNS if value.get(key) is not None},
    }
    return Split(
        name,
        **files,
        refs_split=text(value.get("refs_split", name), f"{where}.refs_split"),
        semantic_coding=_semantic_coding(value, index_of, where),
        object_coding=_object_coding(value, where),
        prompt=_prompt(value.get("prompt"), f"{where}.prompt"),
        absent=absent_paths,
    )


def find_path(base: Path, value: Any, where: str) -> Path:
    """Returns an absolute path; of a list of paths the first that exists, or else the first.

    A path is also looked for with / where Windows writes a backslash.

    Raises:
        DataError: neither text nor a list of texts, or a name that no file can have.
    """
    values = value if isinstance(value, list) and value else [value]
    written = [text(v, where) for v in values]
    for name in (part for path in written for part in path.replace("\\", "/").split("/")):
        if len(os.fsencode(name)) > MOST_NAME_BYTES:
            raise DataError(
                f"{where}: a name of {len(os.fsencode(name))} bytes; no file has one above {MOST_NAME_BYTES}"
            )
    forms = dict.fromkeys(form for path in written for form in (path, path.replace("\\", "/")))
    paths = [(base / form).absolute() for form in forms]
    return next((path for path in paths if path.exists()), paths[0])


def _pattern(value: Any, where: str) -> NamePattern:
    try:
        return NamePattern(text(value, where))
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error


def _optional(value: Mapping[str, Any], where: str) -> list[str]:
    names = [] if value.get("optional") is None else value["optional"]
    if not isinstance(names, list):
        raise DataError(f"{where}.optional: {names!r}, expected a list of keys")
    return [one_of(name, ("grounding", "captions", "instances"), f"{where}.optional") for name in names]


def _semantic_coding(value: Mapping[str, Any], index_of: Mapping[int, int], where: str) -> SemanticCoding | None:
    values, ignored = value.get("semantic_values"), value.get("semantic_ignore")
    if values is None and ignored is None:
        return None
    if values is None or values == "index":
        indices = {index: index for index in index_of.values()}
    elif values == "index+1":
        indices = {index + 1: index for index in index_of.values()}
    elif values == "id":
        indices = dict(index_of)
    elif isinstance(values, dict) and values:
        for file_value, category in values.items():
            whole_number(file_value, f"{where}.semantic_values (value in the PNG)")
            if isinstance(category, bool) or not isinstance(category, int) or category not in index_of:
                raise DataError(f"{where}.semantic_values.{file_value}: no category has the id {category!r}")
        indices = {file_value: index_of[category] for file_value, category in values.items()}
    else:
        raise DataError(f"{where}.semantic_values: {values!r}, expected index, index+1, id or {{value: category id}}")
    if ignored == "other":
        return SemanticCoding(tuple(sorted(indices.items())), (), True)
    numbers = (UNLABELLED,) if ignored is None else whole_numbers(ignored, f"{where}.semantic_ignore")
    both = sorted(set(numbers) & set(indices))
    if both and ignored is not None:
        raise DataError(f"{where}.semantic_ignore: {both[0]} is a category too")
    return SemanticCoding(tuple(sorted(indices.items())), numbers)


def _object_coding(value: Mapping[str, Any], where: str) -> ObjectCoding:
    union = value.get("object_union", False)
    if not isinstance(union, bool):
        raise DataError(f"{where}.object_union: {union!r}, expected true or false")
    if value.get("object_ignore") is None:
        return ObjectCoding(union=union)
    return ObjectCoding(whole_numbers(value["object_ignore"], f"{where}.object_ignore"), union)


def _prompt(value: Any, where: str) -> str | None:
    if value is None:
        return None
    return one_of(value, START_PROMPTS, where)
