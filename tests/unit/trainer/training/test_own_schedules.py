"""Schedules by name, those of an architecture, and those of single parameters, which may rest."""

import dataclasses
import functools
import re
import signal

import pytest
import torch

from segfoundry.modeling.base import ParamRule, TrainPolicy
from segfoundry.modeling.finetune import apply_policy, param_groups, param_table
from segfoundry.trainer.machine.precision import Precision
from segfoundry.trainer.training.loop import Callback
from segfoundry.trainer.training.lr_schedule import lr_factor, warmup_notice
from segfoundry.trainer.training.optimizer import build_optimizer, let_rest, set_lr
from segfoundry.trainer.training.state import TrainState
from segfoundry.utils.config.architectures import architectures
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.config.sections import Shared
from segfoundry.utils.errors import ConfigError
from segfoundry.utils.schedules import SCHEDULES, Schedule, schedule

from ....support.toy import CPU, Toy, copy, equal, toy_loop

RESTING = range(2, 5)
STEPS = 8
gate = Schedule("gate", lambda solver, at: 0.0 if at.step in RESTING else 0.5)


@pytest.fixture
def bell():
    """A schedule that an architecture files under a name of its own, without warm-up."""
    schedule("bell")(lambda solver, at: 4 * at.step * (at.max_steps - at.step) / at.max_steps**2)
    yield
    SCHEDULES._entries.pop("bell")


def solver(**values):
    return dataclasses.replace(Shared().SOLVER, BASE_LR=0.01, **values)


def rules(own=gate):
    names = [name for name, _ in Toy().named_parameters() if not name.startswith("frozen")]
    return {n: ParamRule(1.0, 0.05, schedule=own if n.startswith("out") else None) for n in names}


def state_of(policy_rules, seed=0, precision="fp32", **keys):
    torch.manual_seed(seed)
    model, policy = Toy(), TrainPolicy(policy_rules)
    apply_policy(model, policy)
    optimizer = build_optimizer(solver(**keys), param_groups(model, policy, 0.01), CPU)
    return TrainState(model, optimizer, Precision(precision, CPU))


class Watch(Callback):
    """Keeps weights, optimizer state and gradient norm after each step; may stop the run."""

    def __init__(self, stop=None):
        self.weights, self.tensors, self.norms, self.stop_at = [], [], [], stop

    def step(self, loop):
        self.weights.append(copy(loop.state.weights()))
        self.tensors.append(copy(loop.state.tensors()))
        self.norms.append(float(loop.grad_norm))
        if loop.step == self.stop_at:
            loop.stop.received = signal.SIGUSR1


def run(state, steps=STEPS, stop=None, **keys):
    watch = Watch(stop)
    loop = toy_loop(state, steps, callbacks=[watch])
    factor = functools.partial(lr_factor, solver(LR_SCHEDULER_NAME="constant", **keys), max_steps=steps)
    loop.settings = type(loop.settings)(**{**vars(loop.settings), "lr_factor": factor})
    loop.run()
    return watch


def of(tensors, part):
    return {name: tensor for name, tensor in tensors.items() if name.split("/")[-1].startswith(part)}


@pytest.mark.parametrize("optimizer", ["ADAMW", "ADAM", "SGD"])
def test_a_parameter_whose_own_schedule_is_at_zero_rests_with_its_momentum(optimizer):
    watch = run(state_of(rules(), OPTIMIZER=optimizer))
    for step in range(1, STEPS):
        weights = [of(watch.weights[s], "out") for s in (step - 1, step)]
        tensors = [of(watch.tensors[s], "out") for s in (step - 1, step)]
        assert tensors[0]
        assert equal(*weights) == equal(*tensors) == (step in RESTING), step
        assert not equal(*(of(watch.weights[s], "hidden") for s in (step - 1, step)))


def test_the_rest_of_the_network_trains_as_if_resting_parameters_were_frozen():
    asleep = Schedule("asleep", lambda solver, at: 0.0)
    resting, frozen = state_of(rules(asleep)), state_of({n: r for n, r in rules().items() if n.startswith("hidden")})
    watch, other = run(resting), run(frozen)
    assert equal(watch.weights[-1], other.weights[-1]) and watch.norms == other.norms
    assert watch.tensors[-1].keys() == other.tensors[-1].keys()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_step_in_which_everything_rests_changes_nothing(precision):
    everything = {name: ParamRule(1.0, 0.05, schedule=gate) for name in rules()}
    state = state_of(everything, precision=precision)
    watch = run(state)
    assert equal(watch.weights[1], watch.weights[4]) and not equal(watch.weights[4], watch.weights[5])
    assert watch.norms[2:5] == [0.0] * 3 and state.counters.step == STEPS and state.counters.skipped == 0


