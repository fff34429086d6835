"""Phrases of an evaluation image and the masks they name."""

from pathlib import Path

import numpy as np
import pytest

from segfoundry.datasets.mappers.phrase_masks import phrase_truth
from segfoundry.datasets.records.image_item import ImageItem, Phrase
from segfoundry.utils.errors import DataError
from segfoundry.utils.masks import encode_masks

IMAGE = Path("5.jpg")
SQUARE = [[1.0, 1.0, 4.0, 1.0, 4.0, 4.0, 1.0, 4.0]]


def test_masks_from_polygons_runs_and_segment_ids():
    ids = np.zeros((6, 8), np.int32)
    ids[5] = 70001
    code = encode_masks(ids[None] == 0)[0]
    item = ImageItem(5, IMAGE, phrases=[Phrase(("it",), SQUARE), Phrase(("rest",), code), Phrase(("line",), 70001)])
    truth = phrase_truth(item, (6, 8), ids)
    assert truth.texts == ["it", "rest", "line"] and truth.owner.tolist() == [0, 1, 2]
    assert truth.masks.dtype == bool and truth.masks.shape == (3, 6, 8)
    assert [int(mask.sum()) for mask in truth.masks] == [9, 40, 8]


def test_the_first_sentence_or_all():
    item = ImageItem(
        5, IMAGE, phrases=[Phrase(("a", "b"), SQUARE), Phrase(("c",), []), Phrase(("d", "e", "f"), SQUARE)]
    )
    first, every = (phrase_truth(item, (6, 8), sentences=which) for which in ("first", "all"))
    assert first.texts == ["a", "c", "d"] and first.owner.tolist() == [0, 1, 2]
    assert every.texts == ["a", "b", "c", "d", "e", "f"] and every.owner.tolist() == [0, 0, 1, 2, 2, 2]
    assert len(every.masks) == 3 and not every.masks[1].any()  # no polygon: names nothing


def test_no_phrase_is_no_mask():
    truth = phrase_truth(ImageItem(5, IMAGE), (6, 8))
    assert truth.texts == [] and truth.masks.shape == (0, 6, 8) and truth.owner.shape == (0,)


def test_faulty_masks_name_image_and_phrase():
    with pytest.raises(DataError, match="5.jpg: the mask of 'it': .*size"):
        phrase_truth(ImageItem(5, IMAGE, phrases=[Phrase(("it",), {"size": [2, 2], "counts": [4]})]), (6, 8))
    with pytest.raises(DataError, match="'it' names segment 3, but there is no panoptic map"):
        phrase_truth(ImageItem(5, IMAGE, phrases=[Phrase(("it",), 3)]), (6, 8))
