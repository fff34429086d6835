"""Masks of annotation files against pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from segfoundry.datasets.formats.segmentation import decode_mask

numbers = st.floats(-3, 23, allow_nan=False, width=32)
polygons = st.lists(st.lists(numbers, min_size=6, max_size=13), min_size=1, max_size=3)


@given(polygons)
def test_polygons_are_united_by_the_rule_of_pycocotools(polygons):
    expected = np.zeros((20, 17), bool)
    for polygon in polygons:
        expected |= coco_mask.decode(coco_mask.frPyObjects([polygon], 20, 17))[..., 0].astype(bool)
    np.testing.assert_array_equal(decode_mask(polygons, 20, 17), expected)


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_both_run_length_codes(mask):
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    plain = {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}
    text = {"size": list(mask.shape), "counts": code["counts"].decode()}
    for form in (code, text, plain):
        decoded = decode_mask(form, *mask.shape)
        assert decoded.dtype == bool
        np.testing.assert_array_equal(decoded, mask)


def test_a_number_too_many_is_left_out():
    triangle = [1, 1, 8, 1, 8, 8]
    assert decode_mask([triangle], 10, 10).any()
    np.testing.assert_array_equal(decode_mask([[*triangle, 3]], 10, 10), decode_mask([triangle], 10, 10))
    assert not decode_mask([], 4, 5).any()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([[1, 2, 3, 4]], "3 points"),
        ([[1, 2, 3, 4, 5, float("inf")]], "finite"),
        ({"size": [5, 5], "counts": [25]}, "size"),
        ({"size": [10, 10], "counts": [50, 60]}, "110 of 100 pixels"),
        ({"size": [10, 10], "counts": [120, -20]}, "100 of 100|runs"),
        ({"size": [10, 10], "counts": [None]}, "broken"),
        ("abc", "neither"),
        (None, "neither"),
    ],
)
def test_broken(value, text):
    with pytest.raises(ValueError, match=text):
        decode_mask(value, 10, 10)
