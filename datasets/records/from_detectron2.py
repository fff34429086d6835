"""Data sets registered with detectron2; detectron2 (and torch) is loaded only on use."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from ...utils.errors import DataError
from ...utils.palette import distinct_color
from ...utils.structures.category import Category
from ...utils.structures.results import Segment
from .image_item import ImageItem
from .record import Record
from .split import Split

# (isthing, contiguous id as detectron2's items hold it) -> category index
_Index = dict[tuple[bool, int], int]


def detectron2_installed() -> bool:
    """Says whether detectron2 can be imported, without importing it."""
    return importlib.util.find_spec("detectron2") is not None


def find_registered(name: str) -> Record | None:
    """Returns a record for a name in detectron2's DatasetCatalog, or None when it is not registered there.

    The record has one split; its items come from the registered function (see :func:`list_registered_items`).

    Raises:
        DataError: the metadata holds no class names.
    """
    from detectron2.data import DatasetCatalog, MetadataCatalog

    if name not in DatasetCatalog.list():
        return None
    metadata = MetadataCatalog.get(name)
    categories, _ = _categories(name, metadata)
    images = Path(getattr(metadata, "image_root", None) or ".")
    panoptic = getattr(metadata, "panoptic_root", None)
    split = Split(
        name="val" if "val" in name.split("_") else "train",
        images=images,
        panoptic_json=Path(metadata.panoptic_json) if panoptic and getattr(metadata, "panoptic_json", None) else None,
        panoptic=Path(panoptic) if panoptic else None,
        semantic=Path(metadata.sem_seg_root) if not panoptic and getattr(metadata, "sem_seg_root", None) else None,
        registered=name,
    )
    return Record(name, Path(f"detectron2:{name}"), images, categories, None, {split.name: split})


def list_registered_items(split: Split) -> list[ImageItem]:
    """Lists the images that a detectron2 registration gives.

    Raises:
        DataError: an entry has neither a panoptic nor a semantic annotation, or an unknown category.
    """
    from detectron2.data import DatasetCatalog, MetadataCatalog

    assert split.registered is not None
    _, index = _categories(split.registered, MetadataCatalog.get(split.registered))
    items = []
    for number, entry in enumerate(DatasetCatalog.get(split.registered)):
        panoptic = entry.get("pan_seg_file_name")
        # Beside a panoptic map the semantic one may follow another numbering (stuff only): it is derived instead.
        semantic = None if panoptic else entry.get("sem_seg_file_name")
        if panoptic is None and semantic is None:
            raise DataError(
                f"detectron2 data set {split.registered!r}: {entry.get('file_name')} has neither `pan_seg_file_name` "
                "nor `sem_seg_file_name` (convert instance annotations: prepare --convert detection2panoptic)"
            )
        segments = [_segment(s, index, split.registered, entry) for s in entry.get("segments_info", [])]
        items.append(
            ImageItem(
                image_id=entry.get("image_id", number),
                image=Path(entry["file_name"]),
                height=entry.get("height"),
                width=entry.get("width"),
                panoptic=Path(panoptic) if panoptic else None,
                segments=segments,
                semantic=Path(semantic) if semantic else None,
            )
        )
    return items


def _segment(segment: dict[str, Any], index: _Index, name: str, entry: dict[str, Any]) -> Segment:
    key = (bool(segment.get("isthing", True)), segment["category_id"])
    if key not in index:
        raise DataError(
            f"detectron2 data set {name!r}: segment {segment.get('id')} of {entry.get('pan_seg_file_name')} has "
            f"category_id {segment['category_id']!r}, which its metadata do not list"
        )
    return Segment(segment["id"], index[key], key[0], bool(segment.get("iscrowd", 0)), int(segment.get("area", 0)))


def _categories(name: str, metadata: Any) -> tuple[tuple[Category, ...], _Index]:
    """Derives categories and the index map from metadata in either of detectron2's two layouts.

    In the joint layout the stuff map covers all categories; in the separated one it covers stuff (id 0 = "things").
    """
    thing_names = list(getattr(metadata, "thing_classes", None) or [])
    stuff_names = list(getattr(metadata, "stuff_classes", None) or [])
    if not thing_names and not stuff_names:
        raise DataError(f"detectron2 data set {name!r}: its metadata have neither thing_classes nor stuff_classes")
    default_things = {i: i for i in range(len(thing_names))} if thing_names else {}
    things: dict[int, int] = dict(getattr(metadata, "thing_dataset_id_to_contiguous_id", None) or default_things)
    offset = len(things) if things and not hasattr(metadata, "stuff_dataset_id_to_contiguous_id") else 0
    default_stuff = {i + offset: i for i in range(len(stuff_names))}
    stuff: dict[int, int] = dict(getattr(metadata, "stuff_dataset_id_to_contiguous_id", None) or default_stuff)
    joint = all(i in stuff and stuff_names[stuff[i]] == thing_names[c] for i, c in things.items())
    ordered = [(stuff[i], i) for i in stuff] if joint else [(c, i) for i, c in things.items()]
    if not joint:
        ordered += [(len(thing_names) + c, i) for i, c in stuff.items() if i not in things]
    categories: list[Category] = []
    index: _Index = {}
    for number, (_, identifier) in enumerate(sorted(ordered)):
        isthing = identifier in things
        place = things[identifier] if isthing else stuff[identifier]
        names = thing_names if isthing else stuff_names
        colors = getattr(metadata, "thing_colors" if isthing else "stuff_colors", None) or []
        color = colors[place] if place < len(colors) else distinct_color(number)
        red, green, blue = (int(v) for v in color)
        categories.append(Category(identifier, names[place], isthing, (red, green, blue)))
        index[isthing, place] = number
    return tuple(categories), index
