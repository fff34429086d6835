"""The run folder: who may write it, what continues, what is refused."""

import fcntl
import json
import os
import subprocess
import sys

import pytest

from segfoundry.trainer.run_folder.metrics_log import truncate_records
from segfoundry.trainer.run_folder.run_folder import RunFolder, run_weights
from segfoundry.utils.config.dump import dump
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.errors import CheckpointError, ConfigError, UserError

from ....support.toy import toy_loop, toy_state


def resolved(**values):
    return load_mapping({"MODEL.NAME": "seem_model_v1", **{k.replace("__", "."): v for k, v in values.items()}})


def opened(path, resume="auto", **values):
    folder = RunFolder(path)
    config = resolved(**values)
    try:
        return folder.open(config, resume, dump(config))
    finally:
        folder.close()


def with_checkpoints(path, *steps, **values):
    opened(path, **values)
    state = toy_state()
    store = RunFolder(path, keep=9).store
    for step in steps:
        toy_loop(state, step).run()
        store.save(state, config=dump(resolved(**values)), categories=[])
    return store


def test_fresh_folder_gets_the_configuration_and_has_nothing_to_continue(tmp_path):
    assert opened(tmp_path / "a" / "run", SEED=5) is None
    assert "SEED: 5" in (tmp_path / "a" / "run" / "config.yaml").read_text()


def test_newest_checkpoint_is_found(tmp_path):
    with_checkpoints(tmp_path, 2, 4)
    assert opened(tmp_path).step == 4


def test_never_refuses_a_folder_that_holds_a_run_and_changes_nothing(tmp_path):
    with_checkpoints(tmp_path, 2)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UserError, match="already holds a run.*EXP_NAME"):
        opened(tmp_path, "never")
    assert sorted(os.listdir(tmp_path)) == before
    assert opened(tmp_path / "new", "never") is None


def test_another_configuration_is_refused_with_the_difference(tmp_path):
    with_checkpoints(tmp_path, 2)
    before = (tmp_path / "config.yaml").read_text()
    with pytest.raises(ConfigError, match="SOLVER.BASE_LR: there 0.0001, now 0.5") as error:
        opened(tmp_path, SOLVER__BASE_LR=0.5, LOG_EVERY=3)
    assert "LOG_EVERY" not in str(error.value)
    with pytest.raises(ConfigError, match="RESUME_FROM: there '', now 'x.pt'"):
        opened(tmp_path, WEIGHT=True, RESUME_FROM="x.pt")
    assert (tmp_path / "config.yaml").read_text() == before


def test_a_damaged_configuration_says_what_to_do(tmp_path):
    with_checkpoints(tmp_path, 2)
    (tmp_path / "config.yaml").write_text("A: [")
    with pytest.raises(ConfigError, match="Restore config.yaml, or choose another EXP_NAME"):
        opened(tmp_path)


def test_what_does_not_shape_the_result_may_change(tmp_path):
    with_checkpoints(tmp_path, 2)
    free = {"SOLVER__MAX_ITERS": 99, "LOG_EVERY": 3, "DEVICE": "cpu", "TRAIN__BATCH_SIZE_PER_GPU": 1, "WANDB": True}
    free |= {"INPUT__ON_CORRUPT": "skip", "TRAIN__BEST_METRIC": "AP", "MODEL__BACKBONE__FOCAL__USE_CHECKPOINT": True}
    assert opened(tmp_path, **free, DATALOADER__NUM_WORKERS=0, SAVE_DIR="x").step == 2


def test_a_start_that_failed_before_its_first_step_binds_nobody(tmp_path):
    opened(tmp_path, WEIGHT=True, RESUME_FROM="mistyped.pt")
    assert opened(tmp_path, "never", WEIGHT=True, RESUME_FROM="right.pt") is None
    assert "right.pt" in (tmp_path / "config.yaml").read_text()
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(ConfigError, match="right.pt"):
        opened(tmp_path, WEIGHT=True, RESUME_FROM="other.pt")


def test_a_damaged_checkpoint_is_set_aside(tmp_path):
    store = with_checkpoints(tmp_path, 2, 4)
    (store.folder / "step-00000004" / "state.safetensors").write_bytes(b"")
    assert opened(tmp_path).step == 2
    assert sorted(os.listdir(store.folder)) == ["damaged-step-00000004", "step-00000002"]


