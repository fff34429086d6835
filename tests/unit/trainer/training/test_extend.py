"""What the learning rate does in a run that gets another length."""

import dataclasses
import signal
import types

import pytest

from segfoundry.trainer.run_folder.checkpoints import Checkpoint
from segfoundry.trainer.training.extend import extension_notice, schedule_steps
from segfoundry.trainer.training.loop import Callback
from segfoundry.trainer.training.lr_schedule import LrCourse, lr_factor
from segfoundry.trainer.training.optimizer import build_optimizer
from segfoundry.trainer.training.prepare_run import Length, PreparedRun, steps_before
from segfoundry.utils.config.architectures import architectures
from segfoundry.utils.config.dump import dump
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.config.sections import Shared
from segfoundry.utils.schedules import SCHEDULES, Schedule

from ....support.toy import copy, equal, toy_loop, toy_state

FIRST, SECOND = 10, 16
falling = Schedule("falling", lambda solver, at: 1 - at.step / at.max_steps)
rising = Schedule("rising", lambda solver, at: at.step / 10, endless=True)


def solver(**values):
    keys = {"BASE_LR": 1e-3, "WARMUP_ITERS": 4, "WARMUP_FACTOR": 0.1, "GAMMA": 0.5, "DECAY_INTERVAL": 3, **values}
    return dataclasses.replace(Shared().SOLVER, **keys)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_continue_keeps_the_schedule_of_the_first_length_for_each_schedule(name):
    section = solver(LR_SCHEDULER_NAME=name, STEPS=[0.5, 13])
    first, longer = LrCourse(section, FIRST), LrCourse(section, schedule_steps(section, SECOND, FIRST))
    continued = LrCourse(section, schedule_steps(dataclasses.replace(section, EXTEND="continue"), SECOND, FIRST))
    assert (longer.steps, continued.steps) == (SECOND, FIRST)
    assert [continued(step) for step in range(FIRST)] == [first(step) for step in range(FIRST)]
    beyond = [continued(step) for step in range(FIRST, SECOND)]
    goes_on = {"constant": [1.0] * 6, "WarmupMultiStepLR": [0.5] * 3 + [0.25] * 3}
    goes_on["WarmupStepExp"] = [lr_factor(section, step, SECOND) for step in range(FIRST, SECOND)]
    assert beyond == goes_on.get(name, [first(FIRST - 1)] * 6) and min(beyond) > 0
    assert [longer(step) for step in range(SECOND)] == [lr_factor(section, step, SECOND) for step in range(SECOND)]


def test_schedules_of_single_parameters_follow_the_same_rule():
    course = LrCourse(solver(EXTEND="continue"), FIRST)
    assert [course(step, schedule=falling) for step in (8, 9, 10, 15)] == pytest.approx([0.2, 0.1, 0.1, 0.1])
    assert [course(step, schedule=rising) for step in (9, 10, 15)] == [0.9, 1.0, 1.5]


def notice(extend, before=FIRST, steps=SECOND, done=FIRST, own=(), **keys):
    keys = {"LR_SCHEDULER_NAME": "WarmupCosineLR", **keys}
    return extension_notice(solver(EXTEND=extend, **keys), 1, before, steps, done, own)


def test_the_notice_says_the_last_and_the_next_rate():
    text, jumps = notice("restart")
    assert jumps and "was to have 10 steps and is to have 16. SOLVER.EXTEND restart: the schedule is computed" in text
    assert "WarmupCosineLR 2.45e-05 in step 10, 0.000309 in the next. With SOLVER.EXTEND continue: 2.45e-05" in text
    text, jumps = notice("continue", own=(falling,))
    assert not jumps and "WarmupCosineLR 2.45e-05 in step 10, 2.45e-05 in the next; falling 0.0001 in step 10" in text
    assert "With SOLVER.EXTEND restart: 0.000309, 0.000375" in text and "change little" not in text
    assert "below 1% of SOLVER.BASE_LR 0.001" in notice("continue", before=100, steps=200, done=100)[0]


def test_a_rate_that_is_the_same_either_way_is_no_jump():
    assert notice("restart", LR_SCHEDULER_NAME="constant")[1] is False
    assert notice("restart", LR_SCHEDULER_NAME="constant", own=(falling,))[1] is True
    # a run that was interrupted, and gets another length before its end
    assert notice("restart", done=5)[1] is True and "in step 5" in notice("continue", done=5)[0]


