"""TensorBoard and Weights & Biases listen only; the console line."""

import sys
import types

import pytest

from segfoundry.trainer.training.callbacks.log_callbacks import LogCallback, headline, train_line
from segfoundry.trainer.training.callbacks.tracker_callbacks import TensorBoardCallback, WandbCallback, flat

from .....support.toy import equal, toy_loop, toy_state


class Wandb(types.ModuleType):
    """Stands in for the package: remembers calls, fails where it is told to."""

    def __init__(self, fail=()):
        super().__init__("wandb")
        self.calls, self.fail = [], fail

    def _do(self, name, /, **values):
        self.calls.append((name, values))
        if name in self.fail or (name == "init" and values["mode"] in self.fail):
            raise ConnectionError("no route to host")
        return self

    def Settings(self, **values):  # noqa: N802 - the package's name
        return values

    def init(self, **values):
        return self._do("init", **values)

    def log(self, values):
        self._do("log", values=values)

    def finish(self):
        self._do("finish")


def train(tmp_path, callback, steps=2):
    state = toy_state()
    toy_loop(state, steps, callbacks=[LogCallback(1, 1, 2.0), callback]).run()
    plain = toy_state()
    toy_loop(plain, steps).run()
    assert equal(state.weights(), plain.weights())
    return state


@pytest.fixture
def keys(monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_KEY", "WANDB_MODE"):
        monkeypatch.setenv(name, "")  # so that it is removed again if the code under test sets it
        monkeypatch.delenv(name)
    return monkeypatch


def test_without_a_key_the_run_is_offline_and_keeps_its_id(tmp_path, keys, caplog):
    ids = []
    for _ in range(2):
        keys.setitem(sys.modules, "wandb", fake := Wandb())
        with caplog.at_level("WARNING", logger="segfoundry"):
            train(tmp_path, WandbCallback(tmp_path, "p", {"A": 1}))
        names = [name for name, _ in fake.calls]
        assert names == ["init", "log", "log", "finish"]
        assert fake.calls[0][1]["mode"] == "offline" and fake.calls[0][1]["project"] == "p"
        assert fake.calls[1][1]["values"]["step"] == 1 and "train/losses/loss_fit" in fake.calls[1][1]["values"]
        ids.append(fake.calls[0][1]["id"])
    assert ids[0] == ids[1] and "no key" in caplog.text


@pytest.mark.parametrize("name", ["WANDB_KEY", "WANDB_API_KEY"])
def test_either_name_of_the_key_works(tmp_path, keys, name):
    keys.setenv(name, "secret")
    keys.setitem(sys.modules, "wandb", fake := Wandb())
    train(tmp_path, WandbCallback(tmp_path, "p", {}))
    assert fake.calls[0][1]["mode"] == "online"


def test_without_network_it_goes_offline(tmp_path, keys, caplog):
    keys.setenv("WANDB_API_KEY", "secret")
    keys.setitem(sys.modules, "wandb", fake := Wandb(fail=("online",)))
    with caplog.at_level("WARNING", logger="segfoundry"):
        train(tmp_path, WandbCallback(tmp_path, "p", {}))
    assert [c[1].get("mode") for c in fake.calls[:2]] == ["online", "offline"] and "offline" in caplog.text


@pytest.mark.parametrize("place", ["init", "log", "finish"])
def test_no_failure_of_a_tracker_reaches_the_run(tmp_path, keys, caplog, place):
    keys.setitem(sys.modules, "wandb", fake := Wandb(fail=(place,)))
    with caplog.at_level("WARNING", logger="segfoundry"):
        train(tmp_path, WandbCallback(tmp_path, "p", {}))
    assert "switched off: ConnectionError" in caplog.text
    assert [n for n, _ in fake.calls].count(place) == 1


def test_a_missing_package_is_a_warning(tmp_path, keys, caplog):
    keys.setitem(sys.modules, "wandb", None)
    with caplog.at_level("WARNING", logger="segfoundry"):
        train(tmp_path, WandbCallback(tmp_path, "p", {}))
    assert "switched off" in caplog.text


def test_tensorboard_writes_event_files(tmp_path):
    pytest.importorskip("tensorboard")
    train(tmp_path, TensorBoardCallback(tmp_path))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("train/loss")] == [1, 2]


def test_names_of_figures():
    record = {"kind": "eval", "step": 3, "dataset": "s", "seconds": 1.0, "metrics": {"s/panoptic/PQ": 5}}
    assert dict(flat(record)) == {"eval/s/panoptic/PQ": 5.0}
    record = {"kind": "train", "step": 3, "lr": 0.1, "losses": {"a": 1.0}, "text": "no number"}
    assert dict(flat(record)) == {"train/lr": 0.1, "train/losses/a": 1.0}


def test_train_line():
    record = {
        "step": 20, "epoch": 1.25, "loss": 2.5, "loss_mean": 2.75, "lr": 1e-4, "images_per_second": 12.34,
        "data_wait": 0.021, "memory": 1_200_000_000, "eta_seconds": 90061, "skipped": 1,
    }  # fmt: skip
    line = train_line(record, 100)
    for part in ("step 20/100", "loss 2.5000", "12.34 img/s", "data 2%", "mem 1.2 GB", "eta 1d 01:01:01", "skipped 1"):
        assert part in line


def test_headline_prefers_the_usual_names():
    assert headline({"a/p/PQ_th": 1.0, "a/p/PQ": 2.0, "a/s/mIoU": 3.0}) == {"a/p/PQ": 2.0, "a/s/mIoU": 3.0}
    assert headline({f"x{i}": 1.0 for i in range(9)}) == {f"x{i}": 1.0 for i in range(6)}
