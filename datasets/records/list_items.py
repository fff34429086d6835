"""From a data set's record to the list of its images: opens JSON files and folders, but no picture."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...utils.errors import DataError
from ...utils.structures.results import Segment
from ..formats.by_image import PhraseFile, read_captions, read_grounding, read_instances
from ..formats.dlo_folders import background_files
from ..formats.foreign_names import shared_files
from ..formats.listing import LABEL_SUFFIXES, Listing, NamePattern, read_image_list, stem_of
from ..formats.pairs import pair
from ..formats.panoptic import read_panoptic_json
from ..formats.refs import INSTANCES, read_refs
from .from_detectron2 import list_registered_items
from .image_item import Composite, ImageItem
from .record import Record
from .split import Split

_NO_FILE = Path()
_Pairs = tuple[tuple[int, int], ...]
_COCO_2014 = re.compile(r"^COCO_(train|val|test)2014_")


def list_items(record: Record, split: Split) -> list[ImageItem]:
    """Lists the images of a split with their annotations.

    Images pair with annotations by the JSON's file name, else by stem with any image suffix, else by the record's name
    patterns. A split with foreground masks alone asks for a mask of each image and an image of each
    mask. A split without any maps holds the images that its phrases are about.

    Raises:
        DataError: a folder or file is missing, a name fits two images, an id or category is unknown; names the first
            few offenders and how many there are.
    """
    if split.registered is not None:
        return list_registered_items(split)
    folders = Folders.of(split)
    images = folders.images
    listed = None if split.image_list is None else read_image_list(split.image_list, images, record.root)
    phrases = read_phrases(record, split)
    if split.panoptic_json is not None:
        items = _panoptic_items(record, split, folders)
    elif split.semantic is not None or split.objects is not None:
        items = _map_items(split, folders, images.names if listed is None else listed)
    elif split.foreground is not None:
        items = _foreground_items(split, folders, listed)
    else:
        assert phrases is not None  # a split without annotations is refused when the record is read
        items = _phrase_items(split, images, phrases)
    if listed is not None:
        kept = {images.folder / name for name in listed}
        items = [item for item in items if item.image in kept]
    for item in items:
        item.semantic_coding, item.object_coding = split.semantic_coding, split.object_coding
    _attach(split, items, phrases)
    if folders.foreground is not None and not split.masks_only:
        _attach_foreground(items, folders)
    return items


@dataclass(frozen=True)
class Folders:
    """Listed folders of a split; None where it has none."""

    images: Listing
    semantic: Listing | None
    objects: Listing | None
    foreground: Listing | None

    @classmethod
    def of(cls, split: Split) -> Folders:
        """Lists the folders of images, semantic and object PNGs, and foreground masks.

        Raises:
            DataError: one is missing, empty, or holds no name of the pattern's form.
        """

        def listing(folder: Path | None, what: str, names: NamePattern | None) -> Listing | None:
            return None if folder is None else Listing(folder, what, names, LABEL_SUFFIXES)

        return cls(
            Listing(split.images, "image", split.image_names),
            listing(split.semantic, "semantic PNG", split.semantic_names),
            listing(split.objects, "object PNG", split.object_names),
            listing(split.foreground, "foreground mask", split.foreground_names),
        )


def _foreground_items(split: Split, folders: Folders, listed: Sequence[str] | None) -> list[ImageItem]:
    """Pairs images with foreground masks; every file must have its partner."""
    images, masks = folders.images, folders.foreground
    assert masks is not None
    found = pair(images, masks, listed)
    if found.ambiguous:
        shown = "; ".join(found.ambiguous[:3])
        raise DataError(f"{len(found.ambiguous)} groups of files have the same name: {shown}; keep one of each")
    lone = [
        *_lacking(found.lone_images, f"{masks.folder}: no mask for", f"images of {images.folder}"),
        *_lacking(found.lone_masks, f"{images.folder}: no image for", f"masks of {masks.folder}"),
    ]
    if lone:  # both at once: names that differ by a suffix such as _mask are seen at a glance
        raise DataError(f"{'; '.join(lone)}; `validate` lists all")
    composite = None
    if split.backgrounds or split.augment:
        composite = Composite(background_files(split.backgrounds), split.augment, split.crop_foreground)
    return [
        ImageItem(stem_of(image.relative_to(images.folder).as_posix()), image, foreground=mask, composite=composite)
        for image, mask in found.pairs
    ]


def _attach_foreground(items: Sequence[ImageItem], folders: Folders) -> None:
    """Gives items with other annotations their foreground masks."""
    masks, missing = folders.foreground, []
    assert masks is not None
    for item in items:
        name = item.image.relative_to(folders.images.folder).as_posix()
        item.foreground = masks.find_match(name, folders.images)
        if item.foreground is None:
            missing.append(name)
    _refuse(missing, f"{masks.folder}: no mask for", "images")


def _map_items(split: Split, folders: Folders, names: Sequence[str]) -> list[ImageItem]:
    items = []
    missing: dict[str, list[str]] = {"semantic": [], "objects": []}
    for name in names:
        item = ImageItem(image_id=stem_of(name), image=folders.images.folder / name)
        for kind in missing:
            listing = getattr(folders, kind)
            if listing is not None:
                found = listing.find_match(name, folders.images)
                setattr(item, kind, found)
                if found is None:
                    missing[kind].append(name)
        items.append(item)
    _refuse(missing["semantic"], f"{split.semantic}: no semantic PNG for", "images")
    _refuse(missing["objects"], f"{split.objects}: no object PNG for", "images")
    return items


def _panoptic_items(record: Record, split: Split, folders: Folders) -> list[ImageItem]:
    assert split.panoptic_json is not None and split.panoptic is not None
    data = read_panoptic_json(split.panoptic_json)
    pngs = Listing(split.panoptic, "panoptic PNG", split.panoptic_names)
    index_of = record.index_of
    infos = {info["id"]: info for info in data["images"]}
    if len(infos) < len(data["images"]):
        raise DataError(f"{split.panoptic_json}: `images` lists an id twice; `validate` names it")
    items: list[ImageItem] = []
    named: list[tuple[str, Path]] = []
    faults: dict[str, list[str]] = {"image": [], "png": [], "semantic": [], "objects": [], "info": []}
    for annotation in data["annotations"]:
        info = infos.get(annotation["image_id"], {})
        if infos and not info:
            faults["info"].append(f"{annotation['image_id']} ({annotation['file_name']})")
        item = _panoptic_item(annotation, info, folders, pngs)
        named.append((info.get("file_name", annotation["file_name"]), item.image))
        for kind, found, wanted in (
            ("image", item.image is not _NO_FILE, True),
            ("png", item.panoptic, True),
            ("semantic", item.semantic, folders.semantic),
            ("objects", item.objects, folders.objects),
        ):
            if wanted and not found:
                name = info.get("file_name", annotation["file_name"])
                faults[kind].append(name if kind == "image" else annotation["file_name"])
        item.segments = [
            _segment(record, index_of, s, annotation, split.panoptic_json) for s in annotation["segments_info"]
        ]
        items.append(item)
    _refuse(faults["info"], f"{split.panoptic_json}: not in its list `images`:", "image ids of annotations")
    _refuse(faults["image"], f"{split.images}: missing", f"images named in {split.panoptic_json}", folders.images)
    _refuse(faults["png"], f"{pngs.folder}: missing", f"panoptic PNGs named in {split.panoptic_json}", pngs)
    _refuse(faults["semantic"], f"{split.semantic}: missing", f"semantic PNGs for {split.panoptic_json}")
    _refuse(faults["objects"], f"{split.objects}: missing", f"object PNGs for {split.panoptic_json}")
    _refuse(shared_files(named), f"{split.panoptic_json}:", "images with several names")
    _check_complete(items, infos, split.panoptic_json)
    return items


def _panoptic_item(
    annotation: Mapping[str, Any], info: Mapping[str, Any], folders: Folders, pngs: Listing
) -> ImageItem:
    image = find_image(folders.images, pngs, annotation, info)
    label = objects = None
    if image is not None and (folders.semantic is not None or folders.objects is not None):
        name = image.relative_to(folders.images.folder).as_posix()
        if folders.semantic is not None:
            label = semantic_match(folders.semantic, annotation["file_name"], name, folders.images)
        objects = folders.objects.find_match(name, folders.images) if folders.objects else None
    return ImageItem(
        annotation["image_id"],
        image or _NO_FILE,
        info.get("height"),
        info.get("width"),
        pngs.find_entry(annotation["file_name"]),
        semantic=label,
        objects=objects,
    )


def find_image(
    images: Listing, pngs: Listing | None, annotation: Mapping[str, Any], info: Mapping[str, Any]
) -> Path | None:
    """Returns the image of a panoptic annotation: by its entry's file name, by the name patterns, as a foreign name.

    Raises:
        DataError: several files fit.
    """
    name = info.get("file_name", annotation["file_name"])
    image = images.find(name)
    if image is None and images.pattern is not None:
        image = images.find_match(annotation["file_name"], images if pngs is None else pngs)
    return images.find_entry(name) if image is None else image


def semantic_match(semantic: Listing, png: str, image: str, images: Listing) -> Path | None:
    """Returns the semantic PNG beside the panoptic PNG ``png`` of the image ``image``.

    Without patterns it has the panoptic PNG's name, which need not be the image's.
    """
    return semantic.find_entry(png) if semantic.pattern is None else semantic.find_match(image, images)


def find_coco_image(images: Listing, name: str) -> Path | None:
    """Returns an image by its name, by its later name when it is one of COCO 2014, or as a foreign name.

    Raises:
        DataError: several files fit.
    """
    return images.find(name) or images.find(_COCO_2014.sub("", name)) or images.find_entry(name)


def _check_complete(items: Sequence[ImageItem], infos: Mapping[Any, Mapping[str, Any]], json_file: Path) -> None:
    annotated = {item.image_id for item in items}
    if len(annotated) < len(items):
        raise DataError(f"{json_file}: {len(items) - len(annotated)} images have more than one annotation")
    without = [f"{i} ({info.get('file_name', '?')})" for i, info in infos.items() if i not in annotated]
    _refuse(without, f"{json_file}: no annotation for", "entries of `images`")
    if not items:
        raise DataError(f"{json_file}: holds no annotation")


def read_phrases(record: Record, split: Split) -> PhraseFile | None:
    """Reads the phrases of a split, or returns None when it has none.

    Raises:
        DataError: their file is missing or faulty.
    """
    if split.referring is None:
        return None
    pairs = tuple(record.index_of.items())
    if split.refs is not None:
        stamp = _stamp(split.refs) + _stamp(split.refs.parent / INSTANCES)
        return _read_once(_refs, split.refs, stamp, split.refs_split, pairs)
    return _read_once(_grounding, split.referring, _stamp(split.referring), pairs)


def _refs(path: Path, part: str, pairs: _Pairs) -> PhraseFile:
    return read_refs(path, part, dict(pairs))


def _grounding(path: Path, pairs: _Pairs) -> PhraseFile:
    return read_grounding(path, dict(pairs))


@lru_cache(maxsize=4)
def _read_once(read: Callable[..., Any], path: Path, stamp: tuple[int, ...], *arguments: Any) -> Any:
    """Reads a file of perhaps a gigabyte once, although checks, schedule and loader each list the images."""
    return read(path, *arguments)


def _stamp(path: Path) -> tuple[int, int]:
    """Returns what changes when a file does; zeros for a missing one, which its reader reports."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _phrase_items(split: Split, images: Listing, phrases: PhraseFile) -> list[ImageItem]:
    """Lists the images that the phrases are about; those of COCO 2014 are found under their later names too."""
    items, missing, named = [], [], []
    for image_id, info in phrases.images.items():
        if image_id not in phrases.phrases:
            continue
        name = str(info.get("file_name", image_id))
        path = find_coco_image(images, name)
        if path is None:
            missing.append(name)
        else:
            items.append(ImageItem(info["id"], path, info.get("height"), info.get("width")))
            named.append((name, path))
    _refuse(missing, f"{images.folder}: missing", f"images named in {split.referring}", images)
    _refuse(shared_files(named), f"{split.referring}:", "images with several names")
    if not items:
        raise DataError(f"{split.referring}: its list `images` names no image that a phrase is about")
    return items


