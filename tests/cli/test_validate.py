"""The verb validate, through the command line."""

import json

import pytest

from segfoundry.trainer.cli.main import main

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
