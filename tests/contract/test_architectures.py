"""What every meta-architecture promises to the trainer, checked on its smallest configuration."""

import numpy as np
import pytest
import torch

from segfoundry.datasets.pipelines.base import find_pipeline
from segfoundry.datasets.stream.loaders import build_eval_loader, build_train_loader
from segfoundry.modeling.evaluation_mode import evaluation_mode
from segfoundry.modeling.finetune import apply_policy, param_groups
from segfoundry.modeling.promptable import prompt_kinds
from segfoundry.trainer.evaluation.measure import measure
from segfoundry.trainer.machine.distributed import Processes
from segfoundry.trainer.machine.environment import seed_step
from segfoundry.trainer.machine.launch import Ranks
from segfoundry.trainer.machine.precision import Precision
from segfoundry.trainer.machine.signals import StopSignals
from segfoundry.trainer.plan import plan_training
from segfoundry.trainer.training.build_loop import loop_settings, train_data
from segfoundry.trainer.training.build_state import build_state
from segfoundry.trainer.training.dry_run import dry_run
from segfoundry.trainer.training.loop import Loop
from segfoundry.utils.config.engine import load_config
from segfoundry.utils.config.schema import with_values
from segfoundry.utils.draws import Draws
from segfoundry.utils.errors import UserError
from segfoundry.utils.structures.requests import Prompts, Request, Strokes

from ..support.tiny_run import TRAINABLE, write_variant
from ..support.toy import copy, equal

CPU = torch.device("cpu")
ONE = Processes(Ranks(), CPU)
MODE_DEPENDENT = (torch.nn.modules.dropout._DropoutNd, torch.nn.modules.batchnorm._NormBase)


@pytest.fixture(scope="module", params=TRAINABLE)
def plan(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return plan_training(load_config([write_variant(folder, request.param)]))


@pytest.fixture
def state(plan):
    return build_state(plan, CPU, load=False)[0]


def micro_batches(plan, largest=0):
    pipeline = find_pipeline(with_values(plan.cfg, {"TRAIN.BATCH_SIZE_PER_GPU": largest}))
    return next(iter(build_train_loader(pipeline, plan.training, start_step=0, num_steps=1, rank=0, world=1)))


def objective(model, batches):
    """Returns the loss terms of a whole step, gradients added up, as the loop computes them."""
    totals = {}
    for batch in batches:
        for name, value in model.normalizers(batch).items():
            known = totals.get(name, 0.0)
            totals[name] = max(known, value) if name.startswith("max_") else known + value
    model.train()
    model.zero_grad()
    seed_step(0, 0, 0)
    terms = {}
    for batch in batches:
        batch.totals = totals
        losses = model(batch, rng=Draws(0, 0))
        sum(losses.values()).backward()
        for name, value in losses.items():
            terms[name] = terms.get(name, 0.0) + value.detach()
    return terms


def loop(plan, state, steps, callbacks=()):
    return Loop(
        state.model,
        state,
        train_data(plan, steps, ONE),
        loop_settings(plan.cfg, steps),
        processes=ONE,
        stop=StopSignals(),
        callbacks=callbacks,
    )


def test_losses_are_named_finite_float32_scalars(plan, state):
    terms = objective(state.model, micro_batches(plan))
    assert terms
    for name, value in terms.items():
        assert isinstance(name, str) and value.shape == () and value.dtype == torch.float32 and torch.isfinite(value)


def test_every_trainable_parameter_gets_a_finite_gradient_and_no_frozen_one(plan, state):
    objective(state.model, micro_batches(plan))
    for name, parameter in state.model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        else:
            assert parameter.grad is None, name


def test_policy_names_exactly_what_trains(plan, state):
    model = state.model
    policy = model.train_policy()
    apply_policy(model, policy)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == set(policy.rules)
    grouped = [id(p) for g in param_groups(model, policy, 1.0) for p in g["params"]]
    assert len(grouped) == len(set(grouped)) == len(trainable)


def test_same_draws_same_losses(plan, state):
    batches = micro_batches(plan)
    assert equal(objective(state.model, batches), objective(state.model, batches))


def test_one_batch_and_its_parts_have_the_same_objective_and_gradient(plan, state):
    whole = objective(state.model, micro_batches(plan))
    gradient = copy({n: p.grad for n, p in state.model.named_parameters() if p.grad is not None})
    parts = micro_batches(plan, largest=1)
    assert len(parts) > 1
    split = objective(state.model, parts)
    assert whole.keys() == split.keys()
    for name in whole:
        torch.testing.assert_close(split[name], whole[name], rtol=1e-5, atol=1e-6)
    largest = max(float(g.abs().max()) for g in gradient.values())
    for name, parameter in state.model.named_parameters():
        if parameter.grad is not None:  # a gradient that cancels out exactly is all rounding: hence the second term
            allowed = 1e-4 * float(gradient[name].abs().max()) + 1e-6 * largest
            torch.testing.assert_close(parameter.grad, gradient[name], rtol=0, atol=allowed, msg=name)


def test_training_moves_what_trains_and_nothing_else(plan, state):
    before = copy(dict(state.model.named_parameters()))
    loop(plan, state, 3).run()
    for name, parameter in state.model.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, before[name]), f"{name} is frozen but moved"
    moved = [n for n, p in state.model.named_parameters() if p.requires_grad and not torch.equal(p, before[n])]
    assert len(moved) >= 0.9 * len(state.trained)