def _attach(split: Split, items: Sequence[ImageItem], phrases: PhraseFile | None) -> None:
    """Gives the items their phrases, captions and finer masks, joined by image id."""

    def read(reader: Callable[[Path], Any], file: Path | None) -> Any:
        return None if file is None else _read_once(reader, file, _stamp(file))

    captions, instances = read(read_captions, split.captions), read(read_instances, split.instances)
    by_image = None if phrases is None else phrases.phrases
    for name, found, file in (
        ("phrases", by_image, split.referring),
        ("captions", captions, split.captions),
        ("instances", instances, split.instances),
    ):
        if found is None:
            continue
        hits = 0
        for item in items:
            value = found.get(str(item.image_id))
            if value is not None:
                setattr(item, name, value)
                hits += 1
        if items and found and not hits:
            raise DataError(f"{file}: none of its image ids is one of the {len(items)} images of split {split.name!r}")


def _segment(record: Record, index_of: Mapping[int, int], segment: dict, annotation: dict, json_file: Path) -> Segment:
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


def _refuse(names: Sequence[str], start: str, what: str, listing: Listing | None = None) -> None:
    """Refuses names that mean no file, if there are any; ``listing``: where their like may be."""
    for problem in _lacking(names, start, what):
        hint = listing.explain(names[0]) if listing is not None else ""
        raise DataError(f"{problem}; {hint and f'{hint}; '}`validate` lists all")


def _lacking(names: Sequence[str], start: str, what: str, count: int = 5) -> list[str]:
    """Returns a sentence with the number of names and the first of them; none without names."""
    if not names:
        return []
    shown = ", ".join(names[:count]) + (", ..." if len(names) > count else "")
    return [f"{start} {len(names)} {what} ({shown})"]