def test_leftovers_of_an_interrupted_save_go(tmp_path):
    store = with_checkpoints(tmp_path, 2)
    (store.folder / ".step-00000004.tmp-123").mkdir()
    opened(tmp_path)
    assert os.listdir(store.folder) == ["step-00000002"]


def test_start_from_another_runs_folder_or_checkpoint(tmp_path):
    store = with_checkpoints(tmp_path / "a", 2, 4)
    assert opened(tmp_path / "b", str(tmp_path / "a")).step == 4
    assert opened(tmp_path / "c", str(store.folder / "step-00000002")).step == 2
    with pytest.raises(ConfigError, match="SEED"):
        opened(tmp_path / "d", str(tmp_path / "a"), SEED=9)
    with pytest.raises(CheckpointError, match="no intact checkpoint"):
        opened(tmp_path / "e", str(tmp_path))


def test_a_run_with_checkpoints_of_its_own_continues_from_them(tmp_path):
    with_checkpoints(tmp_path / "a", 4)
    with_checkpoints(tmp_path / "b", 6)
    assert opened(tmp_path / "b", str(tmp_path / "a")).step == 6


def test_going_back_inside_a_run_is_refused(tmp_path):
    store = with_checkpoints(tmp_path, 2, 4)
    with pytest.raises(UserError, match="newer checkpoint.*EXP_NAME"):
        opened(tmp_path, str(store.folder / "step-00000002"))
    assert opened(tmp_path, str(store.folder / "step-00000004")).step == 4


def test_records_after_the_checkpoint_are_cut_off(tmp_path):
    with_checkpoints(tmp_path, 2)
    lines = [json.dumps({"kind": "train", "step": s}) for s in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"kind": "tr')
    opened(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == "\n".join(lines[:2]) + "\n"


def test_truncation_passes_over_lines_that_are_no_records(tmp_path):
    path = tmp_path / "m.jsonl"
    truncate_records(path, 5)
    assert not path.exists()
    path.write_text('{"step": 1}\nnonsense\n[1]\n{"kind": "x"}\n{"step": 5}\n{"step": 6}\n')
    truncate_records(path, 5)
    assert path.read_text() == '{"step": 1}\n{"step": 5}\n'


def test_a_folder_in_use_is_refused_and_free_again_when_its_process_dies(tmp_path):
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from segfoundry.trainer.run_folder.run_folder import RunFolder\n"
        "folder = RunFolder(Path(sys.argv[1]))\nfolder.path.mkdir(exist_ok=True)\nfolder._take_lock()\n"
        "print('locked', flush=True)\ntime.sleep(900)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match=f"in use by another process .number {holder.pid}"):
            opened(tmp_path)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert opened(tmp_path) is None


def test_a_file_system_without_locks_only_warns(tmp_path, monkeypatch, caplog):
    def unsupported(*args):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", unsupported)
    with caplog.at_level("WARNING", logger="segfoundry"):
        assert opened(tmp_path) is None
    assert "no locks" in caplog.text


def test_a_path_that_cannot_be_a_folder_names_the_keys(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="SAVE_DIR"):
        opened(tmp_path / "file" / "run")


def test_weights_of_a_folder(tmp_path):
    store = with_checkpoints(tmp_path, 2, 4)
    assert run_weights(tmp_path) == store.folder / "step-00000004" / "model.safetensors"
    assert run_weights(store.folder / "step-00000002").parent.name == "step-00000002"
    best = RunFolder(tmp_path).best
    best.parent.mkdir(parents=True)
    best.touch()
    assert run_weights(tmp_path) == best
    with pytest.raises(CheckpointError, match="no folder"):
        run_weights(tmp_path / "missing")


@pytest.mark.parametrize(
    "place", ["default/module_training_states.pt", "model_state_dict_best.pt", "model.safetensors"]
)
def test_weights_of_other_trainers_folders(tmp_path, place):
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.touch()
    assert run_weights(tmp_path) == file


def test_a_folder_without_weights_names_what_was_looked_for(tmp_path):
    with pytest.raises(CheckpointError, match=r"looked for.*model_state_dict_best\.pt"):
        run_weights(tmp_path)


def test_a_name_that_no_folder_can_have(tmp_path):
    (tmp_path / "file").write_text("")
    for name, problem in (("a\0b", "null byte"), ("file/run", "Not a directory"), ("x" * 300, "name too long")):
        with pytest.raises(UserError, match=f"cannot create the run folder .*{problem}; set SAVE_DIR or EXP_NAME"):
            opened(tmp_path / name)