def test_the_schedule_of_the_run_at_zero_keeps_collecting_momentum():
    watch = run(state_of(rules(None)), WARMUP_FACTOR=0.0, WARMUP_ITERS=5, WARMUP_METHOD="constant")
    assert equal(watch.weights[0], watch.weights[1]) and not equal(watch.tensors[0], watch.tensors[1])


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_run_with_resting_parameters_continues_bit_for_bit(cut):
    whole, first, second = state_of(rules()), state_of(rules()), state_of(rules(), seed=7)
    expected = run(whole)
    run(first, stop=cut)
    assert first.counters.step == cut
    second.load(copy(first.weights()), copy(first.tensors()), first.scalars())
    run(second)
    assert equal(second.weights(), expected.weights[-1]) and equal(second.tensors(), expected.tensors[-1])


def test_groups_are_apart_by_schedule_and_need_its_factor():
    model, policy = Toy(), TrainPolicy(rules())
    apply_policy(model, policy)
    groups = param_groups(model, policy, 0.01)
    assert [(g["names"], g.get("schedule")) for g in groups] == [
        (["hidden.weight", "hidden.bias"], None),
        (["out.weight", "out.bias"], gate),
    ]
    assert all("schedule" not in group for group in param_groups(model, TrainPolicy(rules(None)), 0.01))
    optimizer = build_optimizer(solver(), groups, CPU)
    set_lr(optimizer, 0.5, lambda own: {gate: 0.25}[own])
    assert [group["lr"] for group in optimizer.param_groups] == [0.005, 0.0025]
    with pytest.raises(AssertionError, match="schedule of its own"):
        set_lr(optimizer, 0.5)


def test_a_rate_of_zero_lets_only_parameters_with_their_own_schedule_rest():
    state = state_of(rules())
    for parameter in state.trained.values():
        parameter.grad = torch.ones_like(parameter)
    set_lr(state.optimizer, 0.0, lambda own: 0.0)
    let_rest(state.optimizer)
    assert {name for name, p in state.trained.items() if p.grad is None} == {"out.weight", "out.bias"}


def test_the_table_shows_the_schedule_behind_the_rate(bell):
    model = Toy()
    rows = param_table(model, TrainPolicy(rules("bell")), 0.01).splitlines()
    cells = [re.split(r"\s{2,}", row.strip()) for row in rows]
    assert cells[0][5] == "learning rate"
    assert {row[0]: row[5] for row in cells[1:]} == {
        "frozen": "-",
        "hidden": "0.01",
        "out": "0.01 (bell)",
        "dropout": "-",
        "all": "0.01, 0.01 (bell)",
    }


def test_an_unknown_name_is_answered_with_the_known_ones(bell):
    with pytest.raises(ConfigError, match=r"unknown schedule 'bel', did you mean 'bell'"):
        param_groups(Toy(), TrainPolicy(rules("bel")), 0.01)


def test_schedules_stay_out_of_what_is_written_for_other_programs(tmp_path):
    state = state_of(rules())
    run(state)
    torch.save(state.optimizer.state_dict(), tmp_path / "optimizer.pth")
    written = torch.load(tmp_path / "optimizer.pth", weights_only=True)
    assert all("schedule" not in group for group in written["param_groups"])
    assert state.optimizer.param_groups[1]["schedule"] is gate


def test_the_shared_names_are_those_of_the_key():
    leaf = architectures()["seem"].leaves["SOLVER.LR_SCHEDULER_NAME"]
    assert set(leaf.choices) == set(SCHEDULES) and len(leaf.choices) == len(set(leaf.choices))


def test_an_architecture_adds_a_schedule_of_its_own_to_the_key(bell, monkeypatch):
    seem = architectures()["seem"]
    values = {**seem.tiny(), "SOLVER.LR_SCHEDULER_NAME": "bell"}
    with pytest.raises(ConfigError, match="LR_SCHEDULER_NAME"):
        load_mapping(values)
    monkeypatch.setattr(type(seem), "schedules", ("bell",))
    architectures.cache_clear()
    try:
        cfg = load_mapping(values).cfg
        assert "bell" not in architectures()["sam"].leaves["SOLVER.LR_SCHEDULER_NAME"].choices
    finally:
        architectures.cache_clear()
    assert [lr_factor(cfg.SOLVER, step, 4) for step in range(4)] == [0.0, 0.75, 1.0, 0.75]
    assert warmup_notice(cfg.SOLVER, 1) is None and cfg.SOLVER.WARMUP_ITERS > 1
