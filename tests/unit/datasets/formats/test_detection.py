"""COCO instance masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segfoundry.datasets.formats.detection import encode_mask, mask_box, read_detection_json, segmentation_code
from segfoundry.datasets.formats.segmentation import decode_mask
from segfoundry.utils.errors import DataError


@given(arrays(bool, st.tuples(st.integers(1, 15), st.integers(1, 15))))
def test_masks_survive_encoding(mask):
    np.testing.assert_array_equal(decode_mask(encode_mask(mask), *mask.shape), mask)
    x, y, w, h = mask_box(mask)
    assert mask[y : y + h, x : x + w].sum() == mask.sum()


def test_polygons_are_united_and_uncompressed_runs_are_read():
    mask = decode_mask([[0, 0, 4, 0, 4, 4, 0, 4], [6, 6, 9, 6, 9, 9, 6, 9]], 10, 10)
    assert mask[1, 1] and mask[7, 7] and not mask[5, 5]
    runs = decode_mask({"size": [2, 3], "counts": [1, 2, 3]}, 2, 3)
    np.testing.assert_array_equal(runs, [[False, True, False], [True, False, False]])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([[1, 2, 3, 4]], "3 points"),
        ([[1, 2, 3, 4, 5, float("nan")]], "finite"),
        ({"size": [5, 5], "counts": "abc"}, "size"),
        ("abc", "neither"),
    ],
)
def test_broken_segmentations(value, text):
    with pytest.raises(DataError, match=f"here.*{text}"):
        segmentation_code(value, 10, 10, "here")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"annotations": [{"image_id": 1, "category_id": 1, "bbox": []}]}', "boxes alone"),
        ('{"annotations": [{"segments_info": []}]}', "panoptic JSON"),
        ("{}", "annotations"),
    ],
)
def test_other_files(tmp_path, content, text):
    (tmp_path / "d.json").write_text(content)
    with pytest.raises(DataError, match=text):
        read_detection_json(tmp_path / "d.json")
