"""Masks as runs: the same as drawing each of them, at the cost of what they cover."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfoundry.utils.mask_runs import encode_labels, measure_labels, overlapping_pixels, rle_pixels, rle_runs
from segfoundry.utils.masks import encode_masks, mask_boxes

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
seeds = st.integers(0, 2**32 - 1)


def draw(code):
    mask = np.zeros(code["size"][0] * code["size"][1], bool)
    mask[rle_pixels(code)] = True
    return mask.reshape(code["size"][::-1]).T


@settings(max_examples=100, deadline=None)
@given(shapes, st.integers(1, 9), seeds)
def test_all_labels_at_once_give_the_codes_of_their_masks(shape, count, seed):
    labels = np.random.default_rng(seed).integers(0, count, shape)
    values = [*range(count + 1), 0]  # one that does not occur, one twice
    assert encode_labels(labels, values) == encode_masks(np.stack([labels == v for v in values]))
    assert encode_labels(labels, []) == []


@settings(max_examples=100, deadline=None)
@given(shapes, seeds, st.floats(0, 1))
def test_a_code_is_drawn_without_its_image(shape, seed, share):
    mask = np.random.default_rng(seed).random(shape) < share
    (code,) = encode_masks(mask[None])
    assert (draw(code) == mask).all()
    starts, lengths = rle_runs(code)
    assert lengths.sum() == mask.sum() and (lengths > 0).all() and (np.diff(starts) > 1).all()


def test_long_runs_and_differences_of_them_are_read():
    mask = np.zeros((3000, 900), bool)
    mask[:, 100:700], mask[7, 3], mask[1500:, 800] = True, True, True
    (code,) = encode_masks(mask[None])
    assert (draw(code) == mask).all()


def test_uncompressed_codes_may_hold_empty_runs():
    assert draw({"size": [2, 3], "counts": [0, 1, 0, 2, 2, 1]}).tolist() == [[True, True, False], [True, False, True]]


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ([3, 4], "cover 7 of 6"),
        ([7, -1], "negative"),
        ("6 ", "no compressed"),
        ("`", "no compressed"),  # says that more follows, and ends
        ("5", "cover 5 of 6"),
        ("oooooooo0", "too large"),
    ],
)
def test_codes_of_another_number_of_pixels_are_refused(counts, text):
    with pytest.raises(ValueError, match=text):
        rle_runs({"size": [2, 3], "counts": counts})


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 5), seeds)
def test_overlap_counts_the_pixels_of_two_or_more_masks(shape, count, seed):
    masks = np.random.default_rng(seed).random((count, *shape)) < 0.4
    assert overlapping_pixels(encode_masks(masks)) == np.count_nonzero(masks.sum(axis=0) > 1)


@settings(max_examples=60, deadline=None)
@given(shapes, seeds)
def test_every_label_is_measured(shape, seed):
    labels = np.random.default_rng(seed).integers(-1, 5, shape)
    expected = {}
    for value in np.unique(labels).tolist():
        x0, y0, x1, y1 = mask_boxes((labels == value)[None])[0].tolist()
        expected[value] = (np.count_nonzero(labels == value), (x0, y0, x1 - x0, y1 - y0))
    assert measure_labels(labels) == expected
    assert measure_labels(np.zeros((0, 3), int)) == {}
