"""Panoptic or semantic annotations -> binary target masks (training) or full-size ground truth (evaluation)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ...utils.errors import DataError
from ...utils.image_files.bit_depth import AUTO
from ...utils.image_io import MAX_PIXELS, image_size, read_image
from ...utils.masks import label_runs
from ...utils.structures.results import PanopticResult
from ...utils.structures.samples import Sample, Targets
from ..formats.label_maps import read_label_map, unlabelled_value
from ..formats.panoptic import VOID, read_panoptic_png
from ..records.image_item import ImageItem
from ..transforms.color import ColorJitter
from ..transforms.geometry import Geometry
from ..transforms.resize import FixedResize

IGNORED = 255
_REDRAWS = 20


@dataclass(frozen=True)
class Placed:
    """A training sample and where its masks come from.

    Attributes:
        sample: image and targets after the random geometry.
        geometry: from the original image to the training image.
        numbers: (H, W) at the original size, 0 = no mask, 1.. = masks; of panoptic data, in the order of the item's
            segments without crowds.
        present: (M,) int64, number of each mask of the targets.
    """

    sample: Sample
    geometry: Geometry
    numbers: np.ndarray
    present: np.ndarray


class RandomGeometry(Protocol):
    """Draws how a training image is placed."""

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Geometry:
        """Draws the geometry for an image of that size."""


@dataclass(frozen=True)
class PanopticTrainMapper:
    """Reads an item, applies the jitter, and cuts the map into masks.

    Crowds and VOID belong to no mask; segments that the crop left empty are dropped. Without panoptic annotations each
    class of the semantic PNG is one mask; without that too the targets are empty and say that they are not labelled.

    Attributes:
        jitter: random geometry.
        classes: number of categories K.
        max_pixels: larger images are refused.
        color: random change of colours, or None.
        bit_depth: INPUT.BIT_DEPTH.
    """

    jitter: RandomGeometry
    classes: int
    max_pixels: int = MAX_PIXELS
    color: ColorJitter | None = None
    bit_depth: str = AUTO

    def __call__(self, item: ImageItem, index: int, rng: np.random.Generator) -> Sample:
        """Makes a training sample.

        Raises:
            DataError: a file is unreadable, sizes differ, or an id or class is unknown; names the file.
        """
        return self.place(item, index, rng).sample

    def place(
        self,
        item: ImageItem,
        index: int,
        rng: np.random.Generator,
        shows: Callable[[Geometry, tuple[int, int]], bool] | None = None,
    ) -> Placed:
        """Makes a training sample, and tells where its masks come from; raises as a call does.

        Args:
            item: image and annotations.
            index: stream index.
            rng: source of every draw.
            shows: tells whether a geometry of an image (height, width) shows something to learn; others are drawn
                anew, a few times.
        """
        image = read_image(item.image, self.max_pixels, self.bit_depth)
        labelled = item.panoptic is not None or item.semantic is not None
        numbers, labels = self._numbered(item) if labelled else _unlabelled(image)
        check_size(item.panoptic or item.semantic, numbers, item.image, image)
        size = (image.shape[0], image.shape[1])
        geometry = self.jitter.draw(*size, rng)
        for _ in range(_REDRAWS):
            if shows is None or shows(geometry, size):
                break
            geometry = self.jitter.draw(*size, rng)
        if self.color is not None:
            image = self.color(image, rng)
        placed = geometry.labels(numbers)
        starts, _ = label_runs(placed)
        present = np.flatnonzero(np.bincount(placed.ravel()[starts], minlength=len(labels) + 1)[1:]) + 1
        masks = placed == present.astype(placed.dtype)[:, None, None]
        sample = Sample(
            image=geometry.image(image),
            index=index,
            image_id=item.image_id,
            file_name=str(item.image),
            output_size=size,
            targets=Targets(masks, labels[present - 1], labelled=labelled),
        )
        return Placed(sample, geometry, numbers, present)

    def _numbered(self, item: ImageItem) -> tuple[np.ndarray, np.ndarray]:
        """Returns a map (H, W) with 0 = no mask and 1..M = masks, and the category (M,) int64 of each."""
        if item.panoptic is None:
            classes = read_semantic(item, self.classes, self.max_pixels)
            # 255 + 1 wraps to 0 in eight bits: exactly "no mask".
            return classes.astype(np.uint8) + np.uint8(1), np.arange(self.classes, dtype=np.int64)
        ids = read_panoptic_png(item.panoptic, self.max_pixels)
        kept = [s for s in item.segments if not s.iscrowd]
        numbers = {s.id: n for n, s in enumerate(kept, 1)} | {s.id: 0 for s in item.segments if s.iscrowd}
        return renumber(ids, numbers, item), np.array([s.category for s in kept], np.int64)


@dataclass(frozen=True)
class PanopticEvalMapper:
    """Resizes the image and keeps the ground truth at the original size.

    Attributes:
        resize: fixed resize of the image.
        classes: number of categories K.
        max_pixels: larger images are refused.
        bit_depth: INPUT.BIT_DEPTH.
    """

    resize: FixedResize
    classes: int
    max_pixels: int = MAX_PIXELS
    bit_depth: str = AUTO

    def input_size(self, item: ImageItem) -> tuple[int, int]:
        """Returns (height, width) of the resized image; reads the file's header when the item lacks its size."""
        if item.height and item.width:
            return self.resize.output_size(item.height, item.width)
        return self.resize.output_size(*image_size(item.image, self.max_pixels))

    def __call__(self, item: ImageItem, index: int) -> Sample:
        """Makes an evaluation sample.

        Raises:
            DataError: a file is unreadable or sizes differ; names the file.
        """
        image = read_image(item.image, self.max_pixels, self.bit_depth)
        panoptic = semantic = None
        if item.panoptic is not None:
            panoptic = PanopticResult(read_panoptic_png(item.panoptic, self.max_pixels), list(item.segments))
            check_size(item.panoptic, panoptic.ids, item.image, image)
        if item.semantic is not None:
            semantic = read_semantic(item, self.classes, self.max_pixels)
            check_size(item.semantic, semantic, item.image, image)
        elif panoptic is not None and self.classes <= IGNORED:
            semantic = semantic_of(panoptic)
        return Sample(
            image=self.resize(image),
            index=index,
            image_id=item.image_id,
            file_name=str(item.image),
            output_size=(image.shape[0], image.shape[1]),
            panoptic=panoptic,
            semantic=semantic,
        )


