"""From a name in the configuration to a data set record, and from a record to its list of images.

A name is, in this order: the path of a record file (or of a folder with one), a record ``<name>.yaml`` (or one with
that alias) under the folder in the environment variable DATASET, a built-in record, a detectron2 registration.
``NAME:split`` picks a split.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from segfoundry.datasets.formats.listing import Listing, list_images, stem_of
from segfoundry.datasets.formats.panoptic import read_panoptic_json
from segfoundry.datasets.formats.record import Record, Split, read_record
from segfoundry.datasets.items import InstanceAnnotation, Item, Phrase
from segfoundry.utils.errors import DataError, did_you_mean
from segfoundry.utils.paths import product_root
from segfoundry.utils.structures import Category, Segment

__all__ = [
    "Category",
    "InstanceAnnotation",
    "Item",
    "Phrase",
    "Record",
    "Split",
    "builtin_names",
    "data_folder",
    "find_data_set",
    "find_record",
    "list_images",
    "load_items",
]


def data_folder() -> Path:
    """Returns the folder of downloaded data sets: $DETECTRON2_DATASETS, else $DATASET, else ./datasets."""
    folder = os.environ.get("DETECTRON2_DATASETS") or os.environ.get("DATASET") or "datasets"
    return Path(folder).expanduser().absolute()


def builtin_names() -> list[str]:
    """Returns the names of the built-in records, aliases included."""
    records = (_read_builtin(path) for path in sorted(_builtin_folder().glob("*.yaml")))
    return [name for record in records for name in (record.name, *record.aliases)]


def find_record(name: str, default_split: str) -> tuple[Record, Split]:
    """Finds a data set and one of its splits.

    Args:
        name: path or name, optionally followed by ``:split``.
        default_split: used when neither the name nor an alias says which.

    Raises:
        DataError: as :func:`find_data_set`; no such split.
    """
    record, named_split = find_data_set(name)
    wanted = named_split or default_split
    if wanted not in record.splits:
        base, _ = _without_split(name)
        raise DataError(
            f"{record.path}: data set {record.name!r} has no split {wanted!r}"
            f"{did_you_mean(wanted, record.splits) or '.'} Splits: {', '.join(record.splits)} (write {base}:SPLIT)."
        )
    return record, record.splits[wanted]


def find_data_set(name: str) -> tuple[Record, str | None]:
    """Finds a data set, and the name of the split when ``name`` or an alias says it.

    Raises:
        DataError: nothing of that name (lists what was searched), or a faulty record.
    """
    name, split = _without_split(name)
    searched: list[str] = []
    found = _from_path(name, searched) or _from_environment(name, searched) or _from_builtin(name, searched)
    if found is None:
        found = _from_detectron2(name, searched)
    if found is None:
        close = did_you_mean(name, [*builtin_names(), *_environment_names()])
        raise DataError(
            f"no data set {name!r}{close or '.'} Searched: {'; '.join(searched)}. Name a record file, such as the one "
            "that `prepare` writes."
        )
    record, alias_split = found
    return record, split or alias_split


def _without_split(name: str) -> tuple[str, str]:
    base, _, split = name.rpartition(":")
    return (base, split) if base and split and "/" not in split and not Path(name).exists() else (name, "")


def load_items(record: Record, split: Split) -> list[Item]:
    """Lists the images of a split with their annotations; opens the JSON, but no picture.

    Images pair with annotations by the JSON's file name, else by stem with any image suffix.

    Raises:
        DataError: a folder or file is missing, a name fits two images, an id or category is unknown; names the first
            few offenders and how many there are.
    """
    if split.registered is not None:
        from segfoundry.datasets.detectron2_bridge import load_registered_items

        return load_registered_items(split)
    images = Listing(split.images, "image")
    semantic = None if split.semantic is None else Listing(split.semantic, "semantic PNG")
    if split.panoptic_json is None:
        assert semantic is not None  # a split without annotations is refused when the record is read
        return _semantic_items(images, semantic)
    return _panoptic_items(record, split, images, semantic)


def _semantic_items(images: Listing, semantic: Listing) -> list[Item]:
    items, missing = [], []
    for name in images.names:
        label = semantic.find(name)
        if label is None:
            missing.append(name)
        items.append(Item(image_id=stem_of(name), image=images.folder / name, semantic=label))
    _refuse(missing, f"{semantic.folder}: no semantic PNG for", "images")
    return items


def _panoptic_items(record: Record, split: Split, images: Listing, semantic: Listing | None) -> list[Item]:
    assert split.panoptic_json is not None and split.panoptic is not None
    data = read_panoptic_json(split.panoptic_json)
    pngs = Listing(split.panoptic, "panoptic PNG")
    index_of = record.index_of
    infos = {info["id"]: info for info in data["images"]}
    items: list[Item] = []
    faults: dict[str, list[str]] = {"image": [], "png": [], "semantic": [], "info": []}
    for annotation in data["annotations"]:
        info = infos.get(annotation["image_id"], {})
        if infos and not info:
            faults["info"].append(f"{annotation['image_id']} ({annotation['file_name']})")
        name = info.get("file_name", annotation["file_name"])
        image, png = images.find(name), pngs.find(annotation["file_name"])
        label = semantic.find(annotation["file_name"]) if semantic else None
        for kind, found in (("image", image), ("png", png), ("semantic", label if semantic else png)):
            if found is None:
                faults[kind].append(name if kind == "image" else annotation["file_name"])
        segments = [_segment(record, index_of, s, annotation, split.panoptic_json) for s in annotation["segments_info"]]
        items.append(
            Item(annotation["image_id"], image or Path(), info.get("height"), info.get("width"), png, segments, label)
        )
    _refuse(faults["info"], f"{split.panoptic_json}: not in its list `images`:", "image ids of annotations")
    _refuse(faults["image"], f"{images.folder}: missing", f"images named in {split.panoptic_json}")
    _refuse(faults["png"], f"{pngs.folder}: missing", f"panoptic PNGs named in {split.panoptic_json}")
    _refuse(faults["semantic"], f"{split.semantic}: missing", f"semantic PNGs for {split.panoptic_json}")
    annotated = {item.image_id for item in items}
    if len(annotated) < len(items):
        raise DataError(f"{split.panoptic_json}: {len(items) - len(annotated)} images have more than one annotation")
    without = [f"{i} ({info.get('file_name', '?')})" for i, info in infos.items() if i not in annotated]
    _refuse(without, f"{split.panoptic_json}: no annotation for", "entries of `images`")
    if not items:
        raise DataError(f"{split.panoptic_json}: holds no annotation")
    return items


def _segment(record: Record, index_of: dict[int, int], segment: dict, annotation: dict, json_file: Path) -> Segment:
    index = index_of.get(segment["category_id"])
    if index is None:
        known = ", ".join(f"{c.id} {c.name}" for c in record.categories[:8]) + (", ..." if len(index_of) > 8 else "")
        raise DataError(
            f"{json_file}: segment {segment['id']} of {annotation['file_name']} has category id "
            f"{segment['category_id']!r}, which {record.path} does not list ({known})"
        )
    return Segment(
        segment["id"],
        index,
        record.categories[index].isthing,
        bool(segment.get("iscrowd", 0)),
        int(segment.get("area", 0)),
    )


def _refuse(names: list[str], start: str, what: str, count: int = 5) -> None:
    if names:
        shown = ", ".join(names[:count]) + (", ..." if len(names) > count else "")
        raise DataError(f"{start} {len(names)} {what} ({shown}); `validate` lists all")


Found = tuple[Record, str | None]


def _from_path(name: str, searched: list[str]) -> Found | None:
    path = Path(name).expanduser()
    searched.append(f"the file {path}")
    if path.is_file():
        return read_record(path), None
    if path.is_dir():
        inside = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        if len(inside) == 1:
            return read_record(inside[0]), None
        searched[-1] = f"the folder {path} (expected one record *.yaml in it, found {len(inside)})"
    return None


def _from_environment(name: str, searched: list[str]) -> Found | None:
    value = os.environ.get("DATASET")
    if not value:
        searched.append("$DATASET (not set; a folder with records <name>.yaml)")
        return None
    folder = Path(value).expanduser()
    searched.append(f"{folder / (name + '.yaml')} ($DATASET) and the aliases of the records there")
    if (folder / f"{name}.yaml").is_file():
        return read_record(folder / f"{name}.yaml"), None
    for path in sorted(folder.glob("*.yaml")):
        if name in _text_of(path) and name in (record := read_record(path)).aliases:
            return record, record.aliases[name]
    return None


def _from_builtin(name: str, searched: list[str]) -> Found | None:
    records = [_read_builtin(path) for path in sorted(_builtin_folder().glob("*.yaml"))]
    searched.append("built-in " + ", ".join(record.name for record in records))
    for record in records:
        if name == record.name or name in record.aliases:
            return record, record.aliases.get(name)
    return None


def _from_detectron2(name: str, searched: list[str]) -> Found | None:
    from segfoundry.datasets.detectron2_bridge import detectron2_installed, find_registered

    if not detectron2_installed():
        searched.append("detectron2's DatasetCatalog (detectron2 is not installed)")
        return None
    searched.append("detectron2's DatasetCatalog")
    record = find_registered(name)
    return None if record is None else (record, next(iter(record.splits)))


def _builtin_folder() -> Path:
    return product_root() / "datasets" / "records"


def _read_builtin(path: Path) -> Record:
    return read_record(path, root_base=data_folder())


def _environment_names() -> Iterable[str]:
    value = os.environ.get("DATASET")
    return [path.stem for path in Path(value).expanduser().glob("*.yaml")] if value else []


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
