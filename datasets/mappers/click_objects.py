"""Objects of an evaluation image that are segmented by clicks: from object PNGs, or from panoptic maps."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.ndimage import find_objects

from ...utils.errors import DataError
from ...utils.image_io import MAX_PIXELS
from ...utils.innermost_pixel import innermost_pixel
from ...utils.structures.samples import Sample
from ..formats.label_maps import read_object_map
from ..records.image_item import ImageItem
from ..strokes.base import StrokeSampler
from .panoptic import IGNORED, renumber


def panoptic_objects(item: ImageItem, sample: Sample, things_only: bool) -> tuple[np.ndarray, list[int | None]]:
    """Returns the segments of a panoptic map as objects.

    Returns:
        labels (H, W) int16: 1..N, 0 = stuff that is left out, -1 = unlabelled or crowd; the N category indices.

    Raises:
        DataError: there is no panoptic map.
    """
    if sample.panoptic is None:
        raise DataError(f"image {sample.image_id} ({sample.file_name}) has neither an object PNG nor a panoptic map")
    numbers = {s.id: n for n, s in enumerate(sample.panoptic.segments, 1)}
    places = renumber(sample.panoptic.ids, numbers, item)
    present = np.bincount(places.ravel(), minlength=len(numbers) + 1) > 0
    table = np.full(len(numbers) + 1, -1, np.int16)
    categories: list[int | None] = []
    for place, segment in enumerate(sample.panoptic.segments, 1):
        if segment.iscrowd:
            continue
        table[place] = 0
        if present[place] and (segment.isthing or not things_only):
            categories.append(segment.category)
            table[place] = len(categories)
    return table[places], categories


def read_objects(item: ImageItem, sample: Sample, max_pixels: int = MAX_PIXELS) -> tuple[np.ndarray, list[int | None]]:
    """Reads an object PNG: 0 = background, values that its coding ignores (a boundary), other values one object each.

    Returns:
        labels (H, W) int16: 1..N in the order of the values, -1 = ignored; the category index of each object where a
        semantic PNG tells it, else None.

    Raises:
        DataError: unreadable, a colour picture, or another size than the image.
    """
    assert item.objects is not None
    values = read_object_map(item.objects, item.object_coding, max_pixels)
    if values.shape != sample.output_size:
        raise DataError(f"{item.objects}: {values.shape} pixels, its image {item.image} has {sample.output_size}")
    found, inverse = np.unique(values, return_inverse=True)
    table, categories = np.zeros(len(found), np.int16), list[int | None]()
    for place, value in enumerate(found.tolist()):
        if value < 0:
            table[place] = -1
        elif value > 0:
            categories.append(_majority(sample.semantic, values == value))
            table[place] = len(categories)
    return table[inverse.reshape(values.shape)], categories


def _majority(semantic: np.ndarray | None, mask: np.ndarray) -> int | None:
    """Returns the category index of most pixels of a mask, None where no pixel has one."""
    inside = np.zeros(0, np.int64) if semantic is None else semantic[mask]
    inside = inside[inside != IGNORED]
    return int(np.bincount(inside).argmax()) if inside.size else None


def resize_labels(labels: np.ndarray, size: tuple[int, int], count: int) -> np.ndarray:
    """Resizes a map of objects 1..count to ``size`` (height, width) by the nearest pixel; every object keeps one."""
    small = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    sizes = np.bincount(small[small > 0], minlength=count + 1)
    for number in np.flatnonzero(sizes[1:] == 0) + 1:
        row, column, _ = innermost_pixel(labels == number)
        row, column = row * size[0] // labels.shape[0], column * size[1] // labels.shape[1]
        free = (small <= 0) | (sizes[np.maximum(small, 0)] > 1)
        rows, columns = np.nonzero(free)
        nearest = np.argmin((rows - row) ** 2 + (columns - column) ** 2)
        place = (rows[nearest], columns[nearest])
        sizes[max(int(small[place]), 0)] -= 1
        small[place], sizes[number] = number, 1
    return small


def first_strokes(labels: np.ndarray, count: int, sampler: StrokeSampler, key: Sequence[int]) -> list[np.ndarray]:
    """Draws the first prompt of each object of a map.

    Args:
        labels: (h, w), objects 1..count; an object without a pixel gets no prompt.
        count: number of objects.
        sampler: draws it, in the surroundings of the object: half its length on each side.
        key: of the random numbers; the same image has the same prompts in every evaluation.

    Returns:
        ``count`` arrays (P,) int64, positions in the flattened map.
    """
    strokes = []
    for number, box in enumerate(find_objects(np.maximum(labels, 0), count), 1):
        if box is None:
            strokes.append(np.zeros(0, np.int64))
            continue
        margin = max(8, *((side.stop - side.start) // 2 for side in box))
        around = tuple(slice(max(side.start - margin, 0), side.stop + margin) for side in box)
        drawn = sampler.sample(labels[around] == number, np.random.default_rng([*key, number]))
        rows, columns = np.nonzero(drawn)
        strokes.append((rows + around[0].start) * labels.shape[1] + columns + around[1].start)
    return strokes
