"""A section of another system's file is read as keys of the architecture that knows it."""

import pytest

from segfoundry.utils.config.engine import load_config
from segfoundry.utils.errors import ConfigError

MODEL = ["MODEL.NAME", "sam"]
FILE = """\
dataset:
  train:
    - data_dir: data/synthetic
      bg_paths:
        - backgrounds
        - /srv/photos
      w_aug: true
      aug_details: [crop_foreground]
      percentage: 0.2
    - data_dir: data/real
      bg_paths: null
      w_aug: true
      percentage: 1.0
  test:
    data_dir: data/test
    bg_paths:
    w_aug: false
"""


def test_paths_count_from_the_working_directory_else_from_the_file(write, tmp_path, monkeypatch):
    path = write("mine/data.yaml", FILE)
    (tmp_path / "here/data/real").mkdir(parents=True)
    (tmp_path / "here/backgrounds").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    dlo = load_config([path], MODEL).cfg.SAM.DLO
    home = str(tmp_path / "mine")
    assert dlo.TRAIN == [
        {
            "data_dir": f"{home}/data/synthetic",
            "bg_paths": ["backgrounds", "/srv/photos"],
            "w_aug": True,
            "aug_details": ["crop_foreground"],
            "percentage": 0.2,
        },
        {"data_dir": "data/real", "bg_paths": [], "w_aug": True, "percentage": 1.0},
    ]
    assert dlo.TEST == {"data_dir": f"{home}/data/test", "w_aug": False}


def test_another_file_names_the_model_and_overrides_reach_the_entries(write):
    base = write("base.yaml", "MODEL: {NAME: sam}\n")
    words = ["SAM.DLO.TRAIN.0.percentage", "0.5", "SAM.DLO.TEST.w_aug", "True"]
    resolved = load_config([base, write("data.yaml", FILE)], words)
    assert resolved.cfg.SAM.DLO.TRAIN[0]["percentage"] == 0.5 and resolved.cfg.SAM.DLO.TEST.w_aug
    assert resolved.origins["SAM.DLO.TEST.data_dir"].endswith("data.yaml") and resolved.notices == []


@pytest.mark.parametrize("text", ["dataset:", "dataset: {}", "dataset: {train: }", "dataset: {test: null, train: []}"])
def test_empty_sections(write, text):
    dlo = load_config([write("data.yaml", text)], MODEL).cfg.SAM.DLO
    assert dlo.TRAIN == [] and dlo.TEST == {}


def test_a_test_section_alone(write):
    dlo = load_config([write("data.yaml", "dataset:\n  test: {data_dir: /t}\n")], MODEL).cfg.SAM.DLO
    assert dlo.TRAIN == [] and dlo.TEST == {"data_dir": "/t"}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("  test:", "  tset:", r"unknown word dataset\.tset \(.*data\.yaml line 15\), did you mean 'test'"),
        ("data_dir: data/real", "data_dri: data/real", r"'data_dri' .*data\.yaml line 10\), did you mean 'data_dir'"),
        ("data_dir: data/test", "data_dri: data/test", r"'data_dri' .*data\.yaml line 15\), did you mean 'data_dir'"),
        ("percentage: 0.2", "percentage: a lot", r"'a lot' \(.*data\.yaml line 9\): expected a number"),
        ("    - data_dir: data/synthetic\n", "    - a\n    - data_dir: b\n", r"data\.yaml line 3\): expected a list"),
    ],
)
def test_mistakes_name_file_line_and_the_nearest_word(write, old, new, problem):
    assert old in FILE
    with pytest.raises(ConfigError, match=problem):
        load_config([write("data.yaml", FILE.replace(old, new, 1))], MODEL)


def test_one_word_is_no_section(write):
    with pytest.raises(ConfigError, match=r"dataset \(.*line 1\): expected a mapping with train and test"):
        load_config([write("data.yaml", "dataset: cables")], MODEL)


def test_another_architecture_does_not_read_it(write):
    with pytest.raises(ConfigError, match=r"dataset\.train.*line 3.*belongs to the architecture 'sam'.*chooses 'seem'"):
        load_config([write("data.yaml", FILE)], ["MODEL.NAME", "seem_model_v1"])


def test_a_file_with_data_alone_is_told_what_goes_before_it(tmp_path):
    (tmp_path / "data.yaml").write_text("dataset: {train: [{data_dir: a}]}")
    with pytest.raises(
        ConfigError, match=r"data\.yaml line 1: the section 'dataset'.*--conf_files configs/sam/dlo_vit_b"
    ):
        load_config([tmp_path / "data.yaml"])
