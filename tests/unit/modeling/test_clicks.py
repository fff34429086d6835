import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from segfoundry.modeling.clicks import farthest_inside, next_click
from segfoundry.utils.structures.requests import Strokes

from ...support.soft_distance import soft_distance


def blank(masks):
    return Strokes(torch.zeros_like(masks), torch.zeros_like(masks))


def square(size, *boxes):
    mask = torch.zeros(size, dtype=torch.bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 40), st.floats(0.5, 1))
@settings(max_examples=60, deadline=None)
def test_same_pixel_as_the_published_distance(seed, height, width, density):
    rng = np.random.default_rng(seed)
    coarse = rng.random((3, 1, height, width)) < density
    side = int(rng.integers(1, 4))  # also regions with thick parts
    region = torch.from_numpy(coarse.repeat(side, 2).repeat(side, 3))
    padded = F.pad(region, (1, 1, 1, 1))
    distance = soft_distance((~padded).double())[:, 0, 1:-1, 1:-1].flatten(1)
    # Sums in another order differ in the last bits; equal surroundings are equal distances.
    expected = (distance > distance.amax(dim=1, keepdim=True) - 1e-9).byte().argmax(dim=1)
    assert torch.equal(farthest_inside(region[:, 0]), torch.where(region.flatten(1).any(dim=1), expected, 0))


def test_click_lies_in_the_larger_error_and_leaves_the_given_strokes():
    truth = square((20, 30), (2, 2, 11, 11))[None]
    strokes = blank(truth)
    clicked = next_click(truth, torch.zeros_like(truth), strokes)
    assert torch.equal(clicked.positive[0], square((20, 30), (5, 5, 8, 8)))
    assert not clicked.negative.any() and not strokes.positive.any()
    predicted = square((20, 30), (2, 2, 11, 11), (0, 14, 20, 28))[None]
    clicked = next_click(truth, predicted, strokes, dilation=1)
    assert not clicked.positive.any() and clicked.negative[0].nonzero().tolist() == [[7, 20]]


def test_objects_are_clicked_independently_and_only_where_needed():
    size = (16, 16)
    truth = torch.stack([square(size, (0, 0, 8, 8)), square(size, (4, 4, 12, 12)), torch.zeros(size).bool()])
    predicted = torch.stack([truth[0], square(size, (4, 4, 12, 8)), torch.zeros(size).bool()])
    clicked = next_click(truth, predicted, blank(truth))
    assert clicked.positive.flatten(1).sum(dim=1).tolist() == [0, 9, 0] and not clicked.negative.any()
    alone = next_click(truth[1:2], predicted[1:2], blank(truth[1:2]))
    assert torch.equal(alone.positive[0], clicked.positive[1])


def test_strokes_and_ignored_pixels_are_no_errors():
    truth = square((20, 20), (2, 2, 18, 18))[None]
    nothing = torch.zeros_like(truth)
    first = next_click(truth, nothing, blank(truth))
    second = next_click(truth, nothing, first)
    assert (second.positive & ~first.positive).sum() >= 3 and (second.positive | first.positive).equal(second.positive)
    assert next_click(truth, nothing, Strokes(truth, nothing)).positive.equal(truth)  # nothing left to click
    left = square((20, 20), (0, 0, 20, 10))
    ignoring = next_click(truth, nothing, blank(truth), ignored=left)
    assert ignoring.positive.any() and not (ignoring.positive[0] & left)[:, :9].any()
    assert not next_click(truth, truth & ~left, blank(truth), ignored=left).positive.any()


def test_random_clicks_come_from_the_region():
    truth = square((9, 12), (3, 4, 6, 9))[None]
    places = set()
    for chance in np.linspace(0, 1, 60, endpoint=False):
        clicked = next_click(
            truth, torch.zeros_like(truth), blank(truth), dilation=1, mode="best_random", chance=torch.tensor([chance])
        )
        assert clicked.positive.sum() == 1 and (clicked.positive & truth).any()
        places.add(int(clicked.positive.flatten().byte().argmax()))
    assert len(places) == 15


def test_no_object_and_wrong_arguments():
    none = torch.zeros(0, 5, 5, dtype=torch.bool)
    assert next_click(none, none, blank(none)).positive.shape == (0, 5, 5)
    one = torch.ones(1, 5, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match="chance"):
        next_click(one, ~one, blank(one), mode="best_random")
    with pytest.raises(ValueError, match="mode"):
        next_click(one, ~one, blank(one), mode="worst")
