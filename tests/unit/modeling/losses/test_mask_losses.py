"""Mask losses at points: values, pairwise forms, sampling, choice of points."""

import pytest
import torch
import torch.nn.functional as F

from segfoundry.modeling.losses.bce import mask_bce, pairwise_bce
from segfoundry.modeling.losses.dice import mask_dice, pairwise_dice
from segfoundry.modeling.losses.point_sampling import sample_mask_logits, sample_points, uncertain_points


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_perfect_prediction_costs_almost_nothing():
    targets = (torch.rand(3, 50) > 0.5).float()
    logits = (2 * targets - 1) * 50
    assert mask_bce(logits, targets).max() < 1e-6
    assert mask_dice(logits.sigmoid(), targets).max() < 1e-6


def test_dice_by_hand():
    probabilities, targets = torch.tensor([[1.0, 0.5, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    assert mask_dice(probabilities, targets).item() == pytest.approx(1 - 3 / 3.5)


@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_pairwise_forms_equal_the_plain_losses(scale):
    logits, targets = torch.randn(4, 30) * scale, torch.rand(5, 30)
    for q in range(4):
        for m in range(5):
            one = (logits[q : q + 1], targets[m : m + 1])
            torch.testing.assert_close(pairwise_bce(logits, targets)[q, m], mask_bce(*one)[0])
            expected = mask_dice(one[0].sigmoid(), one[1])[0]
            torch.testing.assert_close(pairwise_dice(logits.sigmoid(), targets)[q, m], expected)


def test_sampling_at_pixel_centres_returns_the_pixels():
    maps = torch.randn(2, 3, 4, 5)
    y, x = torch.meshgrid((torch.arange(4) + 0.5) / 4, (torch.arange(5) + 0.5) / 5, indexing="ij")
    points = torch.stack([x, y], dim=-1).reshape(1, 20, 2).expand(2, -1, -1)
    torch.testing.assert_close(sample_points(maps, points), maps.flatten(2))


def test_sampling_blends_with_zero_at_the_border():
    assert sample_points(torch.ones(1, 1, 2, 2), torch.tensor([[[0.0, 0.5]]])).item() == pytest.approx(0.5)


@pytest.mark.parametrize("size", [4, 40])
def test_logits_do_not_depend_on_the_way_they_are_computed(size):
    embed, features, points = torch.randn(6, 8), torch.randn(8, size, size), torch.rand(20, 2)
    full = torch.einsum("qd,dhw->qhw", embed, features)
    expected = F.grid_sample(full[None], 2 * points[None, None] - 1, align_corners=False)[0, :, 0]
    torch.testing.assert_close(sample_mask_logits(embed, features, points), expected, atol=1e-5, rtol=1e-5)


def test_uncertain_points_are_those_nearest_to_zero_followed_by_the_extra_ones():
    masks, candidates, extra = torch.randn(3, 8, 8), torch.rand(3, 30, 2), torch.rand(3, 4, 2)
    points = uncertain_points(masks, candidates, extra, 10)
    assert points.shape == (3, 14, 2)
    assert torch.equal(points[:, 10:], extra)
    logits = sample_points(masks[:, None], candidates)[:, 0].abs()
    limit = logits.sort(dim=1).values[:, 9]
    chosen = sample_points(masks[:, None], points[:, :10])[:, 0].abs()
    assert (chosen <= limit[:, None] + 1e-6).all()
    assert all(len({tuple(p) for p in image.tolist()}) == 10 for image in points[:, :10])
