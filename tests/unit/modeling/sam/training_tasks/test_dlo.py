"""Foreground training and prediction: polarity, prompts, shares of the step, optional losses."""

import dataclasses

import numpy as np
import pytest
import torch

from segfoundry.modeling.finetune import apply_policy
from segfoundry.modeling.losses.cl_dice import mask_cl_dice
from segfoundry.modeling.sam.everything.mask_quality import overlaps
from segfoundry.modeling.sam.model import SamSegmenter
from segfoundry.modeling.sam.training_tasks.dlo import DloTask
from segfoundry.modeling.sam.training_tasks.loss_settings import LossSettings
from segfoundry.modeling.sam.tuning import TuningSettings
from segfoundry.utils.draws import Draws
from segfoundry.utils.structures.requests import Request

from .....support.tiny_sam import TINY, drawn_batch, recorded_sam

SIZES = [(36, 64), (64, 40), (36, 64)]
RNG = Draws(0, 0)


def segmenter(losses=None, **options):
    torch.manual_seed(0)
    task = DloTask(losses or LossSettings(), **options)
    tuning = TuningSettings(ways={"mask_decoder": "full"}, unreached=task.unreached)
    model = SamSegmenter(recorded_sam(TINY), task, tuning=tuning)
    apply_policy(model, model.train_policy())
    return model.train()


def objective(model, batches):
    """Returns the losses and the gradients of a step made of micro-batches."""
    totals = {}
    for batch in batches:
        for name, value in model.normalizers(batch).items():
            totals[name] = totals.get(name, 0.0) + value
    model.zero_grad()
    terms = {}
    for batch in batches:
        batch.totals = totals
        for name, value in model(batch, rng=RNG).items():
            terms[name] = terms.get(name, 0.0) + value
    sum(terms.values()).backward()
    return terms, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def split(batch):
    """Returns the images of a batch as batches of one."""
    return [
        dataclasses.replace(
            batch,
            images=batch.images[n : n + 1],
            image_sizes=batch.image_sizes[n : n + 1],
            samples=batch.samples[n : n + 1],
            targets=batch.targets[n : n + 1],
        )
        for n in range(len(batch))
    ]


ALL = LossSettings(iou_weight=1.0, cl_dice_weight=0.5, cl_dice_iterations=3)


@pytest.mark.parametrize("invert", [True, False])
def test_with_dice_per_image_a_step_does_not_depend_on_its_micro_batches(invert):
    batch = drawn_batch(SIZES)
    model = segmenter(ALL, dice_per_image=True, invert_target=invert)
    whole, gradient = objective(model, [batch])
    parts, gradient_of_parts = objective(model, split(batch))
    assert whole.keys() == {"loss_focal", "loss_dice", "loss_iou", "loss_cldice"}
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-5, atol=1e-7, msg=name)
    for name in gradient:
        torch.testing.assert_close(gradient_of_parts[name], gradient[name], rtol=1e-4, atol=1e-6, msg=name)


def test_accumulation_of_four_batches_of_two_has_the_focal_gradient_of_a_batch_of_eight():
    batch = drawn_batch([(36, 64)] * 8)
    pairs = [
        dataclasses.replace(
            batch,
            images=batch.images[n : n + 2],
            image_sizes=batch.image_sizes[n : n + 2],
            samples=batch.samples[n : n + 2],
            targets=batch.targets[n : n + 2],
        )
        for n in range(0, 8, 2)
    ]
    model = segmenter(LossSettings(dice_weight=0.0))
    _, whole = objective(model, [batch])
    _, accumulated = objective(model, pairs)
    for name in whole:
        torch.testing.assert_close(accumulated[name], whole[name], rtol=1e-4, atol=1e-6, msg=name)
    with_dice = segmenter()
    dice_of_eight, _ = objective(with_dice, [batch])
    dice_of_pairs, _ = objective(with_dice, pairs)
    assert dice_of_eight["loss_dice"] != dice_of_pairs["loss_dice"]  # one loss per micro-batch, by design


def test_foreground_pixels_have_the_weight_alpha_whatever_the_polarity():
    """The same network with its mask's sign turned has the same focal loss when the target is inverted."""
    batch = drawn_batch(SIZES)
    losses = {}
    for invert in (True, False):
        model = segmenter(LossSettings(focal_alpha=0.7), invert_target=invert)
        if invert:
            last = model.mask_decoder.output_hypernetworks_mlps[0].layers[-1]
            with torch.no_grad():
                last.weight.neg_()
                last.bias.neg_()
        losses[invert] = model(batch, rng=RNG)["loss_focal"]
    torch.testing.assert_close(losses[True], losses[False])


@pytest.mark.parametrize("invert", [True, False])
def test_results_are_of_the_foreground(invert):
    model = segmenter(invert_target=invert).eval()
    batch = drawn_batch(SIZES)
    found = [prediction.foreground for prediction in model(batch)]
    with torch.no_grad():
        encoded = model.encode(batch)
        low_res, _ = model.predict_masks(
            encoded.embeddings, boxes=torch.tensor([[0.0, 0.0, 64.0, 64.0]]).repeat(3, 1), multimask=False
        )
    for place, (result, sample) in enumerate(zip(found, batch.samples, strict=True)):
        logits = model.upscale(low_res[place : place + 1], batch.image_sizes[place], sample.output_size)[0, 0].numpy()
        assert result.mask.dtype == bool and result.mask.shape == sample.output_size
        np.testing.assert_array_equal(result.mask, (logits > 0) != invert)
        expected = 1 / (1 + np.exp(logits if invert else -logits))
        np.testing.assert_allclose(result.probability, expected, atol=1e-5)


