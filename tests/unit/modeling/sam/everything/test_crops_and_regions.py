"""Pieces of everything mode: grids and crops, stability, boxes, small regions, upscaling."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segfoundry.modeling.sam.everything.crops import crop_boxes, layer_grids, place_masks
from segfoundry.modeling.sam.everything.mask_quality import overlaps
from segfoundry.modeling.sam.everything.small_regions import remove_small_regions

from .....support import goldens
from ..golden_cases import everything

AMG = goldens.find("sam", "amg")
SIDES = st.integers(1, 300)


@pytest.mark.parametrize("side", everything.grid_sides(AMG))
def test_recorded_grids(side):
    everything.check_grid(AMG, side)


def test_grids_of_layers():
    everything.check_layer_grids(AMG)
    assert [len(grid) for grid in layer_grids(3, 2, 4)] == [9, 1, 1]


@pytest.mark.parametrize("name", goldens.keys(AMG, "crop_boxes"))
def test_recorded_crops(name):
    everything.check_crops(AMG, name)


@given(SIDES, SIDES, st.integers(0, 3), st.floats(0, 1))
def test_every_layer_of_crops_covers_the_image(height, width, layers, overlap):
    crops = crop_boxes((height, width), layers, overlap)
    for layer in range(layers + 1):
        covered = np.zeros((height, width), bool)
        for (x0, y0, x1, y1), place in crops:
            assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
            if place == layer:
                covered[y0:y1, x0:x1] = True
        assert covered.all()


def test_recorded_edges_of_crops():
    everything.check_edges_of_crops(AMG)


def test_masks_of_a_crop_in_the_frame_of_the_image():
    masks = np.random.default_rng(0).random((2, 3, 4)) > 0.5
    placed = place_masks(masks, (5, 1, 9, 4), (6, 10))
    assert placed.shape == (2, 6, 10) and placed.sum() == masks.sum()
    assert np.array_equal(placed[:, 1:4, 5:9], masks)


def test_recorded_masks():
    everything.check_masks(AMG)


def test_overlaps():
    empty, full = torch.zeros(3, 4, dtype=torch.bool), torch.ones(3, 4, dtype=torch.bool)
    left = empty.clone()
    left[:, :1] = True
    masks = torch.stack([empty, left, full])
    assert overlaps(masks, masks).tolist() == [1, 1, 1]
    assert overlaps(masks, full).tolist() == [0, 0.25, 1] and overlaps(full, empty) == 0


@pytest.mark.parametrize("name", goldens.keys(AMG, "regions_changed"))
def test_recorded_small_regions(name):
    everything.check_small_regions(AMG, name)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.integers(0, 40))
def test_holes_are_only_filled_and_islands_only_removed(height, width, seed, area):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    filled, _ = remove_small_regions(mask, area, "holes")
    rest, changed = remove_small_regions(mask, area, "islands")
    assert (filled >= mask).all() and (rest <= mask).all()
    assert rest.any() == mask.any() and (changed or np.array_equal(rest, mask))
    again, _ = remove_small_regions(rest, area, "islands")
    assert np.array_equal(again, rest)


def test_corners_connect_and_the_largest_island_stays():
    mask = np.zeros((5, 7), bool)
    mask[[0, 1], [0, 1]] = mask[4, 6] = True
    assert np.array_equal(remove_small_regions(mask, 2, "islands")[0].nonzero(), ([0, 1], [0, 1]))
    assert np.array_equal(remove_small_regions(mask, 99, "islands")[0].nonzero(), ([0, 1], [0, 1]))
    with pytest.raises(ValueError, match="'gaps'"):
        remove_small_regions(mask, 2, "gaps")
