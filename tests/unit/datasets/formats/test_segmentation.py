"""Masks of annotation files against pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from segfoundry.datasets.formats.segmentation import decode_mask, encode_segmentation
from segfoundry.utils.masks import encode_masks, rle_counts

numbers = st.floats(-3, 23, allow_nan=False, width=32)
points = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=6)
polygons = st.lists(points.map(lambda pairs: [v for pair in pairs for v in pair]), min_size=1, max_size=3)


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


def test_an_empty_list_is_an_empty_mask():
    assert decode_mask([[1, 1, 8, 1, 8, 8]], 10, 10).any()
    assert not decode_mask([], 4, 5).any()


@given(arrays(bool, st.tuples(st.integers(2, 6), st.integers(2, 6))), st.data())
def test_runs_of_no_pixel_change_nothing(mask, data):
    """The overlap of two such codes, as pycocotools has it, ends at the first run of no pixel in both."""
    (plain,) = encode_masks(mask[None])
    counts = rle_counts(plain)
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(counts) - 1))
        cut = data.draw(st.integers(0, counts[place]))
        counts[place : place + 1] = [cut, 0, counts[place] - cut]
    assert encode_segmentation({"size": list(mask.shape), "counts": counts}, *mask.shape) == plain


triangle = [1, 1, 8, 1, 8, 8]
text = encode_masks(np.eye(10, dtype=bool)[None])[0]["counts"]


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
        ({"a": 1}, "neither"),
        ([[*triangle, 3]], "7 coordinates, expected pairs"),
        ([triangle, [[1, 2]] * 6], "no finite number"),
        ([[*triangle, 3, True]], "holds true"),
        ([[*triangle, 3, "4"]], "the text '4'"),
        ([[*triangle, 3, 1e12]], r"reaches 1e\+12, far outside the image of 10 x 10"),
        ([[*triangle, 3, 10**400]], "finite"),
        ([[0, 0, 9e7, 0, 9e7, 9e7]], "outline"),
        ({"size": [10, 10], "counts": [5, 10]}, "15 of 100 pixels"),
        ({"size": [10, 10], "counts": []}, "0 of 100 pixels"),
        ({"size": [10, 10], "counts": [2**62] * 3 + [2**62 + 100]}, "of 100 pixels"),
        ({"size": [10, 10], "counts": [50.0, 50.0]}, "holds 50.0, expected whole numbers"),
        ({"size": [10, 10], "counts": ["50", "50"]}, "the text '50'"),
        ({"size": [10, 10], "counts": [True, 99]}, "holds true"),
        ({"size": [10, 10], "counts": [0] * 300 + [100]}, "301 runs"),
        ({"size": [10, 10], "counts": text[:-1]}, "broken"),
        ({"size": [10, 10], "counts": text + "1"}, "111 of 100 pixels"),
        ({"size": [10, 10], "counts": text + "P"}, "broken"),
        ({"size": [10, 10], "counts": "ä"}, "broken"),
        ({"size": [10, 10], "counts": "o" * 50 + "0"}, "broken"),
        ({"size": [10, 10], "counts": ""}, "0 of 100 pixels"),
        ({"size": [10, 10], "counts": None}, "`counts` is null"),
        ({"size": ["10", "10"], "counts": [100]}, "size"),
        ({"size": [True, 10], "counts": [100]}, "size"),
        ({"size": 10, "counts": [100]}, "size"),
    ],
)
def test_broken(value, text):
    with pytest.raises(ValueError, match=text):
        decode_mask(value, 10, 10)


def test_an_image_has_a_size():
    for height, width in ((0, 5), (5, -1), (70_000, 70_000)):
        with pytest.raises(ValueError, match=f"{width} x {height} pixels"):
            encode_segmentation({"size": [height, width], "counts": [height * width]}, height, width)
