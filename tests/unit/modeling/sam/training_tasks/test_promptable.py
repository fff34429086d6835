"""Promptable training of SAM: prompts, losses, and what they depend on."""

import pytest
import torch

from segfoundry.modeling.finetune import apply_policy
from segfoundry.modeling.losses.dice import mask_dice
from segfoundry.modeling.losses.focal import mask_focal
from segfoundry.modeling.sam.everything.mask_quality import overlaps
from segfoundry.modeling.sam.training_tasks.promptable import MaskLosses
from segfoundry.modeling.sam.training_tasks.simulated_prompts import (
    First,
    PromptSettings,
    correction,
    count_objects,
    draw_objects,
    first_box,
    first_mask,
    first_point,
    shrunk,
)
from segfoundry.utils.draws import Draws
from segfoundry.utils.structures.samples import Batch

from .....support import tiny_sam

SETTINGS = PromptSettings(objects=4, corrections=2, min_area=16)


def objects(settings=SETTINGS, data=None, step=0):
    return draw_objects(data or tiny_sam.batch(objects=5), settings, Draws(0, step), side=64, mask_side=32)


def losses(network, data, step=0):
    return network(data, rng=Draws(0, step))


def trainable(**values):
    network = tiny_sam.model(**values)
    apply_policy(network, network.train_policy())
    return network.train()


def part(data, places):
    """Returns some images of a batch as a batch of the same step."""
    return Batch(
        data.images[places],
        [data.image_sizes[i] for i in places],
        [data.samples[i] for i in places],
        [data.targets[i] for i in places],
        [data.positions[i] for i in places],
    )


def test_objects_are_bounded_in_number_and_size():
    data = tiny_sam.batch(objects=5)
    data.targets[0].masks[0] = False
    data.targets[0].masks[0, 3, 3:18] = True  # 15 pixels
    assert len(objects(data=data)) == count_objects(data, SETTINGS) == 8
    many = PromptSettings(objects=9)
    assert count_objects(data, many) == len(objects(many, data)) == 9
    drawn = objects(many, data)
    assert drawn.masks[drawn.image_index == 0].flatten(1).sum(dim=1).min() >= 16


def test_another_step_draws_other_objects_and_numbers():
    assert not torch.equal(objects().chances, objects(step=1).chances)
    assert torch.equal(objects().chances, objects().chances)


def test_draws_of_an_image_do_not_depend_on_the_batch_it_is_in():
    data = tiny_sam.batch(objects=5)
    whole, alone = objects(data=data), objects(data=part(data, [1]))
    second = whole.image_index == 1
    for name in ("masks", "chances", "corners", "noise", "targets"):
        assert torch.equal(getattr(whole, name)[second], getattr(alone, name)), name


def test_the_first_point_lies_on_the_object():
    drawn = objects()
    points, labels = first_point(drawn)
    for mask, (x, y) in zip(drawn.masks, points[:, 0].long().tolist(), strict=True):
        assert mask[y, x]
    assert (labels == 1).all()


def test_boxes_without_noise_are_tight_and_with_noise_stay_in_the_image():
    drawn = objects()
    for mask, box in zip(drawn.masks, first_box(drawn, 0.0).tolist(), strict=True):
        rows, columns = mask.nonzero().T
        assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    noised = first_box(drawn, 5.0)
    assert (noised >= 0).all() and (noised[:, ::2] <= 48).all() and (noised[:, 1::2] <= 64).all()
    assert not torch.equal(noised, first_box(drawn, 0.0))
    assert (noised - first_box(drawn, 0.0)).abs().max() <= 20


def test_mask_prompts_resemble_the_object_but_for_its_border():
    drawn = objects()
    logits = first_mask(drawn)
    assert logits.shape == (8, 1, 32, 32) and set(logits.unique().tolist()) == {-10.0, 10.0}
    iou = overlaps(logits > 0, drawn.targets[:, None])
    assert (iou > 0.4).all() and (iou < 1).any()


def test_corrections_lie_in_the_error_and_say_what_is_there():
    drawn = objects()
    predicted = torch.roll(drawn.masks, (4, 5), (1, 2))
    for number in (0, 1):
        points, labels = correction(drawn, predicted, number, 0.0)
        for mask, guess, (x, y), label in zip(
            drawn.masks, predicted, points[:, 0].long().tolist(), labels[:, 0].tolist(), strict=True
        ):
            assert mask[y, x] != guess[y, x] and label == int(mask[y, x])
    _, labels = correction(drawn, drawn.masks, 0, 0.0)
    assert (labels == -1).all()
    points, labels = correction(drawn, drawn.masks, 0, 1.0)
    assert (labels == 1).all()


def test_clicks_never_fall_into_the_padding_of_smaller_images():
    data = tiny_sam.batch(objects=2)
    data.image_sizes[0] = (40, 30)
    data.targets[0].masks[:, 40:] = False
    data.targets[0].masks[:, :, 30:] = False
    drawn = objects(data=data)
    for step in range(20):
        drawn = objects(data=data, step=step)
        points, _ = correction(drawn, torch.ones_like(drawn.masks), 0, 0.0)
        x, y = points[drawn.image_index == 0][:, 0].T
        assert (x < 30).all() and (y < 40).all()


def test_shrunk_masks_keep_thin_objects():
    masks = torch.zeros(2, 64, 48, dtype=torch.bool)
    masks[0, :32, :16] = True
    masks[1, 5] = True
    small = shrunk(masks, 64, 16)
    assert small[0].sum() == 8 * 4 and small[0, :8, :4].all()
    assert small[1].sum() == 12 and small[1, 1, :12].all()


