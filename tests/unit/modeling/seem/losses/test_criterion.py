"""SEEM's criterion: against a plain implementation, split over micro-batches, and in odd situations."""

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from segfoundry.modeling.losses.matcher import HungarianMatcher
from segfoundry.modeling.seem.decoder.decoder_output import DecoderOutput, LayerOutput, PromptedOutput, mask_logits
from segfoundry.modeling.seem.losses.criterion import SetCriterion
from segfoundry.modeling.seem.losses.loss_families import GroundingTargets
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.draws import Draws
from segfoundry.utils.structures.samples import Targets

K, Q, D, P = 4, 7, 8, 60
WEIGHTS = {"mask_ce": 2.0, "mask_bce": 5.0, "mask_dice": 5.0}
PROMPT_WEIGHTS = {
    f"{f}_{t}": w for f in ("spatial", "grounding") for t, w in (("ce", 0.4), ("bce", 1.0), ("dice", 1.0))
}
RNG = Draws(seed=3, step=5)


def criterion(weights=WEIGHTS, **kwargs):
    return SetCriterion(K, weights, HungarianMatcher(num_points=P), **kwargs)


def predictions(batch=3, layers=3, objects=2, seed=0):
    torch.manual_seed(seed)
    outputs = [
        LayerOutput(
            torch.randn(batch, Q, K + 1),
            torch.randn(batch, Q, D),
            grounding=PromptedOutput(torch.randn(batch, Q, D), torch.randn(batch, Q, 6)),
            spatial=PromptedOutput(torch.randn(batch, 3 * objects, D), torch.randn(batch, 3 * objects, 6)),
        )
        for _ in range(layers)
    ]
    return DecoderOutput(outputs, torch.randn(batch, D, 8, 10), torch.randn(batch, objects, D))


def blobs(count, seed):
    generator = torch.Generator().manual_seed(seed)
    if count == 0:
        return torch.zeros(0, 32, 40, dtype=torch.bool)
    return F.interpolate(torch.rand(1, count, 4, 5, generator=generator), (32, 40), mode="nearest")[0] > 0.4


def targets(counts=(3, 0, 2), seed=1):
    return [
        Targets(blobs(m, seed + b), torch.randint(0, K, (m,), generator=torch.Generator().manual_seed(seed + b)))
        for b, m in enumerate(counts)
    ]


def prompts(batch=3, objects=2):
    spatial = [blobs(objects, 20 + b) for b in range(batch)]
    spatial[0][1] = False  # an object without a pixel
    grounding = [
        GroundingTargets(blobs(2 + b, 30 + b), torch.randn(2 + b, 6), torch.tensor([7, 7, 8, 8][: 2 + b]), kind)
        for b, kind in zip(range(batch), ("text", "class", "text"), strict=False)
    ]
    return {"spatial_masks": spatial, "grounding": grounding, "logit_scale": torch.tensor(1.3)}


def part(output, images):
    """Returns the prediction for some of the images."""

    def prompted(p):
        return PromptedOutput(p.mask_embed[images], p.embed[images])

    layers = [
        LayerOutput(o.logits[images], o.mask_embed[images], None, prompted(o.grounding), prompted(o.spatial))
        for o in output.layers
    ]
    return DecoderOutput(layers, output.mask_features[images], output.positive_means[images])


def bce_and_dice(logits, target):
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(-1)
    p = logits.sigmoid()
    return bce, 1 - (2 * (p * target).sum(-1) + 1) / (p.sum(-1) + target.sum(-1) + 1)


def sample(maps, points):
    return F.grid_sample(maps[None].float(), 2 * points[None, None] - 1, align_corners=False)[0, :, 0]


