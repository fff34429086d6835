"""Frozen parts that come from a file of their own: left out of checkpoints, read again, and never another file's."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from segfoundry.modeling.base import PartFile
from segfoundry.modeling.build_model import build_model
from segfoundry.modeling.layers.adapters import Adapter
from segfoundry.modeling.layers.lora import add_lora
from segfoundry.modeling.seem.model import Seem
from segfoundry.modeling.weights import part_files
from segfoundry.modeling.weights.load_state import load_state
from segfoundry.modeling.weights.part_files import check_frozen, missing_parts, read_parts
from segfoundry.trainer.evaluation.start import evaluate_plan
from segfoundry.trainer.machine.precision import Precision
from segfoundry.trainer.plan import plan_evaluation, plan_training
from segfoundry.trainer.prediction.predictor import load_predictor
from segfoundry.trainer.run_folder.checkpoints import CheckpointStore, restore
from segfoundry.trainer.training.build_state import build_state
from segfoundry.trainer.training.optimizer import build_optimizer
from segfoundry.trainer.training.start import train
from segfoundry.trainer.training.state import TrainState
from segfoundry.trainer.weights.convert_weights import convert_weights
from segfoundry.utils.config.engine import load_config
from segfoundry.utils.config.sections import Shared
from segfoundry.utils.errors import CheckpointError

from ....support.tiny_run import write_config
from ....support.toy import CPU, Toy, copy, equal, toy_loop, toy_state

KEY = "TOY.BACKBONE"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Backbone(nn.Linear):
    """A part whose published file has other names."""

    def key_map(self, name):
        return name.removeprefix("trunk.")


class Extra(Adapter):
    """An adapter with all that a module can have."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(2))
        self.register_buffer("seen", torch.zeros(1))
        self.dropout = nn.Dropout(0.5)


class Based(Toy):
    """A Toy whose frozen part comes from a file; an adapter inside that part is its own."""

    def __init__(self, file):
        super().__init__()
        self.file = file
        self.frozen = Backbone(3, 4)
        self.frozen.extra = Extra()

    def reloadable(self):
        return {"frozen.": PartFile(self.file, KEY)}


class Normed(Based):
    """Its frozen part has batch statistics, and a low-rank update beside the adapter."""

    def __init__(self, file):
        super().__init__(file)
        self.frozen = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.frozen[1].extra = Extra()
        add_lora(self.frozen[0], rank=1, alpha=1.0, dropout=0.5)


@pytest.fixture
def backbone(tmp_path):
    torch.manual_seed(11)
    path = tmp_path / "backbone.safetensors"
    save_file({"trunk.weight": torch.randn(4, 3), "trunk.bias": torch.randn(4), "trunk.head": torch.zeros(1)}, path)
    return path


@pytest.fixture
def normed(tmp_path):
    torch.manual_seed(12)
    path = tmp_path / "normed.safetensors"
    save_file(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).state_dict(), path)
    return path


def based_state(file, seed=0, kind=Based):
    torch.manual_seed(seed)
    model = kind(file)
    parts = read_parts(model, {}, "the configuration")
    model.load_state_dict(parts.tensors, strict=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith("frozen"))
    groups = [{"params": [p for p in model.parameters() if p.requires_grad], "lr": 0.01, "weight_decay": 0.01}]
    return TrainState(model, build_optimizer(Shared().SOLVER, groups, CPU), Precision("fp32", CPU), parts=parts)


def save(state, folder):
    store = CheckpointStore(folder)
    return store, store.save(state, config="", categories=[])


