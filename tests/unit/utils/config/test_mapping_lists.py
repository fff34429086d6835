"""Keys that hold a list of mappings, and mappings with a closed set of entries."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from segfoundry.trainer.cli.main import main
from segfoundry.utils.config.dump import dump
from segfoundry.utils.config.engine import load_config, load_mapping
from segfoundry.utils.config.resolved import find_value, origin_is_user
from segfoundry.utils.errors import ConfigError

TWO = "[{data_dir: a, percentage: 0.1}, {data_dir: b, bg_paths: [c, d], w_aug: true, aug_details: [crop_foreground]}]"
PARSED = [
    {"data_dir": "a", "percentage": 0.1},
    {"data_dir": "b", "bg_paths": ["c", "d"], "w_aug": True, "aug_details": ["crop_foreground"]},
]


def sam(*words: str):
    return load_config([], ["MODEL.NAME", "sam", *words])


def test_text_file_json_and_python_agree(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump({"MODEL": {"NAME": "sam"}, "SAM": {"DLO": {"TRAIN": PARSED}}}))
    json = '{"SAM": {"DLO": {"TRAIN": [{"data_dir": "a", "percentage": 0.1}, {"data_dir": "b", "bg_paths": ["c", "d"],'
    json += ' "w_aug": true, "aug_details": ["crop_foreground"]}]}}}'
    for resolved in (
        sam("SAM.DLO.TRAIN", TWO),
        load_config([path]),
        load_config([], ["MODEL.NAME", "sam"], [json]),
        load_mapping({"MODEL.NAME": "sam", "SAM.DLO.TRAIN": PARSED}),
    ):
        assert resolved.cfg.SAM.DLO.TRAIN == PARSED and all(type(e) is dict for e in resolved.cfg.SAM.DLO.TRAIN)


def test_overrides_reach_entries_and_merge_elements():
    resolved = sam(
        "SAM.DLO.TRAIN", TWO, "SAM.DLO.TRAIN.0.percentage", "0.5", "SAM.DLO.TRAIN.0.bg_paths", "[x,y]",
        "SAM.DLO.TRAIN.1", "{w_aug: no, bg_paths: e}",
    )  # fmt: skip
    assert resolved.cfg.SAM.DLO.TRAIN == [
        {"data_dir": "a", "percentage": 0.5, "bg_paths": ["x", "y"]},
        {"data_dir": "b", "bg_paths": ["e"], "w_aug": False, "aug_details": ["crop_foreground"]},
    ]
    assert find_value(resolved.cfg, "SAM.DLO.TRAIN.1.data_dir") == "b" and origin_is_user(resolved, "SAM.DLO.TRAIN")
    assert find_value(resolved.cfg, "SAM.DLO.TRAIN.2.data_dir") is None


def test_a_null_empties():
    assert sam("SAM.DLO.TRAIN", TWO, "SAM.DLO.TRAIN.0.bg_paths", "null").cfg.SAM.DLO.TRAIN[0]["bg_paths"] == []
    assert sam("SAM.DLO.TRAIN", TWO, "SAM.DLO.TRAIN.1", "{}").cfg.SAM.DLO.TRAIN[1] == {}
    assert sam("SAM.DLO.TRAIN", TWO, "SAM.DLO.TRAIN", "null").cfg.SAM.DLO.TRAIN == []


def test_names_of_folders_stay_text():
    cfg = sam("SAM.DLO.TRAIN", "[{data_dir: 0123}]", "SAM.DLO.TEST", "{data_dir: 2024, bg_paths: 1e3}").cfg
    assert cfg.SAM.DLO.TRAIN == [{"data_dir": "0123"}]
    assert cfg.SAM.DLO.TEST.data_dir == "2024" and cfg.SAM.DLO.TEST.bg_paths == ["1e3"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["SAM.DLO.TRAIN", "a"], "SAM.DLO.TRAIN.*expected a list of mappings"),
        (["SAM.DLO.TRAIN", "{data_dir: a}"], "expected a list of mappings"),
        (["SAM.DLO.TRAIN", "[{data_dir: a}, b]"], "expected a list of mappings"),
        (["SAM.DLO.TRAIN", "[{data_dri: a}]"], "unknown entry 'data_dri' of SAM.DLO.TRAIN.*did you mean 'data_dir'"),
        (["SAM.DLO.TRAIN", "[{percentage: many}]"], r"SAM\.DLO\.TRAIN\.0\.percentage = 'many'.*expected a number"),
        (["SAM.DLO.TRAIN.0.percentage", "0.5"], "the list SAM.DLO.TRAIN has 0 elements"),
        (["SAM.DLO.TRAIN.data_dir", "a"], "SAM.DLO.TRAIN is a list of mappings: name one, SAM.DLO.TRAIN.0"),
        (["SAM.DLO.TRAIN", "[{data_dir: a}]", "SAM.DLO.TRAIN.0", "a"], "SAM.DLO.TRAIN.0.*expected a mapping"),
        (["SAM.DLO.TRAIN", "[{data_dir: a}]", "SAM.DLO.TRAIN.0.w_agu", "1"], "'w_agu'.*did you mean 'w_aug'"),
        (["SAM.DLO.TEST.percentages", "1"], "unknown entry 'percentages' of SAM.DLO.TEST.*Known: data_dir"),
    ],
)
def test_wrong_elements(words, problem):
    with pytest.raises(ConfigError, match=problem):
        sam(*words)


def test_a_list_for_a_mapping_is_refused():
    with pytest.raises(ConfigError, match="SAM.DLO.TEST.*expected a mapping"):
        load_mapping({"MODEL.NAME": "sam", "SAM.DLO.TEST": [{"data_dir": "a"}]})


def test_one_entry_is_explained(tmp_path, capsys):
    path = tmp_path / "a.yaml"
    path.write_text(f"MODEL: {{NAME: sam}}\nSAM: {{DLO: {{TRAIN: {TWO}}}}}\n")
    words = ["config", "--conf_files", str(path), "--explain", "SAM.DLO.TRAIN.0.percentage"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "list of mappings" in shown and "value     0.1" in shown and "a.yaml" in shown


element = st.fixed_dictionaries(
    {"data_dir": st.text(max_size=8)},
    optional={
        "bg_paths": st.lists(st.text(max_size=8), max_size=2),
        "w_aug": st.booleans(),
        "percentage": st.floats(0, 9),
    },
)


test_entry = st.fixed_dictionaries({}, optional={"data_dir": st.text(), "w_aug": st.booleans()})


@given(st.lists(element, max_size=3), test_entry)
@settings(max_examples=30, deadline=None)
def test_any_list_survives_dump_and_load(tmp_path_factory, train, test):
    resolved = load_mapping({"MODEL.NAME": "sam", "SAM.DLO.TRAIN": train, "SAM.DLO.TEST": test})
    assert resolved.cfg.SAM.DLO.TRAIN == train and resolved.cfg.SAM.DLO.TEST == test
    path = tmp_path_factory.getbasetemp() / "mappings.yaml"
    path.write_text(dump(resolved), encoding="utf-8")
    again = load_config([path])
    assert again.cfg == resolved.cfg and again.origins == resolved.origins
