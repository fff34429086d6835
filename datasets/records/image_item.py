"""What a data set knows about one image: where its files are and what is said about it. No pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...utils.structures.results import Segment
from ..formats.label_maps import ObjectCoding, SemanticCoding

Segmentation = dict[str, Any] | list[list[float]]
"""Run-length code of either kind, or polygons: see :func:`~segfoundry.datasets.formats.segmentation.decode_mask`."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """One object (or region) of an image and what is said about it.

    Attributes:
        texts: sentences, at least one, as they stand in the file.
        mask: run-length code or polygons, or the id of a segment of the item's panoptic map.
        category: its category index, or None when the file does not say or the record does not list it.
    """

    texts: tuple[str, ...]
    mask: Segmentation | int
    category: int | None = None


@dataclass(frozen=True, slots=True)
class InstanceAnnotation:
    """A mask from an instance JSON that may replace a coarser one of the same object (LVIS for COCO).

    Attributes:
        segmentation: run-length code or polygons.
        bbox: x, y, width, height in pixels.
    """

    segmentation: Segmentation
    bbox: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Composite:
    """How the picture of an item with a foreground mask is put together.

    Attributes:
        backgrounds: image files, one of which is drawn to replace what is not foreground; empty: the image's own stays.
        augment: change colours and crops at random.
        crop_foreground: zoom into image and mask at random, together; with ``augment`` and backgrounds only.
    """

    backgrounds: tuple[Path, ...] = ()
    augment: bool = False
    crop_foreground: bool = False


@dataclass
class ImageItem:
    """One image of a split.

    Attributes:
        image_id: id in the JSON; for data without one the image's path without suffix.
        image: image file.
        height: rows, from the JSON; None when it does not say.
        width: columns.
        panoptic: panoptic PNG, or None.
        segments: what the ids of the PNG are; empty without panoptic annotations.
        semantic: semantic PNG (category index, 255 = VOID, unless ``semantic_coding`` says otherwise), or None.
        semantic_coding: what the values of the semantic PNG mean; None: they are category indices.
        phrases: what is said about objects of the image.
        captions: sentences about the image as a whole.
        instances: further masks of objects.
        objects: PNG with a number per object, or None.
        object_coding: what the numbers of ``objects`` mean.
        foreground: mask of the foreground (values above 0), or None.
        composite: how the picture is put together, or None: as it is.
    """

    image_id: int | str
    image: Path
    height: int | None = None
    width: int | None = None
    panoptic: Path | None = None
    segments: list[Segment] = field(default_factory=list)
    semantic: Path | None = None
    semantic_coding: SemanticCoding | None = None
    phrases: Sequence[Phrase] = ()
    captions: tuple[str, ...] = ()
    instances: Sequence[InstanceAnnotation] = ()
    objects: Path | None = None
    object_coding: ObjectCoding = ObjectCoding()
    foreground: Path | None = None
    composite: Composite | None = None