def test_a_checkpoint_holds_what_the_file_does_not_and_names_the_file(backbone, tmp_path):
    state = based_state(backbone)
    _, path = save(state, tmp_path / "checkpoints")
    written = load_file(path / "model.safetensors")
    assert written.keys() == state.model.state_dict().keys() - {"frozen.weight", "frozen.bias"}
    expected = {"frozen.": {"file": str(backbone), "sha256": digest(backbone)}}
    assert json.loads((path / "meta.json").read_text())["reloadable"] == expected
    with safe_open(path / "model.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["reloadable"]) == expected
    assert torch.equal(state.model.frozen.weight, load_file(backbone)["trunk.weight"])


def test_a_run_continues_from_it_bit_for_bit(backbone, tmp_path):
    whole, first, second = based_state(backbone), based_state(backbone), based_state(backbone, seed=5)
    toy_loop(whole, 6).run()
    loop = toy_loop(first, 6)
    loop.settings = type(loop.settings)(**{**vars(loop.settings), "max_steps": 2})
    loop.run()
    store, _ = save(first, tmp_path / "checkpoints")
    restore(store.newest_good(), second)
    toy_loop(second, 6).run()
    assert equal(copy(second.model.state_dict()), copy(whole.model.state_dict()))
    assert equal(second.tensors(), whole.tensors())


def test_a_changed_file_is_refused_with_both_digests(backbone, tmp_path):
    store, _ = save(based_state(backbone), tmp_path / "checkpoints")
    before = digest(backbone)
    save_file({"trunk.weight": torch.zeros(4, 3), "trunk.bias": torch.zeros(4)}, backbone)
    with pytest.raises(CheckpointError) as error:
        restore(store.newest_good(), based_state(backbone))
    for text in ("step-00000000", "'frozen.'", str(backbone), before, digest(backbone), "bring back the file"):
        assert text in str(error.value)


def test_a_missing_file_is_named_with_the_way_out(backbone):
    backbone.unlink()
    with pytest.raises(
        CheckpointError, match=rf"'frozen\.' come from {backbone} \({KEY}\).*no such file.*set {KEY} to"
    ):
        based_state(backbone)


def test_a_moved_file_serves_as_well(backbone, tmp_path):
    store, _ = save(based_state(backbone), tmp_path / "checkpoints")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    shutil.move(backbone, folder / "model.safetensors")
    state = based_state(folder)
    restore(store.newest_good(), state)
    assert state.sources["frozen."]["file"] == str(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"trunk.weight": torch.zeros(4, 5)}, r"frozen\.weight has the shape \[4, 5\], not \[4, 3\]"),
        ({"other": torch.zeros(1)}, "no name is theirs"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(backbone, tensors, problem):
    save_file(tensors, backbone)
    with pytest.raises(
        CheckpointError, match=rf"{KEY} {backbone} does not fit the weights below 'frozen\.': {problem}"
    ):
        based_state(backbone)


@pytest.mark.parametrize(
    ("left_out", "problem"),
    [
        (["0.bias"], r"lacks 1 of the 7 tensors below 'frozen\.': frozen\.0\.bias; "),
        (["1.running_mean"], r"lacks 1 of the 7 tensors below 'frozen\.': frozen\.1\.running_mean; "),
        (
            ["0.bias", "1.weight", "1.bias", "1.running_var"],
            r"lacks 4 .*: frozen\.0\.bias, frozen\.1\.weight, frozen\.1\.bias, \.\.\.; ",
        ),
    ],
)
def test_a_file_without_the_whole_part_is_refused(normed, left_out, problem):
    whole = load_file(normed)
    based_state(normed, kind=Normed)  # neither the adapter nor the low-rank update is in the whole part's file
    save_file({name: tensor for name, tensor in whole.items() if name not in left_out}, normed)
    with pytest.raises(CheckpointError, match=rf"^{KEY} {normed} {problem}.*set {KEY} to a file that holds the whole"):
        based_state(normed, kind=Normed)


def test_batch_statistics_of_a_part_stay_those_of_its_file(normed, tmp_path):
    whole, first, second = (based_state(normed, seed, kind=Normed) for seed in (0, 0, 5))
    toy_loop(whole, 6).run()
    loop = toy_loop(first, 6)
    loop.settings = type(loop.settings)(**{**vars(loop.settings), "max_steps": 2})
    loop.run()
    store, _ = save(first, tmp_path / "checkpoints")
    restore(store.newest_good(), second)
    toy_loop(second, 6).run()
    for state in (whole, first, second):
        found = state.model.frozen.state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in load_file(normed).items())
    assert equal(copy(second.model.state_dict()), copy(whole.model.state_dict()))
    assert equal(second.tensors(), whole.tensors())


