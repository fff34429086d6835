"""When evaluation happens during training, what counts as best, and what a cut-off evaluation leaves."""

import json

import pytest
import torch
from safetensors import safe_open

from segfoundry.trainer.run_folder.checkpoints import CheckpointStore, restore
from segfoundry.trainer.training.callbacks.checkpoint_callback import CheckpointCallback, crosses
from segfoundry.trainer.training.callbacks.evaluate_callback import EvaluateCallback, pick_metric
from segfoundry.trainer.training.loop import Callback
from segfoundry.utils.errors import ConfigError

from .....support.toy import copy, equal, toy_loop, toy_state


class Records(Callback):
    def __init__(self):
        self.found = []

    def record(self, loop, record):
        self.found.append(record)


def evaluation(folder, values, **options):
    """An evaluation callback whose metric follows the list ``values``; None breaks the evaluation off."""
    values = iter(values)

    def run():
        value = next(values)
        return None if value is None else {"set/panoptic/PQ": value, "set/semantic/mIoU": 100 - value}

    settings = {"every": 0, "every_epochs": 0.0, "steps_per_epoch": 2.0, "at_start": False, "metric": ""} | options
    return EvaluateCallback(
        {"set": run}, best=folder / "best" / "model.safetensors", about={"config": "A: 1"}, **settings
    )


