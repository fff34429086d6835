"""Phrases of an image and the masks they name."""

from __future__ import annotations

import numpy as np

from ...utils.errors import DataError
from ...utils.mask_runs import rle_pixels
from ...utils.structures.samples import PhraseTruth
from ..formats.segmentation import encode_segmentation
from ..records.image_item import ImageItem, Phrase


def phrase_truth(
    item: ImageItem, size: tuple[int, int], ids: np.ndarray | None = None, sentences: str = "first"
) -> PhraseTruth:
    """Collects the phrases of an image.

    Args:
        item: with phrases.
        size: (height, width) of the image.
        ids: (H, W) panoptic id map, for phrases that name a segment by its id.
        sentences: "first" of each object, or "all".

    Raises:
        DataError: a mask cannot be decoded, or names a segment although there is no panoptic map.
    """
    masks = [phrase_mask(phrase, item, size, ids) for phrase in item.phrases]
    kept = [phrase.texts[: 1 if sentences == "first" else None] for phrase in item.phrases]
    return PhraseTruth(
        [text for texts in kept for text in texts],
        np.stack(masks) if masks else np.zeros((0, *size), bool),
        np.repeat(np.arange(len(kept)), [len(texts) for texts in kept]).astype(np.int64),
    )


def phrase_mask(phrase: Phrase, item: ImageItem, size: tuple[int, int], ids: np.ndarray | None) -> np.ndarray:
    """Returns the mask (H, W) bool of a phrase; arguments as of :func:`phrase_truth`."""
    mask = np.zeros(size[0] * size[1], bool)
    mask[phrase_pixels(phrase, item, size, ids)] = True
    return np.ascontiguousarray(mask.reshape(size[::-1]).T)


def phrase_pixels(phrase: Phrase, item: ImageItem, size: tuple[int, int], ids: np.ndarray | None) -> np.ndarray:
    """Returns the pixels of a phrase's mask as positions (P,) in the image that is flattened column by column."""
    if not isinstance(phrase.mask, int):
        try:
            return rle_pixels(encode_segmentation(phrase.mask, *size))
        except ValueError as error:
            raise DataError(f"{item.image}: the mask of {phrase.texts[0]!r}: {error}") from error
    if ids is None:
        raise DataError(f"{item.image}: {phrase.texts[0]!r} names segment {phrase.mask}, but there is no panoptic map")
    return np.flatnonzero(ids.T == phrase.mask)
