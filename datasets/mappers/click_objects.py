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
    table = np.full(len(found), -1, np.int16)
    table[found >= 0] = np.cumsum(found[found >= 0] > 0)
    labels = table[inverse.reshape(values.shape)]
    return labels, _majorities(sample.semantic, labels, int(table.max(initial=0)))


def _majorities(semantic: np.ndarray | None, labels: np.ndarray, count: int) -> list[int | None]:
    """Returns the category index of most pixels of each object 1..count, None where no pixel has one."""
    categories: list[int | None] = [None] * count
    if semantic is None:
        return categories
    inside = (labels > 0) & (semantic != IGNORED)
    pairs, pixels = np.unique(labels[inside].astype(np.int64) << 32 | semantic[inside], return_counts=True)
    # The last one written stays: of an object's categories the one of most pixels, of equal ones the first.
    for pair in pairs[np.lexsort((-pairs, pixels))].tolist():
        categories[(pair >> 32) - 1] = pair & 0xFFFFFFFF
    return categories


def resize_labels(labels: np.ndarray, size: tuple[int, int], count: int) -> np.ndarray:
    """Resizes a map of objects 1..count to ``size`` (height, width) by the nearest pixel; every object keeps one."""
    small = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    sizes = np.bincount(small[small > 0], minlength=count + 1)
    boxes = find_objects(np.maximum(labels, 0), count)
    for number in (np.flatnonzero(sizes[1:] == 0) + 1).tolist():
        rows, columns = boxes[number - 1]
        row, column, _ = innermost_pixel(labels[rows, columns] == number)
        row, column = (
            (row + rows.start) * size[0] // labels.shape[0],
            (column + columns.start) * size[1] // labels.shape[1],
        )
        place = _nearest_free(small, sizes, row, column)
        sizes[max(int(small[place]), 0)] -= 1
        small[place], sizes[number] = number, 1
    return small


def _nearest_free(small: np.ndarray, sizes: np.ndarray, row: int, column: int) -> tuple[int, int]:
    """Returns the pixel nearest to a place that no object needs: of no object, or of one of several pixels."""
    reach = 8
    while True:
        top, left = max(row - reach, 0), max(column - reach, 0)
        window = small[top : row + reach + 1, left : column + reach + 1]
        rows, columns = np.nonzero((window <= 0) | (sizes[np.maximum(window, 0)] > 1))
        distances = (rows + top - row) ** 2 + (columns + left - column) ** 2
        # What lies outside of the window is farther away than its reach.
        if window.size == small.size or (len(distances) and distances.min() <= reach**2):
            nearest = int(np.argmin(distances))
            return int(rows[nearest]) + top, int(columns[nearest]) + left
        reach *= 2


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
