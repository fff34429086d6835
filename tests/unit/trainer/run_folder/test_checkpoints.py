"""Checkpoints: complete or absent, verified, falling back, never more than the wanted number."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from segfoundry.trainer.run_folder import checkpoints as module
from segfoundry.trainer.run_folder.checkpoints import CheckpointStore, open_checkpoint, restore, write_weights
from segfoundry.utils.errors import CheckpointError
from segfoundry.utils.files import DiskError

from ....support.toy import copy, equal, toy_loop, toy_state


def saved(folder, *steps, keep=5, **options):
    store = CheckpointStore(folder, keep)
    state = toy_state(ema=0.9)
    for step in steps:
        toy_loop(state, step).run()
        store.save(state, config="SEED: 0\n", categories=[{"id": 1, "name": "cup"}], **options)
    return store, state


def test_state_returns_bit_for_bit(tmp_path):
    store, state = saved(tmp_path, 3)
    state.counters.best = {"metric": "x/PQ", "value": 12.5, "step": 3}
    store.save(state, config="SEED: 0\n", categories=[])
    other = toy_state(seed=5, ema=0.9)
    found = store.newest_good()
    restore(found, other)
    assert equal(other.weights(), state.weights()) and equal(other.tensors(), state.tensors())
    assert other.counters == state.counters and found.meta["config"] == "SEED: 0\n" and found.step == 3


def test_weights_carry_configuration_and_categories(tmp_path):
    _, state = saved(tmp_path, 1)
    with safe_open(tmp_path / "step-00000001" / "model.safetensors", framework="pt") as file:
        assert file.metadata()["config"] == "SEED: 0\n"
        assert json.loads(file.metadata()["categories"]) == [{"id": 1, "name": "cup"}]


def test_only_the_latest_are_kept(tmp_path):
    store, _ = saved(tmp_path, 1, 2, 3, 4, keep=2)
    assert sorted(os.listdir(tmp_path)) == ["step-00000003", "step-00000004"]


def test_saving_the_same_step_again_replaces_it(tmp_path):
    store, state = saved(tmp_path, 2)
    state.counters.evaluated = 2
    store.save(state, config="", categories=[])
    assert os.listdir(tmp_path) == ["step-00000002"]
    assert store.newest_good().meta["counters"]["evaluated"] == 2


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "meta.json"])
def test_any_damaged_byte_is_found_and_the_checkpoint_before_is_used(tmp_path, name, caplog):
    store, _ = saved(tmp_path, 1, 2)
    path = tmp_path / "step-00000002" / name
    good = path.read_bytes()
    rng = random.Random(name)
    for _ in range(60):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        with pytest.raises(CheckpointError, match=name):
            open_checkpoint(path.parent)
    for bad in (good[:-1], good + b"x", good[: len(good) // 2], b""):
        path.write_bytes(bad)
        with pytest.raises(CheckpointError, match=name):
            open_checkpoint(path.parent)
    path.unlink()
    with caplog.at_level("WARNING", logger="segfoundry"):
        assert store.newest_good().step == 1
    assert name in caplog.text and "going back" in caplog.text
    store.set_damaged_aside(store.newest_good())
    assert sorted(os.listdir(tmp_path)) == ["damaged-step-00000002", "step-00000001"]


def test_nothing_good_is_none(tmp_path):
    assert CheckpointStore(tmp_path / "none").newest_good() is None
    (tmp_path / "step-00000005").mkdir()
    assert CheckpointStore(tmp_path).newest_good() is None


def _system_calls():
    """Names of the functions after each of which a process may die."""
    return [(os, "replace"), (os, "fsync"), (os, "open"), (shutil, "rmtree"), (Path, "mkdir")]


def _save_and_die(store, state, after):
    """Forked: saves, and dies without any clean-up after that many system calls; returns True if it died."""
    child = os.fork()
    if child == 0:
        left = [after]

        def dying(function):
            def call(*args, **kwargs):
                result = function(*args, **kwargs)
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)
                return result

            return call

        for owner, name in _system_calls():
            setattr(owner, name, dying(getattr(owner, name)))
        store.save(state, config="", categories=[])
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("same_step", [False, True])
def test_death_after_any_system_call_of_a_save_leaves_a_good_checkpoint(tmp_path, same_step):
    for after in range(40):
        folder = tmp_path / str(after)
        store, state = saved(folder, 1, keep=1)
        old = copy(state.weights())
        if not same_step:
            toy_loop(state, 2).run()
        died = _save_and_die(store, state, after)
        store.clean()
        found = store.newest_good()
        assert found is not None, f"nothing readable after {after} calls"
        other = toy_state(seed=8, ema=0.9)
        restore(found, other)
        assert equal(other.weights(), old if found.step == 1 else state.weights())
        assert all(path.name.startswith("step-") for path in folder.iterdir())
        if not died:
            assert found.step == state.counters.step and after > 5
            return
    pytest.fail("the save never ended")


def test_too_little_space_is_said_before_anything_is_written(tmp_path, monkeypatch):
    store, state = saved(tmp_path, 1)
    monkeypatch.setattr("segfoundry.utils.files.free_bytes", lambda path: 100)
    toy_loop(state, 2).run()
    with pytest.raises(DiskError, match=r"step-00000002.*needed.*100 B free"):
        store.save(state, config="", categories=[])
    assert os.listdir(tmp_path) == ["step-00000001"]


@pytest.mark.parametrize(("code", "text"), [(27, "file would be larger"), (28, "disk is full"), (122, "quota")])
def test_a_disk_that_fills_up_while_writing_loses_nothing(tmp_path, monkeypatch, code, text):
    store, state = saved(tmp_path, 1)

    def full(tensors, path, metadata=None):
        Path(path).write_bytes(b"stump")
        raise module.SafetensorError(f"Error while serializing: I/O error: no space (os error {code})")

    monkeypatch.setattr(module, "save_file", full)
    toy_loop(state, 2).run()
    with pytest.raises(DiskError, match=rf"step-00000002.*{text}.*needed.*free"):
        store.save(state, config="", categories=[])
    assert os.listdir(tmp_path) == ["step-00000001"] and store.newest_good().step == 1


def test_a_checkpoint_of_another_model_is_refused_by_name(tmp_path):
    store, _ = saved(tmp_path, 1)
    other = toy_state(ema=0.9)
    other.model.out = torch.nn.Linear(4, 2)
    with pytest.raises(CheckpointError, match=r"(?s)step-00000001.*out\.weight"):
        restore(store.newest_good(), other)


def test_tied_weights_are_saved_under_both_names(tmp_path):
    weight = torch.randn(3, 3)
    write_weights(tmp_path / "w" / "model.safetensors", {"a": weight, "b": weight, "c": weight.t()}, {"step": 4})
    with safe_open(tmp_path / "w" / "model.safetensors", framework="pt") as file:
        assert torch.equal(file.get_tensor("a"), weight) and torch.equal(file.get_tensor("b"), weight)
        assert torch.equal(file.get_tensor("c"), weight.t())
        assert file.metadata()["step"] == "4"
    assert json.loads((tmp_path / "w" / "meta.json").read_text())["step"] == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format=None), "has format None; this version reads 1"),
        (lambda m: m.update(counters=3), "counters: 3, expected "),
        (lambda m: m["counters"].update(step="3"), "counters.step: '3', expected a whole number"),
        (lambda m: m["counters"].update(step=True), "counters.step: True, expected a whole number"),
        (lambda m: m["counters"].update(more=1), "expected best, evaluated"),
        (lambda m: m.update(config=None), "expected `config` as text"),
        (lambda m: m.update(files=[]), "files: [], expected a mapping"),
        (lambda m: m["files"].update({"../x": {"bytes": 1, "crc32": ""}}), "'../x'"),
        (lambda m: m["files"].update({"model.safetensors": 5}), "'model.safetensors': 5"),
    ],
)  # fmt: skip
def test_meta_that_no_version_wrote(tmp_path, change, message):
    store, _ = saved(tmp_path, 3)
    meta = store.newest_good().meta
    change(meta)
    del meta["crc32_of_this_file"]
    module._write_meta(tmp_path / "step-00000003" / "meta.json", meta)
    with pytest.raises(CheckpointError) as found:
        open_checkpoint(tmp_path / "step-00000003")
    assert message in str(found.value)
    assert store.newest_good() is None


def test_state_of_another_version(tmp_path):
    store, _ = saved(tmp_path, 3)
    found = store.newest_good()
    del found.meta["loss_scale"]
    with pytest.raises(CheckpointError, match="do not fit this version .KeyError: 'loss_scale'"):
        restore(found, toy_state(ema=0.9))
