"""First pass of ``validate``: folders, JSON and names; gives the list of pictures for the second pass."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...utils.errors import DataError
from ...utils.image_io import IMAGE_SUFFIXES
from ..formats.foreign_names import foreign_cause, shared_files
from ..formats.listing import LABEL_SUFFIXES, Listing, NamePattern, read_image_list
from ..formats.pairs import pair
from ..formats.panoptic import read_panoptic_json
from ..records.list_items import find_coco_image, find_image, read_phrases, semantic_match
from ..records.record import Record
from ..records.split import Split
from .findings import Findings
from .panoptic_json import check_panoptic_json
from .scan import Limits, Target


def index_split(record: Record, split: Split, findings: Findings, limits: Limits) -> list[Target]:
    """Checks everything of a split that needs no picture, and lists its pictures.

    Returns:
        One target per image that exists; files that are missing are reported and left out.
    """
    index = _Index(record, split, findings, limits)
    index.check_paths()
    images = index.listing(split.images, "image", split.image_names)
    semantic = index.listing(split.semantic, "semantic PNG", split.semantic_names, LABEL_SUFFIXES)
    objects = index.listing(split.objects, "object PNG", split.object_names, LABEL_SUFFIXES)
    masks = index.listing(split.foreground, "foreground mask", split.foreground_names)
    if images is None:
        return []
    listed = index.listed(images)
    if split.masks_only:
        return index.foreground_targets(images, masks, listed)
    if split.panoptic_json is not None:
        targets = index.panoptic_targets(images, semantic, objects)
    elif split.semantic is not None or split.objects is not None:
        targets = index.map_targets(images, images.names if listed is None else listed, semantic, objects)
    else:
        targets = index.phrase_targets(images)
    if masks is not None:
        targets = index.with_foreground(targets, images, masks)
    if listed is None:
        return targets
    kept = {images.folder / name for name in listed}
    return [target for target in targets if target.image in kept]


@dataclass(frozen=True)
class _Index:
    """One split, and where its faults go."""

    record: Record
    split: Split
    findings: Findings
    limits: Limits

    def add(self, code: str, place: str) -> None:
        self.findings.add(code, self.split.name, place)

    def check_paths(self) -> None:
        root = Path(os.path.realpath(self.record.root))
        for path in self.split.paths.values():
            real = Path(os.path.realpath(path))  # unlike Path.resolve it bears links that lead in a circle
            if root not in (real, *real.parents):
                self.add("path-outside-root", f"{path} (root {root})")
        for path in self.split.absent:
            self.add("file-absent", str(path))

    def listing(
        self,
        folder: Path | None,
        kind: str,
        form: NamePattern | None = None,
        suffixes: Collection[str] = IMAGE_SUFFIXES,
    ) -> Listing | None:
        """Lists a folder; None when there is none, or when it is at fault."""
        if folder is None:
            return None
        try:
            listing = Listing(folder, kind, form, suffixes)
        except DataError as error:
            expected = "" if form is None else f" with names of the form {form.form}"
            self.add("folder-missing", f"{error} (expected: {kind} files{expected})")
            return None
        lower = Counter(name.lower() for name in listing.names)
        for name in listing.names:
            if lower[name.lower()] > 1:
                self.add("case-collision", f"{folder / name}")
        return listing

    def listed(self, images: Listing) -> list[str] | None:
        """Reads the list of the split's images; None when it has none."""
        if self.split.image_list is None:
            return None
        try:
            return read_image_list(self.split.image_list, images, self.record.root)
        except DataError as error:
            self.add("list-invalid", str(error))
            return []

    def find(
        self, listing: Listing | None, name: str, code: str, search: Callable[..., Path | None], *arguments: Any
    ) -> Path | None:
        """Returns ``search(listing, *arguments)`` and reports what is wrong; a missing folder was reported already."""
        if listing is None:
            return None
        if ".." in Path(name).parts:
            self.add("file-name-unsafe", f"{name!r}")
            return None
        try:
            path = search(listing, *arguments)
        except DataError as error:
            self.add("stem-ambiguous", str(error))
            return None
        cause = foreign_cause(name)
        if path is not None and cause and listing.find(name) is None:
            self.add("file-name-foreign", f"{name!r}: {cause}; read as {path}")
        elif path is None and Path(name).is_absolute():
            self.add("file-name-unsafe", f"{name!r}")
        elif path is None:
            hint = listing.explain(name) if self.findings.keeps(code, self.split.name) else ""
            self.add(code, f"{listing.folder / name}{hint and f' ({hint})'}")
        return path

    def extras(self, listing: Listing | None, used: Collection[Path | None], code: str) -> None:
        """Reports the files of a folder that nothing uses; with a list of images that is as it should be."""
        if listing is not None and self.split.image_list is None:
            for path in (listing.folder / name for name in listing.names):
                if path not in used:
                    self.add(code, str(path))

    def target(self, image: Path, size: tuple[int, int] | None = None) -> Target:
        """Returns the target of an image without annotations."""
        target = Target(image, None, None, (), None, size, len(self.record.categories), self.limits)
        return replace(target, semantic_coding=self.split.semantic_coding, object_coding=self.split.object_coding)

    def map_targets(
        self, images: Listing, names: Iterable[str], semantic: Listing | None, objects: Listing | None
    ) -> list[Target]:
        """Pairs images with semantic and object PNGs."""
        targets: list[Target] = []
        for name in names:
            label = self.find(semantic, name, "semantic-missing", Listing.find_match, name, images)
            numbers = self.find(objects, name, "objects-missing", Listing.find_match, name, images)
            targets.append(replace(self.target(images.folder / name), semantic=label, objects=numbers))
        self.extras(semantic, {target.semantic for target in targets}, "semantic-extra")
        self.extras(objects, {target.objects for target in targets}, "objects-extra")
        return targets

    def foreground_targets(self, images: Listing, masks: Listing | None, listed: Sequence[str] | None) -> list[Target]:
        """Pairs images with foreground masks."""
        if masks is None:
            return []
        found = pair(images, masks, listed)
        for group in found.ambiguous:
            self.add("stem-ambiguous", group)
        for name in found.lone_images:
            self.add("foreground-missing", str(images.folder / name))
        for name in found.lone_masks:
            self.add("foreground-extra", str(masks.folder / name))
        return [replace(self.target(image), foreground=mask) for image, mask in found.pairs]

    def with_foreground(self, targets: Sequence[Target], images: Listing, masks: Listing) -> list[Target]:
        """Adds foreground masks to images that have other annotations too."""
        found = []
        for target in targets:
            name = target.image.relative_to(images.folder).as_posix()
            mask = self.find(masks, name, "foreground-missing", Listing.find_match, name, images)
            found.append(replace(target, foreground=mask))
        return found

    def phrase_targets(self, images: Listing) -> list[Target]:
        """Lists the images of phrases; a faulty file of phrases is reported where its phrases are checked."""
        try:
            phrases = read_phrases(self.record, self.split)
        except DataError:
            return []
        targets, named = [], []
        for image_id, info in (phrases.images if phrases else {}).items():
            name = str(info.get("file_name", image_id))
            image = self.find(images, name, "image-missing", find_coco_image, name)
            if image is not None:
                targets.append(self.target(image, _size(info)))
                named.append((name, image))
        for names in shared_files(named):
            self.add("file-name-duplicate", names)
        return targets

    def panoptic_targets(self, images: Listing, semantic: Listing | None, objects: Listing | None) -> list[Target]:
        """Checks the panoptic JSON and pairs its entries with files."""
        split = self.split
        assert split.panoptic_json is not None
        pngs = self.listing(split.panoptic, "panoptic PNG", split.panoptic_names)
        try:
            data = read_panoptic_json(split.panoptic_json, numbers=False)
        except DataError as error:
            self.add("json-invalid", str(error))
            return []
        if not data["annotations"]:
            self.add("annotations-empty", str(split.panoptic_json))
        check_panoptic_json(self.record, split, data, self.findings)
        infos = {info["id"]: info for info in data["images"]}
        used: tuple[set, ...] = (set(), set(), set(), set())
        targets, named = [], []
        for annotation in data["annotations"]:
            info = infos.get(annotation["image_id"], {})
            files = self._files((images, pngs, semantic, objects), annotation, info)
            for known, path in zip(used, files, strict=True):
                known.add(path)
            image, png, label, numbers = files
            if image is not None:
                named.append((info.get("file_name", annotation["file_name"]), image))
                segments = _indexed(annotation["segments_info"], self.record)
                things = frozenset(i for i, c in enumerate(self.record.categories) if c.isthing)
                target = self.target(image, _size(info))
                target = replace(target, png=png, semantic=label, objects=numbers)
                targets.append(replace(target, segments=segments, things=things))
        for names in shared_files(named):
            self.add("file-name-duplicate", names)
        codes = ("image-extra", "png-extra", "semantic-extra", "objects-extra")
        for listing, paths, code in zip((images, pngs, semantic, objects), used, codes, strict=True):
            self.extras(listing, paths, code)
        return targets

    def _files(
        self,
        listings: tuple[Listing, Listing | None, Listing | None, Listing | None],
        annotation: Mapping[str, Any],
        info: Mapping[str, Any],
    ) -> tuple[Path | None, ...]:
        """Returns image, panoptic, semantic and object PNG of an annotation."""
        images, pngs, semantic, objects = listings
        file = annotation["file_name"]
        wanted = info.get("file_name", file)
        image = self.find(images, wanted, "image-missing", find_image, pngs, annotation, info)
        png = self.find(pngs, file, "png-missing", Listing.find_entry, file)
        name = file if image is None else image.relative_to(images.folder).as_posix()
        label = self.find(semantic, file, "semantic-missing", semantic_match, file, name, images)
        return image, png, label, self.find(objects, name, "objects-missing", Listing.find_match, name, images)


def _indexed(segments: Sequence[Mapping[str, Any]], record: Record) -> tuple[dict[str, Any], ...]:
    index_of = record.index_of
    return tuple({**segment, "index": index_of.get(segment["category_id"])} for segment in segments)


def _size(info: Mapping[str, Any]) -> tuple[int, int] | None:
    return (info["height"], info["width"]) if "height" in info and "width" in info else None