def test_loss_of_a_prediction_is_the_training_loss_of_that_image_alone():
    model = segmenter(LossSettings(focal_weight=3.0, dice_weight=0.5))
    for one in split(drawn_batch(SIZES)):
        trained = sum(model.train()(one, rng=RNG).values())
        assert model.eval()(one)[0].foreground.loss == pytest.approx(trained.item(), rel=1e-5)
        one.samples[0].foreground = None
        assert model(one)[0].foreground.loss is None


def test_result_of_an_image_does_not_depend_on_the_others():
    model, batch = segmenter().eval(), drawn_batch(SIZES)
    together = model(batch)
    for prediction, one in zip(together, split(batch), strict=True):
        alone = model(one)[0].foreground
        np.testing.assert_allclose(prediction.foreground.probability, alone.probability, atol=1e-5)


def test_prompts():
    sizes = [(36, 64), (64, 40)]
    target = torch.zeros(1, 72, 128, dtype=torch.bool)
    target[0, 10:20, 30:90] = True
    empty = torch.zeros(1, 128, 80, dtype=torch.bool)
    image = [[0, 0, 64, 36], [0, 0, 40, 64]]
    assert DloTask(LossSettings(), prompt="full_box").boxes(64, sizes).tolist() == [[0, 0, 64, 64]] * 2
    assert DloTask(LossSettings(), prompt="image_box").boxes(64, sizes).tolist() == image
    around = DloTask(LossSettings(), prompt="mask_box")
    assert around.boxes(64, sizes).tolist() == image
    assert around.boxes(64, sizes, [target, empty]).tolist() == [[15, 5, 45, 10], image[1]]


@pytest.mark.parametrize("prompt", ["full_box", "image_box", "none", "mask_box"])
def test_every_prompt_trains_and_predicts(prompt):
    model, batch = segmenter(prompt=prompt), drawn_batch(SIZES)
    losses = model(batch, rng=RNG)
    assert all(torch.isfinite(loss) and loss.dtype == torch.float32 and loss.shape == () for loss in losses.values())
    assert len(model.eval()(batch)) == 3


@pytest.mark.parametrize("prompt", ["full_box", "none"])
@pytest.mark.parametrize("iou_weight", [0.0, 1.0])
def test_exactly_the_parameters_that_are_not_unreached_get_gradients(prompt, iou_weight):
    model = segmenter(LossSettings(iou_weight=iou_weight), prompt=prompt)
    model.tuning = dataclasses.replace(
        model.tuning, ways=dict.fromkeys(("image_encoder", "prompt_encoder", "mask_decoder"), "full")
    )
    policy = model.train_policy()
    apply_policy(model, policy)
    _, gradients = objective(model.train(), [drawn_batch(SIZES)])
    assert gradients.keys() == policy.rules.keys()
    unreached = ["output_hypernetworks_mlps.1", "mask_downscaling", *([] if iou_weight else ["iou_prediction_head"])]
    for part in unreached:
        assert any(part in name for name in policy.unreached)


def test_iou_head_learns_the_overlap_of_the_trained_mask():
    model, batch = segmenter(LossSettings(iou_weight=2.0)), drawn_batch(SIZES)
    with torch.no_grad():
        loss = model(batch, rng=RNG)["loss_iou"].item()
        embeddings = model.embeddings(batch)
        boxes = torch.tensor([[0.0, 0.0, 64.0, 64.0]]).repeat(3, 1)
        low_res, iou = model.predict_masks(embeddings, boxes=boxes, multimask=False)
    errors = []
    for place, target in enumerate(batch.targets):
        truth = ~target.foreground[0]
        logits = model.upscale(low_res[place : place + 1], batch.image_sizes[place], tuple(truth.shape))[0, 0]
        errors.append((iou[place, 0] - overlaps(logits > 0, truth)).item() ** 2)
    assert loss == pytest.approx(2 * np.mean(errors), rel=1e-5)


@pytest.mark.parametrize("invert", [True, False])
def test_centre_lines_are_those_of_the_foreground(invert):
    model, batch = (
        segmenter(LossSettings(cl_dice_weight=1.0, cl_dice_iterations=4), invert_target=invert),
        drawn_batch(SIZES),
    )
    with torch.no_grad():
        loss = model(batch, rng=RNG)["loss_cldice"].item()
        found = [prediction.foreground for prediction in model.eval()(batch)]
    expected = [
        mask_cl_dice(torch.from_numpy(f.probability)[None], t.foreground.float(), 4).item()
        for f, t in zip(found, batch.targets, strict=True)
    ]
    assert loss == pytest.approx(np.mean(expected), rel=1e-4)


def test_errors():
    model, batch = segmenter(), drawn_batch(SIZES)
    with pytest.raises(ValueError, match="everything"):
        model.eval()(batch, request=Request(tasks=("everything",)))
    batch.targets[1].foreground = None
    with pytest.raises(ValueError, match=r"Targets\.foreground"):
        model.train()(batch, rng=RNG)
