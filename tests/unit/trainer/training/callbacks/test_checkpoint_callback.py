"""When checkpoints are written, and the bare files for other programs beside them."""

import pytest
import torch

from segfoundry.modeling.layers.linear import Linear
from segfoundry.modeling.layers.lora import apply_lora
from segfoundry.trainer.run_folder.checkpoints import CheckpointStore
from segfoundry.trainer.training.callbacks.checkpoint_callback import CheckpointCallback
from segfoundry.trainer.training.callbacks.published_callback import PublishedCallback
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.errors import ConfigError
from segfoundry.utils.files import DiskError

from .....support.toy import copy, equal, toy_loop, toy_state

WEIGHTS, OPTIMIZER = "ckpts/ckpt_{step:07d}_b{batch}.pth", "ckpts/optimizer_{step:07d}_b{batch}.pth"


def published(folder, state, **options):
    settings = {"weights": WEIGHTS, "optimizer": OPTIMIZER, "every_epochs": 2.0, "steps_per_epoch": 1.0} | options
    return PublishedCallback(folder, state.model, batch=4, **settings)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, [2, 4, 6, 7]),
        ({"every_epochs": 1.5}, [3, 6, 7]),
        ({"every": 3}, [3, 6, 7]),
        ({"every": 3, "every_epochs": 2.0}, [3, 4, 6, 7]),
    ],
)
def test_when_checkpoints_are_written(tmp_path, options, steps):
    store = CheckpointStore(tmp_path, 9)
    settings = {"every": 0, "steps_per_epoch": 2.0, "config": "A: 1", "categories": []} | options
    toy_loop(toy_state(), 7, callbacks=[CheckpointCallback(store, **settings)]).run()
    assert [step for step, _ in reversed(store.steps())] == steps


def test_names_and_times_are_the_original_trainers(tmp_path):
    """Five epochs of one step, saved every two epochs."""
    state = toy_state()
    toy_loop(state, 5, callbacks=[published(tmp_path, state)]).run()
    names = [f"{kind}_{step:07d}_b4.pth" for kind in ("ckpt", "optimizer") for step in (2, 4, 5)]
    assert sorted(p.name for p in (tmp_path / "ckpts").iterdir()) == names


def test_the_files_hold_what_other_programs_expect(tmp_path):
    state = toy_state(optimizer="ADAM")
    toy_loop(state, 2, callbacks=[published(tmp_path, state)]).run()
    weights = torch.load(tmp_path / "ckpts/ckpt_0000002_b4.pth", weights_only=True)
    assert type(weights) is dict and equal(weights, copy(state.model.state_dict()))
    trained = [p for p in state.model.parameters() if p.requires_grad]
    other = torch.optim.Adam(trained, lr=1.0)
    other.load_state_dict(torch.load(tmp_path / "ckpts/optimizer_0000002_b4.pth", weights_only=True))
    assert torch.equal(other.state[trained[0]]["exp_avg"], state.optimizer.state[trained[0]]["exp_avg"])


def test_one_of_both_and_the_epoch_in_the_name(tmp_path):
    options = {"optimizer": "", "weights": "e{epoch}.pt", "every_epochs": 0.0, "steps_per_epoch": 2.0}
    state = toy_state()
    toy_loop(state, 4, callbacks=[published(tmp_path, state, **options)]).run()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e1.pt", "e2.pt"]


def test_what_a_full_disk_prevented_is_written_when_the_run_continues(tmp_path, monkeypatch):
    state = toy_state()
    with monkeypatch.context() as full, pytest.raises(DiskError, match="ckpt_0000002_b4.pth.*0 B free"):
        full.setattr("segfoundry.utils.files.free_bytes", lambda path: 0)
        toy_loop(state, 4, callbacks=[published(tmp_path, state)]).run()
    assert state.counters.step == 2 and not list(tmp_path.rglob("*.pth"))
    weights = copy(state.model.state_dict())
    toy_loop(state, 4, callbacks=[published(tmp_path, state)]).run()
    assert equal(torch.load(tmp_path / "ckpts/ckpt_0000002_b4.pth", weights_only=True), weights)
    assert len(list(tmp_path.rglob("*.pth"))) == 4


def test_low_rank_updates_are_refused_before_the_first_step(tmp_path):
    state = toy_state()
    state.model.hidden = Linear(4, 4)
    apply_lora(state.model, ["hidden"])
    with pytest.raises(ConfigError, match="CHECKPOINT.PUBLISHED.*low-rank updates.*hidden.lora_down"):
        published(tmp_path, state)
    published(tmp_path, state, weights="")


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("c_{iter}.pth", "'iter'"),
        ("c_{step:q}.pth", "expected a file name with the fields"),
        ("c_{step", "expected a file name with the fields"),
        ("c_{}.pth", "expected a file name with the fields"),
        ("c_{step.x}.pth", "expected a file name with the fields"),
        ("c_{step}.ckpt", "ends in .pth or .pt"),
        ("/c_{step}.pth", "below the run folder"),
        ("a/../../c_{step}.pth", "below the run folder"),
        ("c_{batch}.pth", "put {step} or {epoch}"),
        ("c.pth", "put {step} or {epoch}"),
    ],
)
@pytest.mark.parametrize("name", ["PUBLISHED", "PUBLISHED_OPTIMIZER"])
def test_wrong_patterns(name, pattern, problem):
    with pytest.raises(ConfigError, match=f"CHECKPOINT.{name} .*{problem}"):
        load_mapping({"MODEL.NAME": "sam", f"CHECKPOINT.{name}": pattern})