def test_what_is_inserted_into_a_part_follows_the_mode(normed):
    model = Normed(normed)
    trains = {name for name, module in model.train().named_modules() if module.training}
    assert {"", "out", "frozen.1.extra.dropout", "frozen.0.lora_dropout"} <= trains
    assert trains.isdisjoint({"frozen", "frozen.0", "frozen.1"})
    assert not any(module.training for module in model.eval().modules())


def test_a_file_of_two_parts_is_digested_once(normed, monkeypatch):
    class Halves(Normed):
        def reloadable(self):
            return {"frozen.": PartFile(self.file, KEY), "hidden.": PartFile(self.file, KEY)}

    save_file({**load_file(normed), "weight": torch.ones(4, 4), "bias": torch.ones(4)}, normed)
    read = []
    monkeypatch.setattr(part_files, "sha256", lambda file: read.append(file) or digest(file))
    found = read_parts(Halves(normed), {}, "")
    assert read == [normed]
    assert [source["sha256"] for source in found.sources.values()] == [digest(normed)] * 2


def test_a_checkpoint_that_lacks_a_part_is_no_checkpoint_of_a_network_without_it(backbone, tmp_path):
    store, _ = save(based_state(backbone), tmp_path / "checkpoints")
    with pytest.raises(
        CheckpointError, match=r"leaves out the weights below 'frozen\.'.*does not read them from a file"
    ):
        restore(store.newest_good(), toy_state())


def test_what_trains_must_not_be_left_out(backbone):
    parts = read_parts(Based(backbone), {}, "")
    check_frozen(parts, ["out.weight", "frozen.extra.gain"])
    with pytest.raises(ValueError, match=r"reloadable\(\) names parameters that train: frozen\.bias"):
        check_frozen(parts, ["out.weight", "frozen.bias"])


def test_networks_without_such_parts_keep_their_format(tmp_path):
    state = toy_state()
    _, path = save(state, tmp_path)
    assert load_file(path / "model.safetensors").keys() == state.model.state_dict().keys()
    assert "reloadable" not in json.loads((path / "meta.json").read_text())
    with safe_open(path / "model.safetensors", framework="pt") as file:
        assert file.metadata().keys() == {"format", "config", "categories", "step"}


@pytest.fixture
def seem(tmp_path, monkeypatch):
    """A configuration of SEEM whose backbone comes from a file; returns (configuration, that file)."""
    keys = {"SOLVER__FIX_PARAM": {"backbone": True}, "SOLVER__MAX_ITERS": 4, "SOLVER__LR_SCHEDULER_NAME": "constant"}
    config = write_config(tmp_path, "seem", **keys)
    file = tmp_path / "backbone.safetensors"
    torch.manual_seed(3)
    plan = plan_training(load_config([config]))
    save_file(build_model(plan.cfg, plan.categories).backbone.state_dict(), file)
    monkeypatch.setattr(Seem, "reloadable", lambda self: {"backbone.": PartFile(file, "MODEL.BACKBONE.FILE")})
    return config, file


def run_of(config, name, *overrides):
    plan = plan_training(load_config([config], ["CHECKPOINT.EVERY", "2", "EXP_NAME", name, *overrides]))
    assert train(plan, name=name) == 0
    return config.parent / "runs" / name


def answers(weights):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return load_predictor(str(weights)).instances(image)


def figures_of(path):
    return {kind: value for kind, value in json.loads(path.read_text()).items() if kind in ("panoptic", "semantic")}


