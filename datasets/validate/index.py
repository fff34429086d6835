"""First pass of ``validate``: folders, JSON and names; gives the list of pictures for the second pass."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from segfoundry.datasets.formats.listing import Listing
from segfoundry.datasets.formats.panoptic import read_panoptic_json
from segfoundry.datasets.formats.record import Record, Split
from segfoundry.datasets.validate.findings import Findings
from segfoundry.datasets.validate.scan import Limits, Target
from segfoundry.utils.errors import DataError
from segfoundry.utils.structures import Category


def index_split(record: Record, split: Split, findings: Findings, limits: Limits) -> list[Target]:
    """Checks everything of a split that needs no picture, and lists its pictures.

    Returns:
        One target per image that exists; files that are missing are reported and left out.
    """
    _check_paths(record, split, findings)
    images = _listing(split.images, "image", split, findings)
    semantic = None if split.semantic is None else _listing(split.semantic, "semantic PNG", split, findings)
    if images is None:
        return []
    if split.panoptic_json is None:
        return _semantic_targets(record, split, images, semantic, findings, limits)
    assert split.panoptic is not None
    pngs = _listing(split.panoptic, "panoptic PNG", split, findings)
    try:
        data = read_panoptic_json(split.panoptic_json)
    except DataError as error:
        findings.add("json-invalid", split.name, str(error))
        return []
    if not data["annotations"]:
        findings.add("annotations-empty", split.name, str(split.panoptic_json))
    _check_json(record, split, data, findings)
    return _panoptic_targets(record, split, data, (images, pngs, semantic), findings, limits)


def _check_paths(record: Record, split: Split, findings: Findings) -> None:
    root = record.root.resolve()
    for path in (split.images, split.panoptic_json, split.panoptic, split.semantic, split.grounding):
        if path is not None and root not in (path.resolve(), *path.resolve().parents):
            findings.add("path-outside-root", split.name, f"{path} (root {root})")


def _listing(folder: Path, kind: str, split: Split, findings: Findings) -> Listing | None:
    try:
        listing = Listing(folder, kind)
    except DataError as error:
        findings.add("folder-missing", split.name, str(error))
        return None
    lower = Counter(name.lower() for name in listing.names)
    for name in listing.names:
        if lower[name.lower()] > 1:
            findings.add("case-collision", split.name, f"{folder / name}")
    return listing


def _find(listing: Listing | None, name: str, code: str, split: Split, findings: Findings) -> Path | None:
    """Looks a file up and reports what is wrong; a missing folder has been reported already."""
    if listing is None:
        return None
    if Path(name).is_absolute() or ".." in Path(name).parts:
        findings.add("file-name-unsafe", split.name, f"{name!r}")
        return None
    try:
        path = listing.find(name)
    except DataError as error:
        findings.add("stem-ambiguous", split.name, str(error))
        return None
    if path is None:
        findings.add(code, split.name, f"{listing.folder / name}")
    return path


def _semantic_targets(
    record: Record, split: Split, images: Listing, semantic: Listing | None, findings: Findings, limits: Limits
) -> list[Target]:
    targets, used = [], set()
    for name in images.names:
        label = _find(semantic, name, "semantic-missing", split, findings)
        used.add(label)
        targets.append(Target(images.folder / name, None, label, (), None, None, len(record.categories), limits))
    _extras(semantic, used, "semantic-extra", split, findings)
    return targets


def _panoptic_targets(
    record: Record,
    split: Split,
    data: Mapping[str, Any],
    listings: tuple[Listing, Listing | None, Listing | None],
    findings: Findings,
    limits: Limits,
) -> list[Target]:
    images, pngs, semantic = listings
    infos = {info["id"]: info for info in data["images"]}
    index_of, things = record.index_of, frozenset(i for i, c in enumerate(record.categories) if c.isthing)
    targets: list[Target] = []
    used: tuple[set, set, set] = (set(), set(), set())
    for annotation in data["annotations"]:
        info = infos.get(annotation["image_id"], {})
        image = _find(images, info.get("file_name", annotation["file_name"]), "image-missing", split, findings)
        png = _find(pngs, annotation["file_name"], "png-missing", split, findings)
        label = _find(semantic, annotation["file_name"], "semantic-missing", split, findings)
        for files, path in zip(used, (image, png, label), strict=True):
            files.add(path)
        if image is not None:
            segments = tuple({**s, "index": index_of.get(s["category_id"])} for s in annotation["segments_info"])
            size = (info["height"], info["width"]) if "height" in info and "width" in info else None
            targets.append(Target(image, png, label, segments, things, size, len(record.categories), limits))
    for listing, files, code in zip(
        (images, pngs, semantic), used, ("image-extra", "png-extra", "semantic-extra"), strict=True
    ):
        _extras(listing, files, code, split, findings)
    return targets


def _extras(listing: Listing | None, used: Iterable[Path | None], code: str, split: Split, findings: Findings) -> None:
    if listing is None:
        return
    known = set(used)
    for path in (listing.folder / name for name in listing.names):
        if path not in known:
            findings.add(code, split.name, str(path))


def _check_json(record: Record, split: Split, data: Mapping[str, Any], findings: Findings) -> None:
    add = lambda code, place: findings.add(code, split.name, place)  # noqa: E731
    ids = Counter(info["id"] for info in data["images"])
    annotated = Counter(annotation["image_id"] for annotation in data["annotations"])
    for info in data["images"]:
        place = f"image {info['id']} ({info.get('file_name', 'no file_name')})"
        if ids[info["id"]] > 1:
            add("image-id-duplicate", place)
        if info["id"] not in annotated:
            add("annotation-missing", place)
    for names in (
        Counter(i["file_name"] for i in data["images"] if "file_name" in i),
        Counter(a["file_name"] for a in data["annotations"]),
    ):
        for name, count in names.items():
            if count > 1:
                add("file-name-duplicate", f"{name} ({count} times)")
    for annotation in data["annotations"]:
        place = f"{annotation['file_name']} (image {annotation['image_id']})"
        if annotated[annotation["image_id"]] > 1:
            add("annotation-duplicate", place)
        if ids and annotation["image_id"] not in ids:
            add("annotation-orphan", place)
        _check_segments(record, annotation, place, add)
    if data.get("categories"):
        _check_categories(record.categories, data["categories"], add)


def _check_segments(record: Record, annotation: Mapping[str, Any], place: str, add: Any) -> None:
    seen: Counter[int] = Counter(segment["id"] for segment in annotation["segments_info"])
    stuff: Counter[int] = Counter()
    for segment in annotation["segments_info"]:
        here = f"{place}: segment {segment['id']}"
        if not 1 <= segment["id"] <= 0xFFFFFF:
            add("segment-id-invalid", here)
        index = record.index_of.get(segment["category_id"])
        if index is None:
            add("category-unknown", f"{here}: category id {segment['category_id']!r}")
        elif not record.categories[index].isthing:
            stuff[index] += 1
            if segment.get("iscrowd"):
                add("crowd-stuff", here)
        elif segment.get("iscrowd"):
            add("crowd", here)
        for name in ("area", "bbox"):
            values = segment.get(name, 0)
            values = values if isinstance(values, list) else [values]
            if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in values):
                add("number-invalid", f"{here}: {name} {segment[name]!r}")
    for identifier, count in seen.items():
        if count > 1:
            add("segment-id-duplicate", f"{place}: id {identifier} {count} times")
    for index, count in stuff.items():
        if count > 1:
            add("stuff-twice", f"{place}: {record.categories[index].name} in {count} segments")


def _check_categories(ours: Iterable[Category], theirs: Iterable[Any], add: Any) -> None:
    by_id = {category.id: category for category in ours}
    seen: Counter[Any] = Counter(entry.get("id") for entry in theirs if isinstance(entry, Mapping))
    for entry in theirs:
        if not isinstance(entry, Mapping) or "id" not in entry:
            add("category-differs", f"JSON category {entry!r} has no id")
            continue
        if seen[entry["id"]] > 1:
            add("category-differs", f"JSON lists the category id {entry['id']} {seen[entry['id']]} times")
        category = by_id.get(entry["id"])
        if category is None:
            continue  # reported where a segment uses it
        if entry.get("name", category.name) != category.name:
            add("category-differs", f"id {category.id}: {category.name!r} in the record, {entry['name']!r} in the JSON")
        if bool(entry.get("isthing", category.isthing)) != category.isthing:
            add("category-differs", f"id {category.id} ({category.name}): isthing differs")