def test_training_mode_leaves_frozen_normalisation_and_dropout_off(plan, state):
    state.model.train()
    for name, part in state.model.named_modules():
        weights = list(part.parameters())
        if weights and not any(p.requires_grad for p in weights):
            for inner, module in part.named_modules():
                acts = isinstance(module, MODE_DEPENDENT) or type(module).__name__ == "DropPath"
                assert not (acts and module.training), f"{name}.{inner} is frozen but in training mode"


def test_resumed_training_equals_the_uninterrupted_one_bit_for_bit(plan, state):
    loop(plan, state, 3).run()
    first = build_state(plan, CPU, load=False)[0]
    cut = loop(plan, first, 3)
    cut.settings = type(cut.settings)(**{**vars(cut.settings), "max_steps": 1})
    cut.run()
    second = build_state(plan, CPU, load=False)[0]
    second.load(copy(first.weights()), copy(first.tensors()), first.scalars())
    loop(plan, second, 3).run()
    assert equal(second.weights(), state.weights()) and equal(second.tensors(), state.tensors())


def test_state_dict_round_trip_is_strict(plan, state):
    other = build_state(plan, CPU, load=False)[0].model
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    other.load_state_dict(state.model.state_dict(), strict=True)
    assert equal(other.state_dict(), state.model.state_dict())


def predictions(plan, model, size):
    if "everything" in model.result_kinds and len(model.result_kinds) == 1:
        pytest.skip("answers prompts only")
    pipeline = find_pipeline(with_values(plan.cfg, {"TEST.BATCH_SIZE_TOTAL": size}))
    record, split = plan.test[0]
    found = []
    with evaluation_mode(model):
        model.set_vocabulary(record.categories)
        for batch in build_eval_loader(pipeline, record, split, rank=0, world=1):
            result = model(batch, request=Request())
            assert len(result) == len(batch)
            found += zip(batch.samples, result, strict=True)
    return found


def results(prediction):
    return prediction.semantic, prediction.panoptic, prediction.instances, prediction.foreground


def test_predictions_have_the_image_size_and_known_categories(plan, state):
    count = len(plan.test[0][0].categories)
    for sample, prediction in predictions(plan, state.model, 1):
        assert any(part is not None for part in results(prediction))
        if prediction.foreground is not None:
            assert prediction.foreground.mask.shape == prediction.foreground.probability.shape == sample.output_size
            assert 0 <= prediction.foreground.probability.min() and prediction.foreground.probability.max() <= 1
        if prediction.semantic is not None:
            assert prediction.semantic.shape == sample.output_size
            assert 0 <= prediction.semantic.min() and prediction.semantic.max() < count
        if prediction.panoptic is not None:
            assert prediction.panoptic.ids.shape == sample.output_size
            assert set(np.unique(prediction.panoptic.ids).tolist()) - {0} == {
                s.id for s in prediction.panoptic.segments
            }
        if prediction.instances is not None:
            assert prediction.instances.masks.shape[1:] == sample.output_size
            assert ((0 <= prediction.instances.scores) & (prediction.instances.scores <= 1)).all()


