"""Training with strokes and texts: every combination of switches, and rules that couple the images of a step."""

import itertools

import pytest
import torch

from segfoundry.utils.draws import Draws
from segfoundry.utils.errors import ConfigError

from .....support.prompted import DEMO, V0, joined, parts_of, prompted_batch, prompted_model

TEXTS = [["a cat", "a cat", "grey sky"], ["cup"]]
SWITCHES = [flags for flags in itertools.product([True, False], repeat=3) if any(flags)]


def switches(mask, spatial, grounding):
    on = {"MASK": mask, "SPATIAL": spatial, "GROUNDING": grounding}
    return {f"MODEL__DECODER__{name}__ENABLED": value for name, value in on.items()}


def backward(model, batch, step=0):
    losses = model.train()(batch, rng=Draws(0, step))
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)
    return {name: value.detach() for name, value in losses.items()}


def missing_gradients(model):
    return [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


def step_with_rounds(rounds, most=1):
    """Returns the number of a step that draws so many rounds of clicks."""
    return next(step for step in range(99) if int(Draws(0, step).integers("rounds", most + 1)) == rounds)


@pytest.mark.parametrize("flags", SWITCHES)
@pytest.mark.parametrize("rounds", [0, 1])
def test_every_combination_of_tasks_trains_and_predicts(flags, rounds):
    model = prompted_model(**switches(*flags))
    batch = prompted_batch([2, 1], TEXTS)
    losses = backward(model, batch, step_with_rounds(rounds))
    families = {name.split("_")[1] for name in losses}
    assert families == {f for f, on in zip(("mask", "spatial", "grounding"), flags, strict=True) if on}
    assert all(value > 0 for name, value in losses.items() if name.endswith("_ce_0"))
    assert missing_gradients(model) == []
    assert model.eval()(batch)[0].semantic.shape == (69, 67)


@pytest.mark.parametrize("flags", SWITCHES)
@pytest.mark.parametrize(
    ("objects", "texts"),
    [([0, 0], [[], []]), (None, None), ([2, 0], TEXTS), ([1, 1], [["cup"], []]), ([0, 0], TEXTS)],
)
def test_processes_without_some_targets_still_have_a_gradient_for_everything(flags, objects, texts):
    model = prompted_model(**switches(*flags), MODEL__DECODER__FINE_TUNE=True)
    batch = prompted_batch([0, 0]) if objects is None else prompted_batch(objects, texts)
    if objects is None:
        for target in batch.targets:
            target.spatial = None
    with_prompts = joined([model.normalizers(batch), model.normalizers(prompted_batch([3, 2], TEXTS))])
    for totals in (None, with_prompts):
        batch.totals = totals
        model.zero_grad()
        backward(model, batch)
        assert missing_gradients(model) == []


@pytest.mark.parametrize("flags", SWITCHES)
@pytest.mark.parametrize("adapters", [True, False])
@pytest.mark.parametrize(
    "layers",
    [
        {"DEEP_SUPERVISION": False},
        {"TOP_MASK_LAYERS": 1, "TOP_SPATIAL_LAYERS": 2, "TOP_GROUNDING_LAYERS": 1},
        {"DEC_LAYERS": 2, "SPATIAL__MAX_ITER": 0},
        {"DEC_LAYERS": 5, "ENFORCE_INPUT_PROJ": True},
    ],
)
def test_what_no_loss_reaches_is_frozen(flags, adapters, layers):
    keys = {f"MODEL__DECODER__{name}": value for name, value in layers.items()}
    keys |= {"MODEL__DECODER__FINE_TUNE": adapters, "SOLVER__FIX_PARAM": {}}
    model = prompted_model(**switches(*flags), **keys)
    most = layers.get("SPATIAL__MAX_ITER", 1)
    backward(model, prompted_batch([2, 1], TEXTS), step_with_rounds(most, most))
    assert missing_gradients(model) == []
    # Nothing more is frozen than has to be: what is left out would not learn if it could.
    policy = model.train_policy()
    parameters = dict(model.named_parameters())
    for name in policy.unreached:
        parameters[name].requires_grad_()
    model.zero_grad()
    losses = model(prompted_batch([2, 1], TEXTS), rng=Draws(0, step_with_rounds(most, most)))
    sum(losses.values()).backward()
    gradients = [parameters[name].grad for name in policy.unreached]
    assert all(gradient is None or not gradient.any() for gradient in gradients)


@pytest.mark.parametrize(("objects", "texts"), [([3, 1], TEXTS), ([0, 2], TEXTS), ([2, 2], [[], ["cup"]])])
def test_micro_batches_equal_the_whole_batch(objects, texts):
    model = prompted_model(SOLVER__FIX_PARAM={})
    batch = prompted_batch(objects, texts)
    step = step_with_rounds(1)
    whole = backward(model, batch, step)
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    parts = parts_of(batch)
    totals = joined([model.normalizers(part) for part in parts])
    found = []
    for part in parts:
        part.totals = totals
        found.append(backward(model, part, step))
    assert list(found[0]) == list(found[1]) == list(whole)
    for name, value in whole.items():
        torch.testing.assert_close(found[0][name] + found[1][name], value, atol=1e-5, rtol=1e-5)
    largest = max(float(g.abs().max()) for g in expected.values())
    for name, p in model.named_parameters():
        if name in expected:
            allowed = 1e-4 * float(expected[name].abs().max()) + 1e-6 * largest
            torch.testing.assert_close(p.grad, expected[name], rtol=0, atol=allowed, msg=name)


def test_an_image_without_texts_silences_them_for_the_step():
    model = prompted_model()
    losses = backward(model, prompted_batch([1, 1], [["cup"], []]))
    assert all(value == 0 for name, value in losses.items() if "grounding" in name)
    alone = parts_of(prompted_batch([1, 1], TEXTS))[0]
    alone.totals = joined([model.normalizers(alone), model.normalizers(prompted_batch([1], [[]]))])
    assert all(value == 0 for name, value in backward(model, alone).items() if "grounding" in name)


def test_equal_texts_stand_once_among_the_tokens_and_keep_one_embedding_each():
    model = prompted_model()
    seen = []
    predictor = model.sem_seg_head.predictor
    predictor.register_forward_hook(lambda module, inputs, output: seen.append(inputs[3].text))
    backward(model, prompted_batch([0, 0], TEXTS), step_with_rounds(0))
    [text] = seen
    cat, sky, cup = (len(s.tokens) for s in model.class_embeddings.sentences(["a cat", "grey sky", "cup"]))
    assert text.valid.sum(dim=1).tolist() == [cat + sky, cup]


def test_rounds_of_clicks_add_strokes_and_a_memory():
    model = prompted_model(MODEL__DECODER__SPATIAL__MAX_ITER=3)
    seen = []
    predictor = model.sem_seg_head.predictor
    predictor.register_forward_hook(lambda module, inputs, output: seen.append((torch.is_grad_enabled(), inputs[3])))
    backward(model, prompted_batch([3, 2], TEXTS), step_with_rounds(3, 3))
    assert [grad for grad, _ in seen] == [False, False, False, True]
    assert [asked.draws for _, asked in seen] == ["round0/", "round1/", "round2/", ""]
    pixels = [sum(int(s.sum()) for s in (*a.spatial.positive, *a.spatial.negative)) for _, a in seen]
    assert pixels == sorted(pixels) and pixels[-1] > pixels[0]
    assert [asked.spatial.previous is not None for _, asked in seen] == [False, True, True, True]


def test_a_trained_text_encoder_learns_from_sentences_alone():
    model = prompted_model(SOLVER__FIX_PARAM={}, **switches(False, False, True))
    backward(model, prompted_batch(None, TEXTS))
    assert model.sem_seg_head.predictor.lang_encoder.lang_proj.grad.abs().sum() > 0


def test_v0_trains_one_object_per_image():
    model = prompted_model(**V0)
    for rounds in (0, 1):
        losses = backward(model, prompted_batch([1, 1], TEXTS), step_with_rounds(rounds))
        assert losses["loss_spatial_ce_0"] > 0 and losses["loss_grounding_bce_0"] > 0
        assert missing_gradients(model) == []


def test_the_demo_variant_says_that_it_cannot_be_trained():
    model = prompted_model(**DEMO)
    assert "criterion.empty_weight" not in model.state_dict()
    with pytest.raises(ConfigError, match="seem_model_demo is for prediction"):
        model.train_policy()


def test_all_tasks_learn():
    model = prompted_model()
    batch = prompted_batch([2, 1], TEXTS)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    history = []
    for _ in range(16):
        optimizer.zero_grad()
        history.append(backward(model, batch, step_with_rounds(1)))
        optimizer.step()
    for family in ("mask", "spatial", "grounding"):
        first, last = (sum(v for name, v in losses.items() if family in name) for losses in (history[0], history[-1]))
        assert last < 0.85 * first, family
