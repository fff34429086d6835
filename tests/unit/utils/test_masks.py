"""Run-length codes, boxes and packed label maps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfoundry.datasets.formats.segmentation import encode_segmentation
from segfoundry.utils.masks import (
    decode_masks,
    encode_masks,
    label_runs,
    mask_boxes,
    pack_labels,
    rle_areas,
    rle_boxes,
    rle_counts,
    unpack_labels,
)

shapes = st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9))


@given(shapes, st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_codes_round_trip_and_equal_pycocotools(shape, seed):
    from pycocotools import mask as codec

    masks = np.random.default_rng(seed).random(shape) < 0.5
    codes = encode_masks(masks)
    assert (decode_masks(codes, shape[1:]) == masks).all()
    assert rle_areas(codes).tolist() == masks.sum((1, 2)).tolist()
    for code, mask in zip(codes, masks, strict=True):
        reference = codec.encode(np.asfortranarray(mask, np.uint8))
        assert code == {"size": list(shape[1:]), "counts": reference["counts"].decode()}


@given(shapes, st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_runs_of_a_code_make_the_code_again(shape, seed):
    masks = np.random.default_rng(seed).random(shape) < 0.5
    for mask, code in zip(masks, encode_masks(masks), strict=True):
        counts = rle_counts(code)
        assert sum(counts) == mask.size and sum(counts[1::2]) == mask.sum() and all(counts[1:])
        assert encode_segmentation({"size": list(shape[1:]), "counts": counts}, *shape[1:]) == code


def test_boxes_of_masks_and_codes():
    masks = np.zeros((2, 10, 12), bool)
    masks[0, 2:5, 3:9] = True
    assert mask_boxes(masks).tolist() == [[3, 2, 9, 5], [0, 0, 0, 0]]
    assert rle_boxes(encode_masks(masks[:1])).tolist() == [[3, 2, 6, 3]]
    assert rle_boxes([]).shape == (0, 4)


def test_every_kind_of_segmentation_becomes_the_same_code():
    mask = np.zeros((1, 6, 8), bool)
    mask[0, 1:4, 2:5] = True
    (code,) = encode_masks(mask)
    runs = [13, 3, 3, 3, 3, 3, 20]
    assert encode_segmentation([[2, 1, 5, 1, 5, 4, 2, 4]], 6, 8) == code
    assert encode_segmentation({"size": [6, 8], "counts": runs}, 6, 8) == code
    assert encode_segmentation(code, 6, 8) == code
    assert (decode_masks([{"size": [6, 8], "counts": runs}], (6, 8)) == mask).all()


@pytest.mark.parametrize("wrong", [{}, [[1, 2, 3]], "x", {"counts": "0"}, [[1, 2, 3, 4, 5, 6], [1]]])
def test_other_things_are_no_segmentation(wrong):
    with pytest.raises(ValueError, match="polygon"):
        encode_segmentation(wrong, 6, 8)


def test_sizes_must_agree():
    code = encode_masks(np.ones((1, 3, 4), bool))[0]
    with pytest.raises(ValueError, match="size"):
        decode_masks([code], (4, 4))
    with pytest.raises(ValueError, match="size"):
        encode_segmentation(code, 4, 3)


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**32 - 1), st.sampled_from(["uint8", "int32", "int64"]))
@settings(max_examples=40, deadline=None)
def test_packed_maps_come_back(height, width, seed, dtype):
    labels = np.random.default_rng(seed).integers(0, 3, (height, width)).astype(dtype)
    back = unpack_labels(pack_labels(labels))
    assert back.dtype == labels.dtype and (back == labels).all()


def test_runs_break_where_any_map_changes():
    starts, lengths = label_runs(np.array([[1, 1, 2], [2, 2, 2]]), np.array([[0, 0, 0], [0, 5, 5]]))
    assert starts.tolist() == [0, 2, 4] and lengths.tolist() == [2, 2, 2]
    assert label_runs(np.zeros((0, 4)))[0].size == 0