def test_losses_by_hand():
    torch.manual_seed(0)
    logits, iou, truth = torch.randn(2, 3, 8, 8), torch.rand(2, 3), torch.rand(2, 8, 8) > 0.6
    found = MaskLosses(focal_alpha=0.25, iou_weight=2.0)(logits, iou, truth)
    expected = {"loss_focal": 0.0, "loss_dice": 0.0, "loss_iou": 0.0}
    for p in range(2):
        each = []
        for m in range(3):
            flat, target = logits[p, m].reshape(1, -1), truth[p].reshape(1, -1)
            each.append((20 * mask_focal(flat, target, 0.25, 2.0), mask_dice(flat.sigmoid(), target.float())))
            mask = logits[p, m] > 0
            actual = (mask & truth[p]).sum() / (mask | truth[p]).sum()
            expected["loss_iou"] += 2 * (iou[p, m] - actual) ** 2 / 3
        focal, dice = min(each, key=sum)
        expected["loss_focal"] += focal[0]
        expected["loss_dice"] += dice[0]
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    more = MaskLosses(cl_dice_weight=1.0, iou_weight=0.0)
    assert set(more(logits, iou, truth)) == {"loss_focal", "loss_dice", "loss_cldice"} == set(more.names())


@pytest.mark.parametrize("firsts", [(1.0, 0.0), (1.0, 1.0), (0.0, 0.0)], ids=["point", "box", "mask"])
@pytest.mark.parametrize("corrections", [0, 2])
@pytest.mark.parametrize("iou_weight", [0.0, 1.0])
def test_every_trainable_parameter_gets_a_gradient_and_what_is_unreached_is_frozen(firsts, corrections, iou_weight):
    network = trainable(
        SAM__PROMPTABLE__POINT_PROB=firsts[0],
        SAM__PROMPTABLE__BOX_PROB=firsts[1],
        SAM__PROMPTABLE__CORRECTIONS=corrections,
        SAM__LOSS__IOU_WEIGHT=iou_weight,
    )
    for step in range(2):
        found = losses(network, tiny_sam.batch(seed=step), step)
        sum(found.values()).backward()
    unused = [n for n, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    # Of the three masks of an ambiguous point the best alone is trained; a background point may not have been drawn.
    others = [f"mask_decoder.output_hypernetworks_mlps.{i}." for i in (1, 2, 3)]
    chance = (*others, "prompt_encoder.point_embeddings.0", "prompt_encoder.not_a_point_embed")
    assert [name for name in unused if not name.startswith(chance)] == []
    trained = [n for n, p in network.named_parameters() if n.startswith(tuple(others)) and p.requires_grad]
    assert bool(trained) == (firsts == (1.0, 0.0)) and len(set(trained) & set(unused)) < max(1, len(trained))
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
    heads = [p for n, p in network.named_parameters() if "iou_prediction_head" in n]
    assert all(p.requires_grad == (iou_weight > 0) for p in heads)
    assert ("loss_iou" in found) == (iou_weight > 0)


def test_unreached_parameters_really_get_no_gradient():
    network = tiny_sam.model(
        SAM__PROMPTABLE__BOX_PROB=1.0, SAM__PROMPTABLE__CORRECTIONS=0, SAM__PROMPTABLE__POINT_PROB=1.0
    )
    unreached = network.train_policy().unreached
    assert unreached
    apply_policy(network, network.train_policy())
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in unreached)
    network.train()
    found = losses(network, tiny_sam.batch())
    sum(found.values()).backward()
    assert not [n for n, p in network.named_parameters() if p.grad is not None and p.grad.any()]


def test_a_batch_without_objects_has_zero_losses_that_reach_every_parameter():
    network = trainable()
    found = losses(network, tiny_sam.batch(objects=0))
    assert all(float(value.detach()) == 0 for value in found.values())
    sum(found.values()).backward()
    assert all(p.grad is not None and not p.grad.any() for p in network.parameters() if p.requires_grad)


def test_micro_batches_add_up_to_the_batch():
    network, data = trainable(), tiny_sam.batch(count=3)
    totals = network.normalizers(data)
    whole = losses(network, data)
    parts = [part(data, [0]), part(data, [1, 2])]
    assert totals == {"objects": sum(network.normalizers(p)["objects"] for p in parts)}
    for piece in parts:
        piece.totals = totals
    found = [losses(network, piece) for piece in parts]
    for name, value in whole.items():
        torch.testing.assert_close(sum(f[name] for f in found), value, rtol=1e-4, atol=1e-6)


def test_steps_lower_the_losses_and_raise_the_overlap():
    network, data = tiny_sam.model(SAM__LOSS__IOU_WEIGHT=1.0), tiny_sam.batch()
    values = [sum(tiny_sam.step(network, data, rate=2e-3, number=0).values()) for _ in range(25)]
    assert values[-1] < 0.8 * values[0]
    assert 0 <= network.monitors["iou_first_prompt"] <= 1


def test_first_prompts_follow_their_probabilities():
    kinds = torch.cat(
        [objects(PromptSettings(objects=5, point_prob=0.5, box_prob=0.25), step=step).first for step in range(60)]
    )
    shares = [float((kinds == kind).float().mean()) for kind in First]
    assert shares == pytest.approx([0.375, 0.125, 0.5], abs=0.08)
