"""Foreground from the command line and from Python: prediction and evaluation, with an untrained network."""

import csv
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from segfoundry.modeling.build_model import build_model
from segfoundry.modeling.sam.config import tiny
from segfoundry.trainer.cli.main import main
from segfoundry.trainer.prediction.predictor import load_predictor
from segfoundry.trainer.run_folder.checkpoints import write_weights
from segfoundry.utils.config.dump import dump
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.image_io import read_image, read_label
from segfoundry.utils.structures.category import Category
from segfoundry.utils.video import read_video, write_video

from ....support.cable_data import write_cables

CATEGORIES = [Category(1, "foreground", True, (220, 20, 60))]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_cables(tmp_path_factory.mktemp("cables"), count=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("run")
    values = {**tiny(), "SAM.TASK": "dlo", "SAM.DLO.INPUT.STANDARD_SIZE": [36, 64], "DEVICE": "cpu"}
    resolved = load_mapping({**values, "SAM.DLO.TEST": {"data_dir": str(data)}})
    text = dump(resolved)
    (folder / "config.yaml").write_text(text)
    about = {"config": text, "categories": [vars(c) for c in CATEGORIES]}
    state = build_model(resolved.cfg, CATEGORIES).state_dict()
    write_weights(folder / "weights" / "best" / "model.safetensors", state, about)
    return folder


def predict(run, source, out, *words):
    return main(["predict", "--weights", str(run), "--input", str(source), "--output", str(out), *words])


def test_masks_probabilities_and_overlays_are_written(run, data, tmp_path):
    assert predict(run, data / "imgs", tmp_path / "out", "--probability") == 0
    predictor = load_predictor(run)
    for number in range(3):
        mask = read_label(tmp_path / "out" / "foreground" / f"c{number}.png")
        grey = read_label(tmp_path / "out" / "probability" / f"c{number}.png")
        assert mask.shape == (36, 64) and set(np.unique(mask)) <= {0, 255}
        assert (grey[mask > 0] >= 127).all() and (grey[mask == 0] <= 128).all()
        found = predictor.foreground(data / "imgs" / f"c{number}.png")
        np.testing.assert_array_equal(found.mask, mask > 0)
        assert read_image(tmp_path / "out" / "overlay" / f"c{number}.jpg").shape == (36, 64, 3)


@pytest.fixture
def bare(run, tmp_path):
    """The run's weights and its decoder's as bare files, and a configuration that names an absent base file."""
    state = load_file(run / "weights" / "best" / "model.safetensors")
    torch.save(state, tmp_path / "whole.pth")
    decoder = {name: tensor for name, tensor in state.items() if name.startswith("mask_decoder.")}
    torch.save(decoder, tmp_path / "decoder.pth")
    config = tmp_path / "config.yaml"
    config.write_text((run / "config.yaml").read_text() + "\n")
    return tmp_path, ["--conf_files", str(config), "--overrides", "SAM.CHECKPOINT", str(tmp_path / "base.pth")]


def test_a_bare_file_of_the_whole_network_needs_no_base_file(run, data, bare, capsys):
    folder, words = bare
    assert predict(folder / "whole.pth", data / "imgs", folder / "out", *words) == 0
    assert predict(run, data / "imgs", folder / "expected") == 0
    for file in (folder / "expected" / "foreground").iterdir():
        np.testing.assert_array_equal(read_label(folder / "out" / "foreground" / file.name), read_label(file))
    assert main(["evaluate", "--weights", str(folder / "whole.pth"), "--output", str(folder / "eval"), *words]) == 0
    start = [
        "WEIGHT",
        "True",
        "RESUME_FROM",
        str(folder / "whole.pth"),
        "SAVE_DIR",
        str(folder),
        "SOLVER.MAX_ITERS",
        "1",
    ]
    assert main(["train", *words, *start, "SAM.DLO.TRAIN", f"[{{data_dir: {data}}}]"]) == 0
    capsys.readouterr()
    for command in (["predict", "--input", str(data / "imgs"), "--output", str(folder / "no")], ["evaluate"]):
        assert main([*command, "--weights", str(folder / "decoder.pth"), *words]) == 2
        assert "base.pth" in capsys.readouterr().err


def test_frames_of_a_video(run, data, tmp_path):
    frames = [read_image(data / "imgs" / f"c{number}.png") for number in range(3)]
    write_video(tmp_path / "clip.mp4", iter(frames), 10)
    assert predict(run, tmp_path / "clip.mp4", tmp_path / "out") == 0
    masks = sorted((tmp_path / "out" / "foreground" / "clip").iterdir())
    assert [m.name for m in masks] == ["000001.png", "000002.png", "000003.png"]
    assert len(list(read_video(tmp_path / "out" / "overlay" / "clip.mp4"))) == 3
    assert not (tmp_path / "out" / "probability").exists()


def test_probability_needs_foreground(run, data, tmp_path, capsys):
    assert predict(run, data / "imgs", tmp_path / "out", "--tasks", "everything", "--probability") == 2
    assert "--probability is about foreground" in capsys.readouterr().err


def test_evaluation_files_agree_with_scoring_the_predictions(run, data, tmp_path):
    assert main(["evaluate", "--weights", str(run), "--output", str(tmp_path / "eval")]) == 0
    found = next((tmp_path / "eval").rglob("metrics.json"))
    metrics = json.loads(found.read_text())["foreground"]
    assert 0 <= metrics["dice"] <= 100 and metrics["loss"] > 0 and metrics["images"] == 3
    assert len(list(csv.DictReader((found.parent / "foreground_images.csv").open()))) == 3
    assert len(list((found.parent / "pictures").iterdir())) == 3
    assert "dice" in (found.parent / "foreground.txt").read_text()
    words = ["--gt_folder", str(data / "masks"), "--pred_folder", str(found.parent / "foreground")]
    assert main(["score", "foreground", *words, "--output", str(tmp_path / "scores.json")]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert 100 * scores["dice"] == pytest.approx(metrics["dice"])


def test_evaluating_something_else_is_one_clear_line(run, capsys, tmp_path):
    words = ["evaluate", "--weights", str(run), "--output", str(tmp_path / "eval")]
    assert main([*words, "--overrides", "TEST.EVALUATORS", "[panoptic]"]) == 2
    assert "nothing to evaluate" in capsys.readouterr().err


def test_other_data_go_on_top_of_the_configuration_that_weights_carry(run, tmp_path, capsys):
    other = write_cables(tmp_path / "other", count=2, seed=1)
    (tmp_path / "data.yaml").write_text(f"dataset:\n  test: {{data_dir: {other}}}\n")
    words = ["evaluate", "--weights", str(run), "--conf_files", str(tmp_path / "data.yaml")]
    assert main([*words, "--output", str(tmp_path / "eval")]) == 0
    assert json.loads((tmp_path / "eval" / "other" / "metrics.json").read_text())["foreground"]["images"] == 2
    assert main(["evaluate", "--conf_files", str(tmp_path / "data.yaml")]) == 2
    assert "nothing names a network" in capsys.readouterr().err


def test_names_of_categories_are_refused(run, data, tmp_path, capsys):
    assert predict(run, data / "imgs", tmp_path / "out", "--classes", "a,b") == 2
    assert "sam tells no categories apart: leave out --classes" in capsys.readouterr().err
