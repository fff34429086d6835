"""The verb ``train``: from the command line to the run folder."""

import json
import os
import signal
import subprocess
import time

import pytest
import yaml

from segfoundry.trainer.cli.main import main

from ..support.tiny_run import command, records, run, write_config


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path, SOLVER__MAX_ITERS=4)


def train(config, *words):
    return main(["train", "--conf_files", str(config), *words])


def test_a_run_leaves_everything_and_a_second_start_says_that_it_is_finished(config, tmp_path, capsys):
    assert train(config) == 0
    folder = tmp_path / "runs" / "seem"
    assert {p.name for p in folder.iterdir()} >= {
        "config.yaml",
        "environment.json",
        "log.txt",
        "metrics.jsonl",
        "checkpoints",
        "weights",
        "eval",
    }
    assert yaml.safe_load((folder / "config.yaml").read_text())["SOLVER"]["MAX_ITERS"] == 4
    metrics = json.loads((folder / "eval" / "tiny" / "metrics.json").read_text())
    assert metrics["units"] == {
        "panoptic": {"images": "images", "per_class/*/[TF][PN]": "segments"},
        "instance": {"counts": "numbers"},
        "semantic": {"images": "images", "counts": "pixels"},
    }
    assert metrics["unit"] == "percent" and set(metrics) >= {"panoptic", "semantic", "instance"}
    assert "PQ" in (folder / "eval" / "tiny" / "panoptic_per_class.txt").read_text()
    assert sorted(records(folder, "train")) == [1, 2, 3, 4] and sorted(records(folder, "eval")) == [4]
    text = capsys.readouterr().err
    for part in ("learning rate", "4 steps of 2 images", "loss terms", "133", "finished: 4 steps"):
        assert part in text

    before = (folder / "metrics.jsonl").read_text()
    assert train(config) == 0
    assert "is finished (4 steps)" in capsys.readouterr().err
    assert (folder / "metrics.jsonl").read_text() == before

    assert train(config, "--overrides", "SOLVER.MAX_ITERS", "6") == 0
    assert sorted(records(folder, "train")) == [1, 2, 3, 4, 5, 6]
    assert "was to have 4 steps and is to have 6. SOLVER.EXTEND restart" in capsys.readouterr().err

    assert train(config, "--overrides", "SOLVER.MAX_ITERS", "5") == 0
    assert "6 steps (2.00 epochs) are done, more than the 5 of SOLVER.MAX_ITERS 5" in capsys.readouterr().err

    assert train(config, "--overrides", "SOLVER.MAX_ITERS", "8", "SOLVER.EXTEND", "continue") == 0
    assert "SOLVER.EXTEND continue: the schedule of 6 steps goes on" in capsys.readouterr().err
    rates = {step: record["lr"] for step, record in records(folder, "train").items()}
    assert rates[4] < rates[5] and rates[6] == rates[7] == rates[8]

    assert train(config, "--overrides", "SOLVER.BASE_LR", "0.5") == 2
    assert "SOLVER.BASE_LR: there 0.001, now 0.5" in capsys.readouterr().err
    assert train(config, "--resume", "never") == 2
    assert "already holds a run" in capsys.readouterr().err


def test_the_saved_configuration_continues_the_same_run(config, tmp_path, capsys):
    unread = "warning: RESUME_FROM none.pt (--overrides) is NOT READ, because WEIGHT is False"
    assert train(config, "--overrides", "RESUME_FROM", "none.pt") == 0
    assert unread in capsys.readouterr().err
    assert train(tmp_path / "runs" / "seem" / "config.yaml") == 0
    text = capsys.readouterr().err
    assert "is finished" in text and unread not in text
    assert os.listdir(tmp_path / "runs") == ["seem"]


def test_dry_run_reports_and_writes_nothing(config, tmp_path, capsys):
    assert train(config, "--dry-run", "--overrides", "RESUME_FROM", "none.pt") == 0
    text = capsys.readouterr().err
    for part in (
        "learning rate",
        "losses of the first step",
        "estimated memory",
        "estimated time",
        "nothing was written",
        "warning: RESUME_FROM none.pt (--overrides) is NOT READ",
    ):
        assert part in text
    assert not (tmp_path / "runs").exists()


