"""Resizing by the long side; images and coordinates are also compared in test_golden.py."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segfoundry.datasets.transforms.resize import ResizeLongest
from segfoundry.modeling.sam.network.input_frame import ResizeLongestSide

from .....support import goldens
from ..golden_cases import network

TRANSFORMS = goldens.find("sam", "transforms")
SIDES = st.integers(1, 5000)


@pytest.mark.parametrize("side", goldens.keys(TRANSFORMS, "shape_table"))
def test_recorded_sizes(side):
    network.check_sizes(TRANSFORMS, side)


@given(SIDES, SIDES, st.integers(1, 2048))
def test_the_long_side_has_the_wanted_length(height, width, side):
    new = ResizeLongestSide.get_preprocess_shape(height, width, side)
    assert max(new) == side and min(new) >= 1
    for old, length in zip((height, width), new, strict=True):
        assert length == 1 or abs(length - old * side / max(height, width)) <= 0.5 + 1e-9


@given(st.integers(2, 400), st.integers(2, 400), st.lists(st.tuples(*[st.floats(0, 400)] * 2), min_size=1, max_size=5))
def test_coordinates_of_both_kinds_agree(height, width, points):
    transform, coords = ResizeLongestSide(96), np.array(points)
    before = coords.copy()
    found = transform.apply_coords(coords, (height, width))
    assert found.dtype == np.float64 and np.array_equal(coords, before)
    new_height, new_width = transform.get_preprocess_shape(height, width, 96)
    np.testing.assert_allclose(found, coords * [new_width / width, new_height / height])
    as_tensor = transform.apply_coords_torch(torch.from_numpy(coords), (height, width))
    assert as_tensor.dtype == torch.float32
    np.testing.assert_allclose(as_tensor.numpy(), found, rtol=1e-5, atol=1e-3)
    boxes = np.concatenate((coords, coords), axis=1)
    np.testing.assert_array_equal(transform.apply_boxes(boxes, (height, width)), np.concatenate((found, found), axis=1))
    assert torch.equal(
        transform.apply_boxes_torch(torch.from_numpy(boxes), (height, width)), torch.cat((as_tensor, as_tensor), dim=1)
    )


def test_an_image_of_the_right_size_is_copied():
    image = np.random.default_rng(0).integers(0, 256, (20, 32, 3), dtype=np.uint8)
    resized = ResizeLongestSide(32).apply_image(image)
    assert np.array_equal(resized, image) and not np.shares_memory(resized, image)


@given(SIDES, SIDES, st.integers(1, 2048))
def test_data_sets_are_resized_to_the_same_sizes(height, width, side):
    found = ResizeLongest(side, half_up=True).output_size(height, width)
    assert found == ResizeLongestSide.get_preprocess_shape(height, width, side)


def test_data_sets_are_resized_to_the_same_pixels():
    image = np.random.default_rng(0).integers(0, 256, (37, 61, 3), dtype=np.uint8)
    assert np.array_equal(ResizeLongest(48, half_up=True)(image), ResizeLongestSide(48).apply_image(image))
