"""SAM behind the trainer's interface: prompts, modes, construction from a configuration."""

import numpy as np
import pytest
import torch
from torch import nn

from segfoundry.modeling.build_model import build_model
from segfoundry.modeling.finetune import apply_policy
from segfoundry.modeling.sam.config import tiny, training_notices
from segfoundry.modeling.sam.model import SamSegmenter, reinitialise
from segfoundry.modeling.sam.prompting.answering import NOTHING, TOGETHER
from segfoundry.modeling.sam.training_tasks.dlo import DloTask
from segfoundry.modeling.sam.training_tasks.loss_settings import LossSettings
from segfoundry.utils.config.engine import load_config
from segfoundry.utils.prompts import Box, Point
from segfoundry.utils.structures.requests import Prompts, Strokes

from ....support import tiny_sam
from ....support.tiny_sam import TINY, drawn_batch, recorded_sam

SIZES = [(36, 64), (64, 40)]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SamSegmenter(recorded_sam(TINY), DloTask(LossSettings())).eval()


@pytest.fixture
def encoded(model):
    return model.encode(drawn_batch(SIZES))


def config(**changes):
    """Returns the smallest configuration with other values; dots of keys are written as two underscores."""
    values = tiny() | {name.replace("__", "."): value for name, value in changes.items()}
    return load_config([], overrides=[f"{name}={_text(value)}" for name, value in values.items()]).cfg


def _text(value):
    return value if value == "" or isinstance(value, str) else repr(value)


def one_by_one(model, encoded, place, **prompt):
    low_res, iou = model.predict_masks(encoded.embeddings[place : place + 1], **prompt)
    return low_res[0], iou[0]


def test_a_single_point_gets_the_best_of_three_masks(model, encoded):
    answers = model.prompted(encoded, [Prompts(shapes=((Point(5, 6),),)), Prompts()])
    low_res, iou = one_by_one(
        model, encoded, 0, points=torch.tensor([[[5.0, 6.0]]]), labels=torch.tensor([[1]]), multimask=True
    )
    torch.testing.assert_close(answers[0].logits[0], low_res[iou.argmax()])
    torch.testing.assert_close(answers[0].scores[0], iou.max().clamp(0, 1))
    assert len(answers[1].logits) == len(answers[1].scores) == 0