def test_names_that_read_the_same_are_told_before_the_first_step(config, tmp_path, capsys):
    (record,) = (tmp_path / "data").glob("*.yaml")
    for file in (record, *(tmp_path / "data").glob("*/*.json")):
        file.write_text(file.read_text().replace("ball", "Sky"))
    assert train(config, "--dry-run") == 0
    text = capsys.readouterr().err
    assert "the categories 'sky' and 'Sky' as the same text" in text[: text.index("losses of the first step")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("DATASETS.TRAIN", "[none.yaml]"), "none.yaml"),
        (("DATASETS.TEST", "[none.yaml]"), "none.yaml"),
        (("MODEL.ENCODER.NUM_CLASSES", "7"), "has 3 categories"),
        (("WEIGHT", "True", "RESUME_FROM", "none.pt"), "none.pt"),
        (("RESUME", "True", "RESUME_FROM", "none"), "cannot resume from none"),
        (("DEVICE", "tpu"), "DEVICE tpu"),
        (("SOLVER.MAX_NUM_EPOCHS", "0", "SOLVER.MAX_ITERS", "0"), "MAX_NUM_EPOCHS"),
        (("TRAIN.BATCH_SIZE_TOTAL", "0"), "TRAIN.BATCH_SIZE_TOTAL"),
        (("TRAIN.BEST_METRIC", "PQX", "SOLVER.MAX_ITERS", "1"), "TRAIN.BEST_METRIC 'PQX'"),
    ],
)
def test_bad_input_is_one_message_and_code_2(config, capsys, words, message):
    assert train(config, "--overrides", *words) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and message in error[0]


def test_a_truncated_training_image_is_named(config, tmp_path, capsys):
    for image in (tmp_path / "data" / "train" / "images").iterdir():
        image.write_bytes(image.read_bytes()[:400])
    assert train(config) == 2
    assert "train/images/0" in capsys.readouterr().err


def test_weights_of_one_run_start_another(config, tmp_path, capsys):
    assert train(config) == 0
    weights = tmp_path / "runs" / "seem" / "weights" / "best" / "model.safetensors"
    assert train(config, "--overrides", "EXP_NAME", "b", "WEIGHT", "True", "RESUME_FROM", str(weights)) == 0
    assert f"from {weights}" in capsys.readouterr().err
    first, second = (records(tmp_path / "runs" / name, "train")[1]["loss"] for name in ("seem", "b"))
    assert second < first


@pytest.mark.parametrize(
    "options",
    [
        ("TRAIN.EMA", "0.9"),
        ("PRECISION", "bf16"),
        ("GRADIENT_ACCUMULATE_STEP", "2", "TRAIN.BATCH_SIZE_PER_GPU", "1"),
        ("DETERMINISTIC", "True"),
    ],
)
def test_options_of_the_trainer_run(config, tmp_path, options):
    import torch

    try:
        assert train(config, "--overrides", "SOLVER.MAX_ITERS", "2", *options) == 0
    finally:
        torch.use_deterministic_algorithms(False)
    assert sorted(records(tmp_path / "runs" / "seem", "train")) == [1, 2]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGUSR1, 138, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_the_same_command_continues(config, tmp_path, number, code):
    words = (
        "train",
        "--conf_files",
        config,
        "--overrides",
        "SOLVER.MAX_ITERS",
        "1000000",
        "CHECKPOINT.EVERY",
        "1000",
        "EXP_NAME",
        "s",
    )
    folder = tmp_path / "runs" / "s"
    with subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True) as child:
        try:
            deadline = time.monotonic() + 600
            while not (folder / "metrics.jsonl").exists():
                assert child.poll() is None and time.monotonic() < deadline
                time.sleep(0.01)
            child.send_signal(number)
            _, error = child.communicate(timeout=300)
        finally:
            child.kill()
    assert child.returncode == code, error
    assert "the same command continues" in error
    (saved,) = (folder / "checkpoints").iterdir()
    step = int(saved.name.split("-")[1])
    assert step == max(records(folder, "train"))
    done = run(*words[:5], str(step + 1), *words[6:])
    assert done.returncode == 0 and f"at step {step}" in done.stderr
    assert sorted(records(folder, "train")) == list(range(1, step + 2))


@pytest.mark.slow
def test_local_processes_with_num_gpus(config, tmp_path):
    done = run("train", "--conf_files", config, "--num-gpus", "2", "--overrides", "SOLVER.MAX_ITERS", "1")
    assert done.returncode == 0, done.stderr
    assert "process 0 of 2" in done.stderr and done.stderr.count("step 1/1") == 1
    assert json.loads((tmp_path / "runs" / "seem" / "environment.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_an_error_in_several_processes_has_code_2(config):
    done = run("train", "--conf_files", config, "--num-gpus", "2", "--overrides", "TRAIN.BATCH_SIZE_TOTAL", "3")
    assert done.returncode == 2 and "do not divide" in done.stderr
