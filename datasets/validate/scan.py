"""Second pass of ``validate``: opens every picture of an image, once, in a worker process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import DataError
from ...utils.image_io import read_image, read_image_header
from ..formats.foreground import read_mask_values, same_aspect
from ..formats.label_maps import (
    MATLAB_SUFFIX,
    ObjectCoding,
    SemanticCoding,
    read_label_map,
    read_object_map,
    unlabelled_value,
)
from ..formats.panoptic import SegmentStats, read_panoptic_png, segment_stats
from .alike_boxes import alike_boxes
from .pictures import check_label, check_photo, read_listening

_VOID_LABEL = 255
_VALUES_SHOWN = 6
_BOX_SLACK = 1.5  # pixels; boxes drawn around polygons differ from pixel boxes by rounding


@dataclass(frozen=True)
class Limits:
    """What counts as suspicious.

    Attributes:
        max_void: unlabelled share 0..1 of a split above which it is reported.
        min_area: segments of fewer pixels are tiny.
        min_segments: categories with fewer segments are rare.
    """

    max_void: float = 0.3
    min_area: int = 16
    min_segments: int = 10


@dataclass(frozen=True)
class Target:
    """One image to be opened.

    Attributes:
        image: image file.
        png: panoptic PNG, or None.
        semantic: semantic PNG, or None.
        segments: ``segments_info`` entries with ``index``, the category index or None.
        things: category indices of things; None without panoptic annotations.
        size: (height, width) by the JSON, or None.
        categories: number of categories.
        limits: thresholds.
        semantic_coding: what the values of the semantic PNG mean; None: category indices.
        objects: object PNG, or None.
        object_coding: what its values mean.
        foreground: foreground mask, or None.
    """

    image: Path
    png: Path | None
    semantic: Path | None
    segments: tuple[Mapping[str, Any], ...]
    things: frozenset[int] | None
    size: tuple[int, int] | None
    categories: int
    limits: Limits
    semantic_coding: SemanticCoding | None = None
    objects: Path | None = None
    object_coding: ObjectCoding = ObjectCoding()
    foreground: Path | None = None

    @property
    def has_maps(self) -> bool:
        """There is a picture of categories or objects; else the image has phrases or a foreground mask only."""
        return any(path is not None for path in (self.png, self.semantic, self.objects))


@dataclass
class Scan:
    """What an image showed.

    Attributes:
        faults: (code, place) pairs.
        digest: of the image's pixels, or None when it cannot be read.
        bits: that the values of an image of more than 8 bits per channel are read as, else None.
        pixels: (K,) pixels per category index.
        counts: (K,) segments per category index.
        void: unlabelled pixels.
        objects: number of objects in the object PNG.
        labelled: the image has at least one labelled pixel.
        foreground: foreground pixels.
        mask_pixels: pixels of the foreground mask.
        sizes: what -> (height, width); they should agree.
    """

    faults: list[tuple[str, str]]
    pixels: np.ndarray
    counts: np.ndarray
    digest: str | None = None
    bits: int | None = None
    void: int = 0
    objects: int = 0
    labelled: bool = False
    foreground: int = 0
    mask_pixels: int = 0
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)


def scan_image(target: Target) -> Scan:
    """Opens an image and its annotations and compares them with the JSON and with each other."""
    zeros = np.zeros(target.categories, np.int64)
    scan = Scan([], zeros, zeros.copy())
    if target.size is not None:
        scan.sizes["JSON"] = target.size
    _scan_photo(target, scan)
    ids = _scan_panoptic(target, scan)
    _scan_semantic(target, scan, ids)
    _scan_objects(target, scan)
    _scan_foreground(target, scan)
    if len(set(scan.sizes.values())) > 1:
        sizes = ", ".join(f"{kind} {w} x {h}" for kind, (h, w) in scan.sizes.items())
        scan.faults.append(("size-differs", f"{target.image}: {sizes}"))
    scan.labelled = bool(scan.pixels.any() or scan.objects)
    if not scan.labelled and target.has_maps:
        scan.faults.append(("image-empty", str(target.image)))
    return scan


def _scan_photo(target: Target, scan: Scan) -> None:
    try:
        pixels = read_listening(target.image, read_image, scan.faults)
        scan.bits = check_photo(target.image, scan.faults)
    except DataError as error:
        scan.faults.append(("image-unreadable", str(error)))
        return
    scan.sizes["image"] = (pixels.shape[0], pixels.shape[1])
    scan.digest = hashlib.blake2b(pixels.tobytes() + str(pixels.shape).encode(), digest_size=12).hexdigest()


def _scan_panoptic(target: Target, scan: Scan) -> np.ndarray | None:
    if target.png is None:
        return None
    try:
        ids = read_listening(target.png, read_panoptic_png, scan.faults)
        check_label(target.png, scan.faults)
    except DataError as error:
        scan.faults.append(("png-unreadable", str(error)))
        return None
    scan.sizes["panoptic PNG"] = ids.shape
    header = read_image_header(target.png)
    if header.mode != "RGB" or header.bits != 8:
        scan.faults.append(("png-mode", f"{target.png}: mode {header.mode}, {header.bits} bits"))
    stats = segment_stats(ids)
    scan.void = stats[0].area if 0 in stats else 0
    listed = {segment["id"] for segment in target.segments}
    for identifier in sorted(set(stats) - listed - {0}):
        scan.faults.append(("id-not-in-json", f"{target.png}: id {identifier} ({stats[identifier].area} pixels)"))
    for segment in target.segments:
        if segment["id"] not in stats:
            scan.faults.append(("id-not-in-png", f"{target.png}: id {segment['id']}"))
        else:
            _scan_segment(target, scan, segment, stats[segment["id"]], ids.shape)
    _scan_alike(target, scan, stats)
    return ids


def _scan_segment(
    target: Target, scan: Scan, segment: Mapping[str, Any], found: SegmentStats, shape: tuple[int, ...]
) -> None:
    place = f"{target.png}: id {segment['id']}"
    if segment["index"] is not None:
        scan.pixels[segment["index"]] += found.area
        scan.counts[segment["index"]] += 1
    if "area" in segment and segment["area"] != found.area:
        scan.faults.append(("area-wrong", f"{place}: {segment['area']} in the JSON, {found.area} in the PNG"))
    if found.area < target.limits.min_area:
        scan.faults.append(("segment-tiny", f"{place}: {found.area} pixels"))
    box = segment.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, (int, float)) for v in box):
        return
    x, y, w, h = box
    if x < -_BOX_SLACK or y < -_BOX_SLACK or x + w > shape[1] + _BOX_SLACK or y + h > shape[0] + _BOX_SLACK:
        scan.faults.append(("bbox-outside", f"{place}: {box}, the image is {shape[1]} x {shape[0]}"))
    elif any(abs(a - b) > _BOX_SLACK for a, b in zip(box, found.bbox, strict=True)):
        scan.faults.append(("bbox-wrong", f"{place}: {box} in the JSON, {list(found.bbox)} in the PNG"))


def _scan_alike(target: Target, scan: Scan, stats: Mapping[int, SegmentStats]) -> None:
    boxes: dict[int, list[tuple[int, tuple[int, int, int, int]]]] = {}
    for segment in target.segments:
        if segment["id"] in stats and target.things is not None and segment["index"] in target.things:
            boxes.setdefault(segment["index"], []).append((segment["id"], stats[segment["id"]].bbox))
    for members in boxes.values():
        for first, second in alike_boxes([box for _, box in members]):
            one, other = members[first][0], members[second][0]
            if one != other:
                scan.faults.append(("boxes-alike", f"{target.png}: ids {one} and {other}"))


def _scan_semantic(target: Target, scan: Scan, ids: np.ndarray | None) -> None:
    if target.semantic is None:
        return
    try:
        void = unlabelled_value(target.semantic_coding)
        label = _read_map(target.semantic, lambda path: read_label_map(path, void=void), scan)
        if label.ndim != 2:
            raise DataError(f"{target.semantic}: a colour picture, expected one value per pixel (category index)")
    except DataError as error:
        scan.faults.append(("semantic-unreadable", str(error)))
        return
    scan.sizes["semantic PNG"] = label.shape
    if target.semantic_coding is not None:
        try:
            label = target.semantic_coding.decode(label)
        except ValueError as error:
            scan.faults.append(("semantic-value", f"{target.semantic}: {error}"))
            return
    values, counts = np.unique(label, return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        if value >= target.categories and value != _VOID_LABEL:
            hint = " (do the values count from 1?)" if value == target.categories else ""
            scan.faults.append(("semantic-value", f"{target.semantic}: {value} in {count} pixels{hint}"))
        elif ids is None and value != _VOID_LABEL:
            scan.pixels[value] += count
            scan.counts[value] += 1
        elif ids is None:
            scan.void += count
    if ids is not None and ids.shape == label.shape:
        _compare(target, scan, ids, label)


def _scan_objects(target: Target, scan: Scan) -> None:
    if target.objects is None:
        return
    try:
        values = _read_map(target.objects, lambda path: read_object_map(path, target.object_coding), scan)
    except DataError as error:
        scan.faults.append(("objects-unreadable", str(error)))
        return
    scan.sizes["object PNG"] = values.shape
    scan.objects = int((np.unique(values) > 0).sum())


def _scan_foreground(target: Target, scan: Scan) -> None:
    if target.foreground is None:
        return
    try:
        values = _read_map(target.foreground, read_mask_values, scan)
    except DataError as error:
        scan.faults.append(("foreground-unreadable", str(error)))
        return
    scan.mask_pixels, scan.foreground = values.size, int(np.count_nonzero(values))
    size = scan.sizes.get("image")
    # A mask may be smaller than its image: both are resized.
    if size is None or not same_aspect(size, values.shape):
        scan.sizes["foreground mask"] = (values.shape[0], values.shape[1])
    if not scan.foreground:
        scan.faults.append(("foreground-empty", str(target.foreground)))
    found = np.unique(values).tolist()
    if len([value for value in found if value]) > 1:
        shown = ", ".join(map(str, found[:_VALUES_SHOWN])) + (
            f", ... {found[-1]}" if len(found) > _VALUES_SHOWN else ""
        )
        scan.faults.append(("foreground-values", f"{target.foreground}: {shown}"))


def _read_map(path: Path, read: Callable[[Path], np.ndarray], scan: Scan) -> np.ndarray:
    values = read_listening(path, read, scan.faults)
    if path.suffix != MATLAB_SUFFIX:
        check_label(path, scan.faults)
    return values


def _compare(target: Target, scan: Scan, ids: np.ndarray, label: np.ndarray) -> None:
    index_of = {s["id"]: s["index"] for s in target.segments if s["index"] is not None}
    keys, inverse = np.unique(ids, return_inverse=True)
    expected = np.array([index_of.get(key, _VOID_LABEL) for key in keys.tolist()])[inverse.reshape(ids.shape)]
    wrong = int((expected != label).sum())
    if wrong:
        share = 100 * wrong / label.size
        scan.faults.append(("semantic-differs", f"{target.semantic}: {wrong} pixels ({share:.1f} %)"))