def test_objects_of_every_form_and_image_equal_those_asked_alone(model, encoded):
    """Two images with three prompts each, answered together and one by one."""
    shapes = [
        ((Point(5, 6),), (Box(3, 4, 30, 20),), (Point(5, 6), Point(20, 9, False))),
        ((Box(1, 1, 9, 30), Point(4, 4)), (Point(8, 50),), (Box(2, 2, 30, 40),)),
    ]
    together = model.prompted(encoded, [Prompts(shapes=objects) for objects in shapes])
    for image, objects in enumerate(shapes):
        view = model.select(encoded, [image])
        for number, prompts in enumerate(objects):
            alone = model.prompted(view, [Prompts(shapes=(prompts,))])[0]
            torch.testing.assert_close(together[image].logits[number], alone.logits[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(together[image].scores[number], alone.scores[0], rtol=1e-4, atol=1e-5)


def test_the_last_answer_is_the_mask_prompt_of_the_next_round(model, encoded):
    view = model.select(encoded, [1])
    first = model.prompted(view, [Prompts(shapes=((Point(5, 6),),))])[0]
    both = Prompts(shapes=((Point(5, 6), Point(9, 30, False)),))
    second = model.prompted(view, [both], [first.logits])[0]
    low_res, iou = one_by_one(
        model,
        encoded,
        1,
        points=torch.tensor([[[5.0, 6.0], [9.0, 30.0]]]),
        labels=torch.tensor([[1, 0]]),
        masks=first.logits[:, None],
        multimask=False,
    )
    torch.testing.assert_close(second.logits, low_res)
    torch.testing.assert_close(second.scores, iou.clamp(0, 1))
    assert not torch.allclose(second.logits, model.prompted(view, [both])[0].logits)


def test_strokes_without_shapes_are_points_and_nothing_is_an_empty_mask(model, encoded):
    positive = np.zeros((2, 36, 64), bool)
    positive[0, 5:8, 4:7] = True
    strokes = Strokes(positive, np.zeros_like(positive))
    answer = model.prompted(model.select(encoded, [0]), [Prompts(strokes)])[0]
    as_point = model.prompted(model.select(encoded, [0]), [Prompts(shapes=((Point(5, 6),),))])[0]
    torch.testing.assert_close(answer.logits[:1], as_point.logits)
    assert (answer.logits[1] == NOTHING).all() and answer.scores[1] == 0


def test_more_objects_than_are_answered_at_once(model, encoded):
    rng = np.random.default_rng(0)
    points = [(Point(float(x), float(y)),) for x, y in rng.uniform(2, 30, (TOGETHER + 5, 2))]
    view = model.select(encoded, [0])
    together = model.prompted(view, [Prompts(shapes=tuple(points))])[0]
    last = model.prompted(view, [Prompts(shapes=(points[-1],))])[0]
    torch.testing.assert_close(together.logits[-1:], last.logits, rtol=1e-4, atol=1e-5)


def test_full_masks_are_those_of_the_published_upscaling(model, encoded):
    answers = model.prompted(encoded, [Prompts(shapes=((Point(5, 6),),)), Prompts()])
    masks = model.full_masks(encoded, answers)
    expected = model.upscale(answers[0].logits[None], (36, 64), (72, 128))[0] > 0
    assert torch.equal(masks[0], expected) and masks[1].shape == (0, 128, 80)


def test_texts_and_references_are_refused(model, encoded):
    for prompts in (Prompts(texts=("a cable",)), Prompts(reference=object())):
        with pytest.raises(ValueError, match="no texts"):
            model.prompted(encoded, [prompts, Prompts()])


def test_selection_repeats_and_reorders(model, encoded):
    view = model.select(encoded, [1, 0, 1])
    assert len(view) == 3 and view.input_sizes == [SIZES[1], SIZES[0], SIZES[1]]
    assert torch.equal(view.embeddings[2], encoded.embeddings[1])
    assert view.truths[1] is encoded.truths[0]


def test_everything_gives_records_of_the_image(model):
    model.everything_settings = type(model.everything_settings)(
        points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0
    )
    records = model.everything(np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8))
    assert all(record["segmentation"]["size"] == [30, 50] for record in records)


def test_frozen_parts_stay_in_eval_mode():
    model = build_model(config(SAM__TRAIN__IMAGE_ENCODER="frozen", SAM__TRAIN__PROMPT_ENCODER="frozen"), [])
    apply_policy(model, model.train_policy())
    model.train()
    assert model.training and model.mask_decoder.training
    assert not model.image_encoder.training and not model.prompt_encoder.training
    assert not model.embeddings(drawn_batch(SIZES)).requires_grad


@pytest.mark.parametrize(
    ("way", "train_bn", "moves"), [("full", True, True), ("full", False, False), ("norm", True, False)]
)
def test_batch_normalisation_moves_only_where_the_encoder_trains_in_full_and_train_bn_is_set(way, train_bn, moves):
    model = build_model(
        config(SAM__TYPE="vit_t", SAM__TRAIN__IMAGE_ENCODER=way, SAM__TRAIN_BN=train_bn, SAM__USE_CHECKPOINT=False), []
    )
    apply_policy(model, model.train_policy())
    norms = [module for module in model.train().image_encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and all(norm.training == moves for norm in norms)
    before = norms[0].running_mean.clone()
    model.embeddings(drawn_batch(SIZES))
    assert torch.equal(norms[0].running_mean, before) != moves


def test_what_is_offered_follows_from_the_task():
    dlo, promptable = (build_model(config(SAM__TASK=task), []) for task in ("dlo", "promptable"))
    assert dlo.tasks == ("foreground",)
    assert dlo.result_kinds == {"foreground", "everything"}
    assert promptable.result_kinds == {"everything"}
    assert dlo.mask_stride == 64 // 32


def test_a_new_decoder_has_the_stated_weights():
    torch.manual_seed(0)
    decoder = recorded_sam(TINY | {"out_chans": 64}).mask_decoder
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.fill_(7.0)
    reinitialise(decoder)
    for module in decoder.modules():
        if isinstance(module, nn.Linear | nn.ConvTranspose2d):
            assert (module.bias == 0).all()
    linear = decoder.transformer.layers[0].mlp.lin1.weight
    assert linear.std().item() == pytest.approx((2 / sum(linear.shape)) ** 0.5, rel=0.1)
    assert not any((parameter == 7.0).any() for parameter in decoder.parameters())


def test_reinitialising_follows_the_base_file(tmp_path):
    torch.manual_seed(0)
    base = build_model(config(SAM__TASK="dlo"), [])
    file = tmp_path / "base.pth"
    torch.save(base.state_dict(), file)
    plain = build_model(config(SAM__TASK="dlo", SAM__CHECKPOINT=str(file)), [])
    new = build_model(config(SAM__TASK="dlo", SAM__CHECKPOINT=str(file), SAM__REINIT_MASK_DECODER=True), [])
    for name, tensor in base.state_dict().items():
        assert torch.equal(plain.state_dict()[name], tensor)
        if not name.startswith("mask_decoder."):
            assert torch.equal(new.state_dict()[name], tensor), name
    weight = "mask_decoder.transformer.layers.0.mlp.lin1.weight"
    assert not torch.equal(new.state_dict()[weight], base.state_dict()[weight])


def test_a_file_for_another_image_size_is_fitted(tmp_path):
    torch.manual_seed(0)
    file = tmp_path / "base.pth"
    torch.save(build_model(config(SAM__TASK="dlo"), []).state_dict(), file)
    larger = build_model(config(SAM__TASK="dlo", SAM__IMAGE_SIZE=96, SAM__CHECKPOINT=str(file)), []).eval()
    assert larger.image_encoder.pos_embed.shape[1:3] == (12, 12)
    assert larger(drawn_batch([(54, 96)]))[0].foreground.mask.shape == (108, 192)


def test_published_state_dict_names():
    names = {name.partition(".")[0] for name in build_model(config(), []).state_dict()}
    assert names == {"image_encoder", "prompt_encoder", "mask_decoder"}


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"SAM__TASK": "dlo"}, 1),
        ({"SAM__TASK": "dlo", "SAM__LOSS__IOU_WEIGHT": 1.0}, 0),
        ({"SAM__TASK": "promptable"}, 0),
    ],
)
def test_an_iou_head_that_stays_behind_is_said_before_training(changes, count):
    notices = training_notices(config(**changes))
    assert sum("SAM.LOSS.IOU_WEIGHT" in notice for notice in notices) == count


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 1),
        ({"SAM__TRAIN__IMAGE_ENCODER": "lora"}, 1),
        ({"SAM__TRAIN__IMAGE_ENCODER": "full"}, 0),
        ({"SAM__CHECKPOINT": "sam.pth"}, 0),
        ({"WEIGHT": True, "RESUME_FROM": "runs/base"}, 0),
    ],
)
def test_a_random_encoder_that_stays_is_said_before_training(changes, count):
    notices = training_notices(config(**{"SAM__TRAIN__IMAGE_ENCODER": "frozen", **changes}))
    assert sum("the image encoder starts from random weights" in notice for notice in notices) == count


def test_bf16_answers_nearly_as_fp32(model):
    batch = drawn_batch(SIZES)
    exact = model(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(batch)
    for one, other in zip(exact, rough, strict=True):
        assert other.foreground.probability.dtype == np.float32
        np.testing.assert_allclose(other.foreground.probability, one.foreground.probability, atol=3e-2)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["dlo", "promptable"])
def test_compiled_parts_are_compiled_once_and_change_nothing(task):
    plain, compiled = (tiny_sam.model(SAM__TASK=task) for _ in range(2))
    graphs = []
    parts = compiled.compile_parts()
    for part in parts:
        part.compile(backend=lambda graph, _: graphs.append(graph) or graph.forward)
    for number in range(3):
        losses = [tiny_sam.step(network, tiny_sam.batch(seed=number), number=number) for network in (plain, compiled)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert len(graphs) == len(parts)