def plain_losses(output, truths):
    """The losses of object queries, one image, output and mask at a time."""
    losses = {}
    weight = torch.tensor([1.0] * K + [0.1])
    for i, layer in enumerate(output.layers[::-1]):
        masks = mask_logits(layer.mask_embed, output.mask_features)
        ce = ce_weight = bce_sum = dice_sum = torch.tensor(0.0)
        for b, truth in enumerate(truths):
            count, classes = len(truth.labels), torch.full((Q,), K)
            rows = columns = []
            if count:
                points = RNG.uniform(f"match/mask/{i}", (P, 2), sample=b)
                x, t = sample(masks[b], points), sample(truth.masks, points)
                cost = torch.empty(Q, count)
                for q in range(Q):
                    for m in range(count):
                        bce, dice = bce_and_dice(x[q], t[m])
                        cost[q, m] = 5 * bce + 5 * dice - 2 * layer.logits[b, q].softmax(0)[truth.labels[m]]
                rows, columns = linear_sum_assignment(cost)
                classes[torch.as_tensor(rows)] = truth.labels[torch.as_tensor(columns)]
            ce = ce + (F.cross_entropy(layer.logits[b], classes, reduction="none") * weight[classes]).sum()
            ce_weight = ce_weight + weight[classes].sum()
            candidates = RNG.uniform(f"points/mask/{i}", (len(rows), 3 * P, 2), sample=b)
            extra = RNG.uniform(f"points/mask/{i}/extra", (len(rows), P // 4, 2), sample=b)
            for n, (q, m) in enumerate(zip(rows, columns, strict=True)):
                order = sample(masks[b, q : q + 1], candidates[n])[0].abs().argsort()[: 3 * P // 4]
                points = torch.cat([candidates[n, order], extra[n]])
                x, t = sample(masks[b, q : q + 1], points), sample(truth.masks[m : m + 1], points)
                bce, dice = bce_and_dice(x[0], t[0])
                bce_sum, dice_sum = bce_sum + bce, dice_sum + dice
        total = sum(len(t.labels) for t in truths)
        losses[f"loss_mask_ce_{i}"] = 2 * ce / ce_weight
        losses[f"loss_mask_bce_{i}"] = 5 * bce_sum / total
        losses[f"loss_mask_dice_{i}"] = 5 * dice_sum / total
    return losses


def assert_equal_losses(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=2e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("counts", [(3, 0, 2), (1, 7, 4), (Q + 2, 1, 1)])
def test_equals_a_plain_implementation(counts):
    output, truths = predictions(), targets(counts)
    assert_equal_losses(criterion()(output, truths, RNG, range(3)), plain_losses(output, truths))


@pytest.mark.parametrize("split", [([0], [1], [2]), ([0, 2], [1]), ([2, 1, 0],)])
def test_micro_batches_add_up_to_the_whole_batch(split):
    loss = criterion(WEIGHTS | PROMPT_WEIGHTS)
    output, truths, extra = predictions(), targets(), prompts()
    whole = loss(output, truths, RNG, range(3), **extra)
    parts = [
        ([truths[b] for b in images], {k: [extra[k][b] for b in images] for k in ("spatial_masks", "grounding")})
        for images in split
    ]
    totals = {}
    for chosen, more in parts:
        for name, value in loss.normalizers(chosen, Q, **more).items():
            totals[name] = totals.get(name, 0.0) + value
    added = dict.fromkeys(whole, 0.0)
    for images, (chosen, more) in zip(split, parts, strict=True):
        more["logit_scale"] = extra["logit_scale"]
        for name, value in loss(part(output, images), chosen, RNG, images, totals=totals, **more).items():
            added[name] = added[name] + value
    assert_equal_losses(added, whole)


def test_names_suffixes_and_weights():
    output, truths = predictions(), targets()
    losses = criterion({"mask_ce": 2.0, "mask_dice": 5.0})(output, truths, RNG, range(3))
    assert set(losses) == {f"loss_mask_{term}_{i}" for term in ("ce", "dice") for i in range(3)}
    single = criterion({"mask_ce": 1.0}, deep_supervision=False)(output, truths, RNG, range(3))
    assert set(single) == {"loss_mask_ce_0"}
    torch.testing.assert_close(2 * single["loss_mask_ce_0"], losses["loss_mask_ce_0"])
    cut = criterion(top_layers={"mask": 2})(output, truths, RNG, range(3))
    assert {name[-1] for name in cut} == {"0", "1"}


def test_only_the_buffer_of_class_weights_is_in_the_state():
    state = criterion(no_object_weight=0.3).state_dict()
    assert {name: value.tolist() for name, value in state.items()} == {"empty_weight": pytest.approx([1.0] * K + [0.3])}


def test_loaded_weights_do_not_change_the_class_weights_of_the_configuration():
    fine_tuned = criterion(no_object_weight=0.3)
    fine_tuned.load_state_dict(criterion(no_object_weight=0.1).state_dict(), strict=True)
    output, truths = predictions(), targets()
    expected = criterion(no_object_weight=0.3)(output, truths, RNG, range(3))
    assert_equal_losses(fine_tuned(output, truths, RNG, range(3)), expected)


@pytest.mark.parametrize("counts", [(0, 0, 0), (0, 4, 0), (Q + 3, 0, 1)])
def test_gradients_are_finite_and_reach_every_head(counts):
    output = predictions()
    leaves = [t.requires_grad_() for o in output.layers for t in (o.logits, o.mask_embed)] + [output.mask_features]
    output.mask_features.requires_grad_()
    sum(criterion()(output, targets(counts), RNG, range(3)).values()).backward()
    assert all(t.grad is not None and t.grad.isfinite().all() for t in leaves)


def test_order_of_targets_does_not_matter():
    # The loss points belong to the matched pairs in the order of the queries, so they stay the same too.
    output, truths = predictions(), targets((5, 3, 2))
    turned = [Targets(t.masks.flip(0), t.labels.flip(0)) for t in truths]
    assert_equal_losses(criterion()(output, turned, RNG, range(3)), criterion()(output, truths, RNG, range(3)))


def test_float32_under_autocast():
    output, truths = predictions(), targets()
    expected = criterion()(output, truths, RNG, range(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_equal_losses(criterion()(output, truths, RNG, range(3)), expected)


def test_predictions_in_half_precision_are_promoted():
    output = predictions()
    for o in output.layers:
        o.logits, o.mask_embed = o.logits.bfloat16(), o.mask_embed.bfloat16()
    losses = criterion()(output, targets(), RNG, range(3))
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())


@pytest.mark.parametrize("where", ["logits", "mask_embed"])
def test_a_prediction_that_is_not_finite_shows_in_the_loss(where):
    output, truths = predictions(), targets()
    getattr(output.final, where)[0, 2] = float("nan")
    assert not sum(criterion()(output, truths, RNG, range(3)).values()).isfinite()


def test_an_image_without_a_text_zeroes_the_grounding_losses():
    extra = prompts()
    extra["grounding"][1] = GroundingTargets(blobs(0, 0), torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64))
    loss = criterion(WEIGHTS | PROMPT_WEIGHTS)
    losses = loss(predictions(), targets(), RNG, range(3), **extra)
    grounding = [value for name, value in losses.items() if "grounding" in name]
    assert len(grounding) == 9
    assert all(value == 0 for value in grounding)
    assert losses["loss_spatial_ce_0"] > 0


def test_nothing_prompted_gives_zero_spatial_losses_with_a_graph():
    output, extra = predictions(), prompts()
    extra["spatial_masks"] = [torch.zeros_like(m) for m in extra["spatial_masks"]]
    output.final.spatial.mask_embed.requires_grad_()
    losses = criterion(WEIGHTS | PROMPT_WEIGHTS)(output, targets(), RNG, range(3), **extra)
    spatial = [losses[f"loss_spatial_{term}_0"] for term in ("ce", "bce", "dice")]
    assert all(value == 0 and value.requires_grad for value in spatial)
    sum(spatial).backward()
    assert (output.final.spatial.mask_embed.grad == 0).all()


def test_draws_do_not_depend_on_the_rest_of_the_batch():
    output, truths = predictions(), targets((3, 2, 2))
    totals = criterion().normalizers(truths, Q)
    alone = criterion()(part(output, [1]), truths[1:2], RNG, [1], totals=totals)
    others = criterion()(part(output, [0, 2]), [truths[0], truths[2]], RNG, [0, 2], totals=totals)
    whole = criterion()(output, truths, RNG, range(3), totals=totals)
    assert_equal_losses({name: alone[name] + others[name] for name in whole}, whole)
    elsewhere = criterion()(part(output, [1]), truths[1:2], RNG, [6], totals=totals)
    assert elsewhere["loss_mask_bce_0"] != alone["loss_mask_bce_0"]


def test_configuration_decides_families_weights_and_layers():
    keys = {"GROUNDING.ENABLED": False, "SCLASS_WEIGHT": 0.7, "DICE_WEIGHT": 3.0, "TOP_SPATIAL_LAYERS": 4}
    values = {"MODEL.NAME": "seem_model_v1"} | {f"MODEL.DECODER.{key}": value for key, value in keys.items()}
    loss = SetCriterion.from_config(load_mapping(values).cfg, K)
    spatial = {"spatial_ce": 0.7, "spatial_bce": 1.0, "spatial_dice": 1.0}
    assert loss.weights == {"mask_ce": 2.0, "mask_bce": 5.0, "mask_dice": 3.0} | spatial
    assert (loss.matcher.dice_weight, loss.matcher.num_points) == (3.0, 12544)
    assert loss.top_layers == {"mask": 10, "spatial": 4}


def test_an_image_whose_categories_nobody_marked_does_not_count_for_objects():
    output, truth = predictions(), targets((3, 0, 2))
    loss = criterion()
    with_empty = loss(output, truth, RNG, [0, 1, 2])
    truth[1].labelled = False
    assert_equal_losses(
        loss(output, truth, RNG, [0, 1, 2]), loss(part(output, [0, 2]), [truth[0], truth[2]], RNG, [0, 2])
    )
    assert (with_empty["loss_mask_ce_0"] - loss(output, truth, RNG, [0, 1, 2])["loss_mask_ce_0"]).abs() > 1e-3
    alone = loss(part(output, [1]), [truth[1]], RNG, [1])
    assert all(value == 0 for value in alone.values())