@pytest.mark.parametrize("values", [{"steps": FIRST}, {"done": 0}, {"steps": 8}])
def test_nothing_is_said_without_another_length_or_a_further_step(values):
    assert notice("restart", **values) is None


class _StopAt(Callback):
    def __init__(self, step):
        self.at = step

    def step(self, loop):
        if loop.step == self.at:
            loop.stop.received = signal.SIGUSR1


def _train(state, steps, schedule_length, stop=0):
    """Trains a toy with the run's schedule and one of its own; the schedule's length travels with the state."""
    state.counters.schedule_steps = schedule_length
    loop = toy_loop(state, steps, callbacks=[_StopAt(stop)])
    course = LrCourse(solver(LR_SCHEDULER_NAME="WarmupPolyLR", BASE_LR=0.01), schedule_length)
    loop.settings = dataclasses.replace(loop.settings, lr_factor=course)
    loop.run()
    return state


def _state(seed=0):
    state = toy_state(seed=seed)
    groups = [{"params": [p], "lr": 0.01, "weight_decay": 0.0} for p in state.trained.values()]
    groups[0]["schedule"] = falling
    device = next(iter(state.trained.values())).device
    state.optimizer = build_optimizer(solver(), groups, device)
    return state


@pytest.mark.parametrize("cut", [4, 12])
def test_a_run_that_was_made_longer_continues_bit_for_bit(cut):
    whole, first, second = _state(), _state(), _state(seed=5)
    _train(whole, SECOND, FIRST)
    _train(first, FIRST if cut <= FIRST else SECOND, FIRST, stop=cut)
    assert first.counters.step == cut
    second.load(copy(first.weights()), copy(first.tensors()), first.scalars())
    _train(second, SECOND, second.counters.schedule_steps)
    assert equal(second.weights(), whole.weights()) and equal(second.tensors(), whole.tensors())


def checkpoint(tmp_path, step, **counters):
    keys = {"SOLVER.MAX_ITERS": 0, "SOLVER.MAX_NUM_EPOCHS": 4}
    text = dump(load_mapping({**architectures()["seem"].tiny(), **keys}))
    return Checkpoint(tmp_path, {"counters": {"step": step, "evaluated": step, **counters}, "config": text})


def test_the_length_before_is_that_of_the_checkpoint(tmp_path):
    assert steps_before(checkpoint(tmp_path, 10, schedule_steps=FIRST), 2.5) == FIRST
    # checkpoints without the counter follow their configuration: 4 epochs of 2.5 steps
    assert steps_before(checkpoint(tmp_path, 10), 2.5) == 10


def prepared(tmp_path, done, asked, **keys):
    plan = types.SimpleNamespace(cfg=types.SimpleNamespace(SOLVER=solver(**keys)), test=[])
    folder = types.SimpleNamespace(path="runs/x")
    return PreparedRun(plan, folder, checkpoint(tmp_path, done), Length(asked, 2.5, 10), FIRST)


def test_a_run_that_is_done_says_how_many_steps_there_are(tmp_path):
    run = prepared(tmp_path, 10, 4, MAX_ITERS=4)
    assert run.finished and run.schedule_steps == FIRST
    assert "10 steps (4.00 epochs) are done, more than the 4 of SOLVER.MAX_ITERS 4" in run.finished_text()
    run = prepared(tmp_path, 10, 5, MAX_NUM_EPOCHS=2)
    assert "more than the 5 of SOLVER.MAX_NUM_EPOCHS 2" in run.finished_text()
    run = prepared(tmp_path, 10, 10, MAX_ITERS=10)
    assert run.finished_text() == "runs/x is finished (10 steps); raise SOLVER.MAX_ITERS (now 10) to go on"


@pytest.mark.parametrize(("extend", "length"), [("restart", SECOND), ("continue", FIRST)])
def test_the_key_decides_the_length_of_the_schedule(tmp_path, extend, length):
    run = prepared(tmp_path, 10, SECOND, EXTEND=extend, MAX_ITERS=SECOND)
    assert not run.finished and run.schedule_steps == length
