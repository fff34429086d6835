"""A new architecture is a folder, a pipeline and a task: it trains, resumes, is measured and used, without any edit."""

import json

import pytest
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from segfoundry.modeling.build_model import build_model
from segfoundry.trainer.cli.main import main
from segfoundry.utils.config.architectures import architectures
from segfoundry.utils.config.engine import load_config

from ..support.third_architecture import mounted, write_architecture, write_features
from ..support.tiny_data import write_dataset
from ..support.toy import equal


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("third")
    write_dataset(folder / "data")
    write_features(folder / "features.safetensors")
    with mounted(write_architecture(folder / "more")):
        yield folder


def configuration(folder, name, **values):
    """Writes the configuration of a run of six steps; returns the file."""
    keys = {
        "MODEL": {"NAME": "counter"},
        "COUNTER": {"FEATURES": str(folder / "features.safetensors")},
        "DATASETS": {"TRAIN": [str(folder / "data" / "tiny.yaml")], "TEST": [str(folder / "data" / "tiny.yaml")]},
        "SOLVER": {"LR_SCHEDULER_NAME": "half_wave", "BASE_LR": 0.05, "MAX_ITERS": 6, "WEIGHT_DECAY": 0.0},
        "TRAIN": {"BATCH_SIZE_TOTAL": 2, "EVAL_EVERY": 3, "EVAL_EVERY_EPOCHS": 0},
        "TEST": {"EVALUATORS": ["count"], "BATCH_SIZE_TOTAL": 2},
        "CHECKPOINT": {"EVERY": 2, "KEEP": 9},
        "DATALOADER": {"NUM_WORKERS": 0},
        "SAVE_DIR": str(folder / "runs"),
        "EXP_NAME": name,
        "DEVICE": "cpu",
        "TENSORBOARD": False,
        "LOG_EVERY": 1,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(keys))
    return path


def train(folder, name, *words):
    assert main(["train", "--conf_files", str(configuration(folder, name)), *words]) == 0
    return folder / "runs" / name


@pytest.fixture(scope="module")
def run(home):
    return train(home, "whole")


def test_it_trains_with_its_own_notice_schedule_and_rest(home, run):
    log = (run / "log.txt").read_text()
    assert "note: things are counted on images of 16 pixels" in log and "note: tiny is counted" in log
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rates = {r["step"]: r for r in records if r["kind"] == "train"}
    assert len(rates) == 6 and all("loss_count" in json.dumps(r) for r in rates.values())
    early = load_file(run / "checkpoints" / "step-00000002" / "model.safetensors")
    late = load_file(run / "checkpoints" / "step-00000004" / "model.safetensors")
    first = load_file(train(home, "one", "--overrides", "SOLVER.MAX_ITERS", "1") / "weights/best/model.safetensors")
    assert (early["last.weight"] == first["last.weight"]).all(), "the last layer rests for two steps, decay included"
    assert all((early[name] != late[name]).any() for name in ("last.weight", "hidden.weight"))


def test_frozen_features_stay_in_their_file(home, run):
    for name in ("checkpoints/step-00000006", "weights/best"):
        with safe_open(run / name / "model.safetensors", framework="pt") as file:
            assert not [tensor for tensor in file.keys() if tensor.startswith("features.")]  # noqa: SIM118
        assert str(home / "features.safetensors") in (run / name / "meta.json").read_text()


def test_a_resumed_run_is_the_same_to_the_bit(home, run):
    part = train(home, "part", "--overrides", "SOLVER.MAX_ITERS", "4")
    train(home, "part", "--overrides", "SOLVER.MAX_ITERS", "6")
    for file in ("model", "state"):
        name = f"checkpoints/step-00000006/{file}.safetensors"
        assert equal(load_file(part / name), load_file(run / name))


def test_it_is_measured_and_the_smallest_error_decides(home, run, capsys):
    assert main(["evaluate", "--weights", str(run), "--output", str(home / "measured")]) == 0
    metrics = json.loads((home / "measured/tiny/metrics.json").read_text())
    assert metrics["count"]["images"] == 3 and 0 <= metrics["count"]["mae"] < 5
    best = json.loads((run / "weights/best/meta.json").read_text())
    assert best["metric"] == "tiny/count/mae" and best["value"] == pytest.approx(metrics["count"]["mae"])
    evaluated = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert best["value"] == min(r["metrics"]["tiny/count/mae"] for r in evaluated if r["kind"] == "eval")
    assert "mae" in (run / "report/index.html").read_text()


def test_it_predicts(home, run, capsys):
    images = home / "data/val/images"
    assert main(["predict", "--weights", str(run), "--input", str(images), "--output", str(home / "out")]) == 0
    counts = json.loads((home / "out/counts.json").read_text())
    assert sorted(counts) == ["001", "002", "003"] and len(list((home / "out/overlay").glob("*.jpg"))) == 3
    assert (
        main(
            [
                "predict",
                "--weights",
                str(run),
                "--input",
                str(images),
                "--output",
                str(home / "no"),
                "--tasks",
                "panoptic",
            ]
        )
        == 2
    )
    assert "counter" in (error := capsys.readouterr().err) and "gives no panoptic result; it offers count" in error


def test_other_features_are_refused(home, run, capsys):
    write_features(home / "features.safetensors", seed=1)
    try:
        assert main(["evaluate", "--weights", str(run), "--output", str(home / "other")]) == 2
        assert "features.safetensors" in capsys.readouterr().err
    finally:
        write_features(home / "features.safetensors")


def test_features_without_a_file_name_their_key(home, capsys):
    empty = ["--overrides", "COUNTER.FEATURES", ""]
    assert main(["train", "--conf_files", str(configuration(home, "empty")), *empty]) == 2
    assert "come from a file, and COUNTER.FEATURES names none" in capsys.readouterr().err


def test_the_file_of_a_reloadable_part_is_never_switched_off(home, monkeypatch):
    cfg = load_config([configuration(home, "off")]).typed
    monkeypatch.setattr(type(architectures()["counter"]), "part_weights_off", {"COUNTER.FEATURES": ""})
    for part_weights in (True, False):
        with pytest.raises(
            RuntimeError, match=r"'counter': COUNTER\.FEATURES names .* take it out of part_weights_off"
        ):
            build_model(cfg, [], part_weights=part_weights)


def test_its_keys_are_explained_and_checked(home, capsys):
    assert main(["config", "--conf_files", str(configuration(home, "keys")), "--explain", "COUNTER.SIDE"]) == 0
    assert "Side of the images" in capsys.readouterr().out
    file = str(configuration(home, "keys"))
    assert main(["config", "--conf_files", file, "--overrides", "COUNTER.SIDES", "8"]) == 2
    assert "did you mean COUNTER.SIDE" in capsys.readouterr().err
    assert main(["config", "--conf_files", file, "--overrides", "SAM.TASK", "dlo"]) == 2
    assert "belongs to the architecture 'sam'" in capsys.readouterr().err
