"""Finer masks from a second annotation of the same images, as LVIS has for COCO."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import find_objects

from ...utils.errors import DataError
from ..formats.segmentation import decode_mask
from ..records.image_item import ImageItem
from .panoptic import Placed


def refine_masks(placed: Placed, item: ImageItem, threshold: float) -> None:
    """Replaces masks of things by those of ``item.instances``, in place.

    A mask is replaced by the instance whose box fits its segment's box best, if their overlap (intersection over
    union, in the original image) is above the threshold. Where the crop shows nothing of the instance the mask stays.

    Args:
        placed: of a panoptic item.
        item: the item.
        threshold: least overlap, 0..1.

    Raises:
        DataError: an instance's mask cannot be decoded.
    """
    segments = [s for s in item.segments if not s.iscrowd]
    rows = [row for row, number in enumerate(placed.present) if segments[number - 1].isthing]
    if not rows or not item.instances or placed.sample.targets is None:
        return
    spans = find_objects(placed.numbers)
    boxes = np.array([_box(spans[placed.present[row] - 1]) for row in rows], float)
    others = np.array([instance.bbox for instance in item.instances], float)
    others[:, 2:] += others[:, :2]
    for row, box in zip(rows, boxes, strict=True):
        overlaps = box_overlaps(box[None], others)[0]
        best = int(overlaps.argmax())
        if overlaps[best] > threshold:
            mask = placed.geometry.labels(_decode(item, best, placed.numbers.shape)).view(bool)
            if mask.any():
                placed.sample.targets.masks[row] = mask


def box_overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns intersection over union (N, M) of boxes (N, 4) and (M, 4), each x0, y0, x1, y1."""
    low, high = np.maximum(one[:, None, :2], other[:, :2]), np.minimum(one[:, None, 2:], other[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    return shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-9)


def _box(span: tuple[slice, slice]) -> Sequence[int]:
    rows, columns = span
    return columns.start, rows.start, columns.stop, rows.stop


def _decode(item: ImageItem, instance: int, size: tuple[int, ...]) -> np.ndarray:
    try:
        return decode_mask(item.instances[instance].segmentation, size[0], size[1]).view(np.uint8)
    except ValueError as error:
        raise DataError(f"{item.image}: instance {instance} of the second annotation: {error}") from error
