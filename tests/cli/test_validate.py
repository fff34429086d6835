"""The verb validate, through the command line."""

import json

import pytest

from segfoundry.trainer.cli.main import main

from ..support.cable_data import write_cables
from ..support.data_sets import prepare, write_raw


@pytest.fixture
def kitchen(tmp_path):
    prepare(write_raw(tmp_path / "raw"), tmp_path / "kitchen")
    return tmp_path / "kitchen"


def test_clean_set_exits_0_with_table_json_and_report(kitchen, tmp_path, capsys):
    words = ["validate", str(kitchen), "--report", f"{tmp_path}/r", "--json", f"{tmp_path}/f.json", "--workers", "0"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "ready for training" in text and "train" in text and "unlabelled" in text
    assert json.loads((tmp_path / "f.json").read_text())["ok"] is True
    assert (tmp_path / "r" / "index.html").is_file()


def test_faults_exit_1_and_only_the_chosen_split_counts(kitchen, capsys):
    next((kitchen / "train" / "panoptic").iterdir()).unlink()
    assert main(["validate", str(kitchen), "--workers", "0"]) == 1
    text = capsys.readouterr().out
    assert "png-missing" in text and "training would go wrong" in text
    assert main(["validate", f"{kitchen}:val", "--workers", "0"]) == 0


def test_findings_replace_only_earlier_findings(kitchen, tmp_path, capsys):
    words = ["validate", str(kitchen), "--workers", "0", "--json"]
    before = (kitchen / "kitchen.yaml").read_bytes()
    assert main([*words, str(kitchen / "kitchen.yaml")]) == 2
    assert "something else than an earlier result" in capsys.readouterr().err
    assert (kitchen / "kitchen.yaml").read_bytes() == before
    assert main([*words, f"{tmp_path}/f.json"]) == main([*words, f"{tmp_path}/f.json"]) == 0


def test_a_split_without_annotations_is_an_error(kitchen, capsys):
    (kitchen / "train" / "panoptic.json").write_text('{"images": [], "annotations": [], "categories": []}')
    assert main(["validate", str(kitchen), "--workers", "0"]) == 1
    assert "annotations-empty" in capsys.readouterr().out


def test_bad_input_exits_2(kitchen, capsys):
    assert main(["validate", "nowhere"]) == 2
    assert "Searched" in capsys.readouterr().err
    assert main(["validate", f"{kitchen}:test"]) == 2
    assert "no split 'test'" in capsys.readouterr().err
    assert main(["validate", str(kitchen), "--max-void", "3"]) == 2
    assert "share" in capsys.readouterr().err
    (kitchen / "kitchen.yaml").write_text("!!python/object/apply:os.system ['true']")
    assert main(["validate", str(kitchen)]) == 2
    assert "Tags are not allowed" in capsys.readouterr().err


def test_folders_of_a_fine_tuning_file(tmp_path, capsys):
    for name in ("cables", "test"):
        write_cables(tmp_path / name, seed=len(name))
    path = tmp_path / "data.yaml"
    path.write_text("dataset:\n  train: [{data_dir: cables, percentage: 0.5}]\n  test: {data_dir: test}\n")
    assert main(["validate", str(path), "--json", f"{tmp_path}/f.json"]) == 0
    text = capsys.readouterr().out
    assert "train.0" in text and "test" in text and "foreground" in text and "unlabelled" not in text
    assert json.loads((tmp_path / "f.json").read_text())["splits"]["test"]["images"] == 4
    (tmp_path / "cables/masks/c0.png").write_bytes(b"")
    model = tmp_path / "model.yaml"
    model.write_text("MODEL: {NAME: sam}\n")
    words = ["validate", "--conf_files", str(model), str(path)]
    assert main(words) == 1 and "foreground-unreadable" in capsys.readouterr().out
    assert main([*words, "--overrides", "SAM.DLO.TRAIN.0.data_dir", f"{tmp_path}/test"]) == 1
    assert "duplicate-across-splits" in capsys.readouterr().out


def test_what_to_validate_is_said_once(tmp_path, capsys):
    model = tmp_path / "model.yaml"
    model.write_text("MODEL: {NAME: sam}\n")
    for words, problem in (
        ([], "name a DATASET, or configuration files"),
        (["kitchen", "--conf_files", str(model)], "one of both"),
        (["--conf_files", str(model)], "neither SAM.DLO.TRAIN nor SAM.DLO.TEST"),
    ):
        assert main(["validate", *words]) == 2 and problem in capsys.readouterr().err
