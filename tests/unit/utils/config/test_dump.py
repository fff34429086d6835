"""A dump is plain YAML, loads to the same tree, and keeps the origins until someone edits it."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from segfoundry.utils.config.dump import dump
from segfoundry.utils.config.engine import load_config, load_mapping
from segfoundry.utils.config.resolved import origin_is_user
from segfoundry.utils.paths import configs_root

FOCALL = "configs/seem/focall_unicl_lang_v1.yaml"
SHIPPED = sorted(p.relative_to(configs_root().parent).as_posix() for p in configs_root().glob("*/[!_]*.yaml"))

names = st.text(min_size=1, max_size=8).filter(lambda t: "." not in t and t not in ("keys", "items"))
number = st.floats(allow_nan=False)
scalars = st.none() | st.booleans() | st.integers() | number | st.text(max_size=10)
nested = st.recursive(
    scalars | st.lists(scalars, max_size=3), lambda inner: st.dictionaries(names, inner, max_size=3), max_leaves=6
)
values = st.fixed_dictionaries(
    {},
    optional={
        "EXP_NAME": st.text(),
        "SAVE_DIR": st.sampled_from(
            ["null", "1e-4", "Off", "~", ".5", "a: b", "#x", "x #y", "é\u2028\x85", "\U0001f600", "- a", ""]
        ),
        "SEED": st.integers(min_value=0),
        "WANDB": st.booleans(),
        "SOLVER.BASE_LR": st.floats(min_value=0, allow_nan=False),
        "SOLVER.STEPS": st.lists(st.floats(min_value=0, allow_nan=False), max_size=4),
        "DATASETS.TRAIN": st.lists(st.text(), max_size=4),
        "SOLVER.FIX_PARAM": st.dictionaries(st.text(min_size=1), st.booleans(), max_size=3),
        "ATTENTION_ARCH": st.dictionaries(names, nested, max_size=3),
        "ATTENTION_ARCH.VARIABLE": st.none() | st.just({}) | st.dictionaries(names, nested, max_size=2),
    },
)


@given(values)
@settings(max_examples=30, deadline=None)
def test_any_configuration_survives_dump_and_load(tmp_path_factory, chosen):
    resolved = load_mapping({"MODEL.NAME": "seem_model_v1", **chosen})
    for name, text in (("origins.yaml", dump(resolved)), ("plain.yaml", dump(resolved.cfg))):
        path = tmp_path_factory.getbasetemp() / name
        path.write_text(text, encoding="utf-8")
        assert load_config([path]).cfg == resolved.cfg


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configurations_keep_tree_and_origins(name, tmp_path):
    resolved = load_config([name], ["SEED", "5", "EXP_NAME", "x"])
    path = tmp_path / "config.yaml"
    path.write_text(dump(resolved))
    again = load_config([path])
    assert again.cfg == resolved.cfg and again.origins == resolved.origins
    assert origin_is_user(again, "SEED") and not origin_is_user(again, "MODEL.NAME")


def test_an_edited_dump_belongs_to_the_user(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(dump(load_config([FOCALL])).replace("NUM_CLASSES: 133", "NUM_CLASSES: 5"))
    again = load_config([path])
    assert again.cfg.MODEL.ENCODER.NUM_CLASSES == 5 and origin_is_user(again, "MODEL.ENCODER.NUM_CLASSES")


def test_any_yaml_reader_reads_the_same_values():
    resolved = load_config([FOCALL], ["SOLVER.BASE_LR", "1e-5", "EXP_NAME", "no", "PORT", "010", "SAVE_DIR", "a # b"])
    plain = yaml.safe_load(dump(resolved))
    assert plain["SOLVER"]["BASE_LR"] == 1e-5 and plain["EXP_NAME"] == "no" and plain["PORT"] == "010"
    assert plain["SAVE_DIR"] == "a # b" and load_mapping(plain).cfg == resolved.cfg


def test_each_line_says_where_its_value_comes_from():
    lines = dump(load_config([FOCALL], ["SEED", "5"])).splitlines()
    assert "SEED: 5  # --overrides" in lines and "DEVICE: auto  # default" in lines
    assert any(line.endswith("_base_seem.yaml") for line in lines)
