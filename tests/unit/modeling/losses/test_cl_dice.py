"""clDice: skeletons of known shapes, what the loss rewards."""

import torch

from segfoundry.modeling.losses.cl_dice import mask_cl_dice, soft_skeleton
from segfoundry.modeling.losses.dice import mask_dice


def bar(height=21, width=40, rows=(8, 13), columns=(5, 35)):
    """A horizontal bar; five rows thick unless told otherwise."""
    mask = torch.zeros(1, height, width)
    mask[:, rows[0] : rows[1], columns[0] : columns[1]] = 1
    return mask


def test_the_skeleton_of_a_bar_is_its_middle_line():
    skeleton = soft_skeleton(bar(), 5)[0]
    assert set(skeleton.unique().tolist()) <= {0.0, 1.0}
    middle = skeleton[:, 12:28]
    assert middle[10].all() and middle.sum() == 16


def test_too_few_iterations_leave_no_skeleton_of_a_broad_bar():
    assert soft_skeleton(bar(), 1)[0, :, 12:28].sum() == 0


def test_bounds():
    mask = bar()
    assert mask_cl_dice(mask, mask, 5).item() < 1e-6
    assert mask_cl_dice(torch.zeros_like(mask), torch.zeros_like(mask), 5).item() == 0
    assert mask_cl_dice(1 - mask, mask, 5).item() > 0.8


def test_a_gap_costs_more_than_the_same_area_lost_at_the_border():
    target = bar()
    gap, thinner = target.clone(), target.clone()
    gap[:, :, 18:24] = 0  # 30 pixels
    thinner[:, 8] = 0  # 30 pixels
    dice = [mask_dice(mask.flatten(1), target.flatten(1)).item() for mask in (gap, thinner)]
    assert dice[0] == dice[1]
    assert mask_cl_dice(gap, target, 5) > 2 * mask_cl_dice(thinner, target, 5)


def test_gradient_reaches_a_gap():
    target = bar()
    logits = 6 * target - 3
    logits[:, 8:13, 18:24] = -1
    logits.requires_grad_()
    mask_cl_dice(logits.sigmoid(), target, 5).sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[0, 10, 18:24] < 0).all()


def test_masks_are_independent():
    masks = torch.rand(3, 12, 15, generator=torch.Generator().manual_seed(0))
    targets = (masks > 0.6).float()
    one_by_one = torch.cat([mask_cl_dice(m[None], t[None], 3) for m, t in zip(masks, targets, strict=True)])
    torch.testing.assert_close(mask_cl_dice(masks, targets, 3), one_by_one)