def test_a_prediction_does_not_depend_on_its_batch(plan, state):
    for (_, one), (_, several) in zip(
        predictions(plan, state.model, 1), predictions(plan, state.model, 2), strict=True
    ):
        if one.semantic is not None:
            assert (one.semantic == several.semantic).mean() > 0.99
        if one.instances is not None:
            np.testing.assert_allclose(one.instances.scores, several.instances.scores, rtol=1e-3, atol=1e-5)
        if one.foreground is not None:
            np.testing.assert_allclose(one.foreground.probability, several.foreground.probability, atol=1e-4)


def test_prompts_are_answered_per_image_in_rounds(plan, state):
    model = state.model
    if "stroke" not in prompt_kinds(model):
        pytest.skip("takes no strokes")
    record, split = plan.test[0]
    batch = next(iter(build_eval_loader(find_pipeline(plan.cfg), record, split, rank=0, world=1)))
    prompts = [Prompts(points(size, 1 + i), ("ball",) * i) for i, size in enumerate(batch.image_sizes)]
    if "text" not in model.prompt_kinds:
        prompts = [Prompts(prompt.strokes) for prompt in prompts]
    with evaluation_mode(model):
        encoded = model.encode(batch)
        answers = model.prompted(encoded, prompts)
        counts = [len(prompt.strokes.positive) for prompt in prompts]
        previous = [answer.logits[:count] for answer, count in zip(answers, counts, strict=True)]
        again = model.prompted(encoded, prompts, previous)
        masks = model.full_masks(encoded, again)
        alone = model.prompted(model.select(encoded, [1]), prompts[1:2], previous[1:2])
        decoded = model.decode(encoded, Request()) if model.result_kinds != {"everything"} else []
    torch.testing.assert_close(alone[0].logits, again[1].logits, atol=1e-4, rtol=1e-4)
    for sample, prompt, answer, mask in zip(batch.samples, prompts, again, masks, strict=True):
        count = len(prompt.strokes.positive) + len(prompt.texts)
        assert mask.shape == (count, *sample.output_size) and mask.dtype == torch.bool
        assert answer.logits.shape[0] == count and ((0 <= answer.scores) & (answer.scores <= 1)).all()
    assert all(any(part is not None for part in results(d)) for d in decoded)


def points(size, count):
    """Returns strokes of one pixel for each of some objects."""
    positive = torch.zeros(count, *size, dtype=torch.bool)
    for i in range(count):
        positive[i, size[0] // 2, (i + 1) * size[1] // (count + 1)] = True
    return Strokes(positive, torch.zeros_like(positive))


def test_evaluation_keeps_the_modes_of_all_modules(plan, state):
    record, split = plan.test[0]
    state.model.train()
    before = [m.training for m in state.model.modules()]
    summary = measure(state.model, record, split, plan.cfg, processes=ONE, precision=Precision("fp32", CPU))
    assert summary and [m.training for m in state.model.modules()] == before
    assert all(p.grad is None for p in state.model.parameters())


def test_samples_come_from_the_pipeline_of_the_architecture(plan, state, monkeypatch):
    def fail(self, record, *_):
        raise UserError(f"mapper of {record.name}")

    for name in ("train_mapper", "eval_mapper"):
        monkeypatch.setattr(type(find_pipeline(plan.cfg)), name, fail)
    record, split = plan.test[0]
    with pytest.raises(UserError, match=f"mapper of {record.name}"):
        measure(state.model, record, split, plan.cfg, processes=ONE, precision=Precision("fp32", CPU))
    with pytest.raises(UserError, match=f"mapper of {plan.training.record.name}"):
        dry_run(plan)


def test_modes_return_after_an_error():
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.ReLU())
    model[0].eval()
    with pytest.raises(RuntimeError), evaluation_mode(model):
        assert not model.training and not torch.is_grad_enabled()
        raise RuntimeError
    assert model.training and not model[0].training and model[1].training and torch.is_grad_enabled()