def test_runs_evaluations_predictions_and_conversions_read_the_file_again(seem, tmp_path, monkeypatch):
    config, file = seem
    whole = run_of(config, "whole")
    run_of(config, "cut", "SOLVER.MAX_ITERS", "2")
    cut = run_of(config, "cut")
    for name in ("model.safetensors", "state.safetensors"):
        one, other = (load_file(run / "checkpoints" / "step-00000004" / name) for run in (cut, whole))
        assert equal(one, other) and not any(n.startswith("backbone.") for n in one)
    best = json.loads((whole / "weights" / "best" / "meta.json").read_text())
    assert best["reloadable"] == {"backbone.": {"file": str(file), "sha256": digest(file)}}
    assert not any(n.startswith("backbone.") for n in load_file(whole / "weights" / "best" / "model.safetensors"))

    weights = str(whole / "checkpoints" / "step-00000004")
    plan = plan_evaluation(load_config([config]))
    assert evaluate_plan(plan, name="whole", weights=weights, output=str(tmp_path / "again")) == 0
    [during], [after] = ([*folder.rglob("metrics.json")] for folder in (whole / "eval", tmp_path / "again"))
    assert figures_of(during) == figures_of(after) and figures_of(after)

    asked = answers(weights)
    convert_weights(weights, tmp_path / "complete.safetensors")
    monkeypatch.undo()
    alone = answers(tmp_path / "complete.safetensors")
    np.testing.assert_array_equal(alone.masks, asked.masks)
    np.testing.assert_array_equal(alone.scores, asked.scores)
    assert len(asked.scores)


def test_weights_without_their_part_are_refused_everywhere(seem, tmp_path):
    config, file = seem
    run = run_of(config, "run", "SOLVER.MAX_ITERS", "2", "DATASETS.TEST", "[]")
    convert_weights(str(run), tmp_path / "complete.safetensors")
    before = digest(file)
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file)
    plan = plan_evaluation(load_config([config]))
    fine_tuning = ["WEIGHT", "True", "RESUME_FROM", str(run), "EXP_NAME", "next"]
    attempts = {
        "predict": lambda: load_predictor(str(run)),
        "convert": lambda: convert_weights(str(run), tmp_path / "out.safetensors"),
        "evaluate": lambda: evaluate_plan(plan, name="run", weights=str(run), output=str(tmp_path / "eval")),
        "resume": lambda: run_of(config, "run", "DATASETS.TEST", "[]"),
        "fine-tune": lambda: build_state(plan_training(load_config([config], fine_tuning)), CPU, load=True),
    }
    for attempt in attempts.values():
        with pytest.raises(CheckpointError, match=rf"{before}, but {file} has {digest(file)}"):
            attempt()
    file.unlink()
    for attempt in attempts.values():
        with pytest.raises(
            CheckpointError, match=rf"come from {file} \(MODEL\.BACKBONE\.FILE\).*set MODEL\.BACKBONE\.F"
        ):
            attempt()
    assert len(answers(tmp_path / "complete.safetensors").masks)  # a whole file needs no other


def test_a_bare_file_that_lacks_the_part_is_completed(backbone):
    state = copy(based_state(backbone).model.state_dict())
    bare = {name: tensor for name, tensor in state.items() if not name.startswith("frozen.")}
    model = Based(backbone)
    found = missing_parts(model, bare, {}, "bare.pt")
    assert found.tensors.keys() == {"frozen.weight", "frozen.bias"}
    report = load_state(model, bare, source="bare.pt", parts=found.tensors)
    assert report.missing == ["frozen.extra.gain", "frozen.extra.seen"] and torch.equal(
        model.frozen.weight, state["frozen.weight"]
    )
    backbone.unlink()
    assert missing_parts(model, state, {}, "whole.pt").tensors == {}


def test_a_file_of_another_network_is_not_taken_for_ours_because_of_the_part(backbone):
    model = Based(backbone)
    parts = read_parts(model, {}, "")
    with pytest.raises(CheckpointError, match="another architecture"):
        load_state(model, {"layer.weight": torch.zeros(1)}, source="foreign.pt", parts=parts.tensors)