def checkpoints(folder, **options):
    store = CheckpointStore(folder / "checkpoints", 9)
    settings = {"every": 2, "steps_per_epoch": 4.0, "config": "A: 1", "categories": []} | options
    return store, CheckpointCallback(store, **settings)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, [6]),
        ({"at_start": True}, [0, 6]),
        ({"every": 4}, [4, 6]),
        ({"every_epochs": 1.0}, [2, 4, 6]),
        ({"every_epochs": 1.0, "steps_per_epoch": 2.5}, [3, 5, 6]),
        ({"every_epochs": 0.5}, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_when_it_evaluates(tmp_path, options, steps):
    records = Records()
    toy_loop(toy_state(), 6, callbacks=[records, evaluation(tmp_path, range(20), **options)]).run()
    assert [r["step"] for r in records.found] == steps
    assert records.found[-1]["metrics"]["set/panoptic/PQ"] == len(steps) - 1


def test_best_weights_are_those_of_the_best_evaluation(tmp_path):
    state = toy_state()
    kept = {}

    class Keep(Callback):
        def step(self, loop):
            kept[loop.step] = copy(loop.state.weights())

    toy_loop(state, 4, callbacks=[Keep(), evaluation(tmp_path, [10, 30, 30, 20], every=1)]).run()
    assert state.counters.best == {"metric": "set/panoptic/PQ", "value": 30, "step": 2}
    with safe_open(tmp_path / "best" / "model.safetensors", framework="pt") as file:
        assert equal({n: file.get_tensor(n) for n in file.keys()}, kept[2])  # noqa: SIM118
        assert file.metadata()["config"] == "A: 1"
    assert json.loads((tmp_path / "best" / "meta.json").read_text())["value"] == 30


def test_a_named_metric_decides(tmp_path):
    state = toy_state()
    toy_loop(state, 3, callbacks=[evaluation(tmp_path, [10, 30, 5], every=1, metric="semantic/mIoU")]).run()
    assert state.counters.best["value"] == 95 and state.counters.best["step"] == 3


def test_of_clicks_the_fewest_are_the_best(tmp_path):
    state = toy_state()
    callback = evaluation(tmp_path, [], every=1)
    values = iter([4.0, 2.5, 3.0])
    callback.evaluations = {"set": lambda: {"set/interactive/noc@0.5": 1.0, "set/interactive/noc@0.85": next(values)}}
    toy_loop(state, 3, callbacks=[callback]).run()
    assert state.counters.best == {"metric": "set/interactive/noc@0.85", "value": 2.5, "step": 2}


def test_a_record_of_another_metric_does_not_count(tmp_path):
    state = toy_state()
    state.counters.best = {"metric": "set/semantic/mIoU", "value": 95.0, "step": 0}
    toy_loop(state, 1, callbacks=[evaluation(tmp_path, [30], metric="panoptic/PQ")]).run()
    assert state.counters.best == {"metric": "set/panoptic/PQ", "value": 30.0, "step": 1}


def test_averaged_weights_are_evaluated_and_saved_as_best(tmp_path):
    state = toy_state(ema=0.9)
    seen = []
    callback = evaluation(tmp_path, [])
    callback.evaluations = {"set": lambda: (seen.append(copy(state.weights())), {"set/panoptic/PQ": 1.0})[1]}
    toy_loop(state, 3, callbacks=[callback]).run()
    average = state.ema.tensors()
    assert all(torch.equal(seen[0][n], average[n]) for n in average)
    assert not any(torch.equal(state.weights()[n], average[n]) for n in average)
    with safe_open(tmp_path / "best" / "model.safetensors", framework="pt") as file:
        assert all(torch.equal(file.get_tensor(n), average[n]) for n in average)


def test_without_evaluation_sets_the_last_weights_are_the_best(tmp_path):
    state = toy_state()
    callback = evaluation(tmp_path, [], every=1)
    callback.evaluations = {}
    toy_loop(state, 3, callbacks=[callback]).run()
    assert state.counters.best == {"metric": None, "value": None, "step": 3}
    assert (tmp_path / "best" / "model.safetensors").is_file()


def test_an_evaluation_cut_off_by_a_signal_is_made_up_for_after_the_resume(tmp_path):
    state = toy_state()
    store, saver = checkpoints(tmp_path)
    callback = evaluation(tmp_path, [None], every=3)

    class Stop(Callback):
        def step(self, loop):
            if loop.step == 3:
                loop.stop.received = 15

    assert toy_loop(state, 6, callbacks=[Stop(), callback, saver]).run() == 15
    found = store.newest_good()
    assert found.step == 3 and found.meta["counters"]["evaluated"] == -1
    again, records = toy_state(seed=4), Records()
    restore(found, again)
    _, saver = checkpoints(tmp_path, resumed=store.newest_good())
    toy_loop(again, 6, callbacks=[records, evaluation(tmp_path, [5, 6], every=3), saver]).run()
    assert [r["step"] for r in records.found] == [3, 6]


def test_a_final_evaluation_that_is_made_up_for_is_saved(tmp_path):
    state = toy_state()
    store, saver = checkpoints(tmp_path)
    toy_loop(state, 2, callbacks=[evaluation(tmp_path, [None]), saver]).run()
    assert store.newest_good().meta["counters"]["evaluated"] == -1
    again = toy_state(seed=4)
    restore(store.newest_good(), again)
    _, saver = checkpoints(tmp_path, resumed=store.newest_good())
    toy_loop(again, 2, callbacks=[evaluation(tmp_path, [7]), saver]).run()
    assert store.newest_good().meta["counters"] | {"best": None} == vars(again.counters) | {"best": None}
    assert store.newest_good().meta["counters"]["evaluated"] == 2


def test_checkpoints_come_every_n_steps_and_at_the_end(tmp_path):
    store, saver = checkpoints(tmp_path)
    toy_loop(toy_state(), 5, callbacks=[saver]).run()
    assert [step for step, _ in store.steps()] == [5, 4, 2]
    store, saver = checkpoints(tmp_path / "epochs", every=0)
    toy_loop(toy_state(), 9, callbacks=[saver]).run()
    assert [step for step, _ in store.steps()] == [9, 8, 4]


def test_no_checkpoint_after_a_programming_error(tmp_path):
    store, saver = checkpoints(tmp_path)

    class Broken(Callback):
        def step(self, loop):
            if loop.step == 3:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        toy_loop(toy_state(), 5, callbacks=[Broken(), saver]).run()
    assert [step for step, _ in store.steps()] == [2]


def test_an_evaluation_that_fails_loses_no_step(tmp_path):
    store, saver = checkpoints(tmp_path)
    broken = evaluation(tmp_path, [10, 20], every=3, metric="mistyped")
    with pytest.raises(ConfigError, match="mistyped"):
        toy_loop(toy_state(), 5, callbacks=[broken, saver]).run()
    assert [step for step, _ in store.steps()] == [3, 2]


def test_crossing_of_periods():
    assert [s for s in range(1, 9) if crosses(s, 2.5)] == [3, 5, 8]
    assert [s for s in range(1, 5) if crosses(s, 0.4)] == [1, 2, 3, 4]
    assert not any(crosses(s, 0) for s in range(1, 9))


def test_metric_names():
    metrics = {"a/semantic/mIoU": 1.0, "a/panoptic/PQ": 2.0, "b/panoptic/PQ": 3.0}
    assert pick_metric("", metrics) == "a/panoptic/PQ"
    assert pick_metric("", {"a/semantic/mIoU": 1.0, "b/panoptic/PQ": 3.0}) == "a/semantic/mIoU"
    assert pick_metric("", {}) is None
    assert (
        pick_metric("b/panoptic/PQ", metrics) == "b/panoptic/PQ" and pick_metric("mIoU", metrics) == "a/semantic/mIoU"
    )
    with pytest.raises(ConfigError, match="several"):
        pick_metric("PQ", metrics)
    with pytest.raises(ConfigError, match="no metric.*Known"):
        pick_metric("AP", metrics)