def renumber(ids: np.ndarray, numbers: dict[int, int], item: ImageItem) -> np.ndarray:
    """Replaces ids by small numbers; VOID becomes 0.

    Args:
        ids: (H, W) integers.
        numbers: id -> number.
        item: named in the error.

    Returns:
        (H, W) uint8, or uint16 from 256 numbers on.

    Raises:
        DataError: the map holds an id that ``numbers`` lacks.
    """
    starts, lengths = label_runs(ids)
    values, inverse = np.unique(ids.ravel()[starts], return_inverse=True)
    unknown = [v for v in values.tolist() if v != VOID and v not in numbers]
    if unknown:
        raise DataError(
            f"{item.panoptic}: {len(unknown)} ids are missing in the panoptic JSON "
            f"({', '.join(map(str, unknown[:5]))}{', ...' if len(unknown) > 5 else ''}); run `validate` on the data set"
        )
    dtype = np.uint8 if len(numbers) < 256 else np.uint16
    table = np.array([numbers.get(v, 0) for v in values.tolist()], dtype)
    return np.repeat(table[inverse.ravel()], lengths).reshape(ids.shape)


def semantic_of(panoptic: PanopticResult) -> np.ndarray:
    """Returns the category index of each pixel, (H, W) int64; 255 where there is no segment."""
    starts, lengths = label_runs(panoptic.ids)
    values, inverse = np.unique(panoptic.ids.ravel()[starts], return_inverse=True)
    category = {s.id: s.category for s in panoptic.segments}
    table = np.array([category.get(v, IGNORED) for v in values.tolist()], np.int64)
    return np.repeat(table[inverse.ravel()], lengths).reshape(panoptic.ids.shape)


def read_semantic(item: ImageItem, classes: int, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads an item's semantic PNG: (H, W), 0..classes-1 or 255 = ignored.

    Raises:
        DataError: it is a colour picture, a value is no class, or 255 is one.
    """
    assert item.semantic is not None
    if classes > IGNORED:
        raise DataError(f"{item.semantic}: semantic PNGs hold at most {IGNORED} categories, the data set has {classes}")
    labels = read_label_map(item.semantic, max_pixels, unlabelled_value(item.semantic_coding))
    if labels.ndim != 2:
        raise DataError(
            f"{item.semantic}: a colour picture, expected one channel with category indices (255 = ignored)"
        )
    if item.semantic_coding is not None:
        try:
            return item.semantic_coding.decode(labels)
        except ValueError as error:
            raise DataError(f"{item.semantic}: {error}") from error
    wrong = (labels >= classes) & (labels != IGNORED)
    if wrong.any():
        values = np.unique(labels[wrong]).tolist()
        raise DataError(
            f"{item.semantic}: values {', '.join(map(str, values[:5]))} are no category index "
            f"(expected 0..{classes - 1}, or {IGNORED} = ignored; indices count from 0, they are no ids)"
        )
    return labels


def _unlabelled(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a map (H, W) without masks, and no category."""
    return np.zeros(image.shape[:2], np.uint8), np.zeros(0, np.int64)


def check_size(file: Path | None, labels: np.ndarray, image_file: Path, image: np.ndarray) -> None:
    """Raises DataError unless a label map (H, W) read from ``file`` is as large as its image (H, W, ...)."""
    if labels.shape != image.shape[:2]:
        raise DataError(
            f"{file}: {labels.shape[1]} x {labels.shape[0]} pixels, "
            f"its image {image_file} has {image.shape[1]} x {image.shape[0]}"
        )
