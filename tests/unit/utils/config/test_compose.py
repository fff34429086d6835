"""Files, ``_BASE_``, precedence, origins, unknown keys."""

import pytest
from yacs.config import CfgNode

from segfoundry.utils.config.engine import load_config, load_mapping
from segfoundry.utils.config.resolved import diff, origin_is_user
from segfoundry.utils.errors import ConfigError, UserError
from segfoundry.utils.paths import configs_root

FOCALL = "configs/seem/focall_unicl_lang_v1.yaml"
NAME = "MODEL: {NAME: seem_model_v1}\n"


def test_files_merge_deeply_from_left_to_right(write):
    a = write("a.yaml", NAME + "SOLVER: {BASE_LR: 1e-3, GAMMA: 0.5}\nSEED: 1\n")
    b = write("b.yaml", "SOLVER: {BASE_LR: 2e-3}\n")
    cfg = load_config([a, b]).cfg
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.GAMMA, cfg.SEED) == (2e-3, 0.5, 1)


def test_dotted_keys_at_any_level(write):
    text = """
MODEL.NAME: seem_model_v1
SOLVER.BASE_LR: 9.0
MODEL:
  BACKBONE.FOCAL.EMBED_DIM: 8
  BACKBONE: {FOCAL: {DROP_RATE: 0.5}}
"""
    cfg = load_config([write("a.yaml", text)]).cfg
    assert cfg.SOLVER.BASE_LR == 9.0 and cfg.MODEL.BACKBONE.FOCAL.EMBED_DIM == 8
    assert cfg.MODEL.BACKBONE.FOCAL.DROP_RATE == 0.5 and cfg.SOLVER.GAMMA == 0.1


def test_the_order_of_precedence(write):
    write("base.yaml", NAME + "SEED: 1\nLOG_EVERY: 1\nLOG_FIRST: 1\nEXP_NAME: base\nPORT: base\n")
    own = write("own.yaml", "_BASE_: base.yaml\nLOG_EVERY: 2\nLOG_FIRST: 2\nEXP_NAME: own\nPORT: own\n")
    last = write("last.yaml", "LOG_FIRST: 3\nEXP_NAME: last\nPORT: last\n")
    resolved = load_config([own, last], ["PORT", "a", "PORT=b"], ['{"EXP_NAME": "json", "PORT": "json"}'])
    cfg = resolved.cfg
    assert (cfg.SEED, cfg.LOG_EVERY, cfg.LOG_FIRST, cfg.EXP_NAME, cfg.PORT) == (1, 2, 3, "json", "b")
    assert resolved.origins["SEED"].endswith("base.yaml") and resolved.origins["LOG_FIRST"].endswith("last.yaml")
    assert resolved.origins["EXP_NAME"] == "--config_overrides" and resolved.origins["PORT"] == "--overrides"
    assert resolved.origins["SOLVER.GAMMA"] == "default"


def test_base_takes_a_list_and_is_relative_to_the_file(write):
    write("x/one.yaml", NAME + "SEED: 1\nLOG_EVERY: 1\n")
    write("x/y/two.yaml", "_BASE_: ../one.yaml\nLOG_EVERY: 2\n")
    top = write("top.yaml", "_BASE_: [x/y/two.yaml, x/one.yaml]\nLOG_FIRST: 7\n")
    cfg = load_config([top]).cfg
    assert (cfg.SEED, cfg.LOG_EVERY, cfg.LOG_FIRST) == (1, 1, 7)


def test_a_circle_of_bases_is_an_error(write):
    write("a.yaml", "_BASE_: b.yaml\n")
    b = write("b.yaml", "_BASE_: [a.yaml]\n")
    with pytest.raises(ConfigError, match=r"circle.*b\.yaml -> .*a\.yaml -> .*b\.yaml"):
        load_config([b])


def test_a_missing_base_is_named_with_its_line(write):
    write("base.yaml", NAME)
    with pytest.raises(ConfigError, match=r"own\.yaml line 2.*bas\.yaml.*did you mean 'base\.yaml'"):
        load_config([write("own.yaml", "SEED: 1\n_BASE_: bas.yaml\n")])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("SEED: !!python/object/apply:os.system ['true']\n", r"line 1.*tag !!python.*refused"),
        ("SEED: !mine 3\n", "tag !mine is refused"),
        ("SEED: 1\nSEED: 2\n", "line 2: the key 'SEED' appears twice"),
        ("SOLVER: {GAMMA: 1}\nSOLVER: {BASE_LR: 2}\n", "line 2: the key 'SOLVER' appears twice"),
        ("SOLVER: {GAMMA: 1}\nSOLVER.GAMMA: 2\n", r"line 2.*'SOLVER.GAMMA' appears twice"),
        ("SEED: [1\n", "line 2"),
        ("- 1\n", "mapping"),
        ("just words\n", "mapping"),
        ("SEED: 1\n---\nSEED: 2\n", "line 2"),
        ("a: &x [*x]\n", "alias contains itself"),
        ("? [a]\n: 1\n", "key must be a word"),
        ("SEED: 1\n\tWANDB: 2\n", "line 2"),
    ],
)
def test_broken_files_name_file_and_line(write, text, problem):
    with pytest.raises(ConfigError, match=r"broken\.yaml.*" + problem):
        load_config([write("broken.yaml", text)])


def test_multiplying_aliases_are_refused(write):
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(ConfigError, match="more than 100000 values"):
        load_config([write("bomb.yaml", "\n".join(rows))])


def test_a_file_that_is_not_text(tmp_path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"SEED: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"binary\.yaml.*UTF-8"):
        load_config([path])
    with pytest.raises(ConfigError, match="folder"):
        load_config([tmp_path])


def test_merge_keys_and_anchors(write):
    text = NAME + "COCO: {INPUT: &sizes {MIN_SCALE: 0.5, MAX_SCALE: 1.5}}\nSOLVER: &s {BASE_LR: 1}\n"
    assert load_config([write("a.yaml", text)]).cfg.COCO.INPUT.MIN_SCALE == 0.5
    text = NAME + "SOLVER.LR_MULTIPLIER:\n  <<: {a: 1, b: 2}\n  b: 3\n"
    assert load_config([write("b.yaml", text)]).cfg.SOLVER.LR_MULTIPLIER == {"a": 1.0, "b": 3.0}


def test_empty_files_and_sections_change_nothing(write):
    plain = load_config([FOCALL]).cfg
    assert load_config([FOCALL, write("a.yaml", ""), write("b.yaml", "SOLVER:\nTRAIN: {}\n")]).cfg == plain


def test_words_of_files_follow_the_schema(write):
    text = NAME + "SOLVER: {BASE_LR: 1e-4, STEPS: 0.5}\nDATASETS: {TRAIN: a}\nRESUME_FROM:\n"
    text += "EXP_NAME: no\nPORT: 010\nWANDB: on\nSEED: 1e2\n"
    cfg = load_config([write("a.yaml", text)]).cfg
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS, cfg.EXP_NAME, cfg.PORT) == (1e-4, [0.5], "no", "010")
    assert (cfg.WANDB, cfg.SEED, cfg.DATASETS.TRAIN, cfg.RESUME_FROM) == (True, 100, ["a"], "")


def test_override_words():
    words = ["MODEL.NAME", "seem_model_v1", "EXP_NAME=a=b", "PORT", "c=d", "RESUME_FROM", "-0.1"]
    cfg = load_config([], words).cfg
    assert (cfg.EXP_NAME, cfg.PORT, cfg.RESUME_FROM) == ("a=b", "c=d", "-0.1")
    with pytest.raises(UserError, match="'SEED'.*no value"):
        load_config([], [*words, "SEED"])


@pytest.mark.parametrize(
    ("key", "close"),
    [
        ("SOLVER.BASE_RL", "SOLVER.BASE_LR"),
        ("solver.base_lr", "SOLVER.BASE_LR"),
        ("BASE_LR", "SOLVER.BASE_LR"),
        ("MODEL.BACKBONE.FINE_TUNE", "MODEL.BACKBONE.FOCAL.FINE_TUNE"),
        ("SOLVR", "SOLVER"),
        ("COCO.INPUT.IMAGE_SIZES", "COCO.INPUT.IMAGE_SIZE"),
    ],
)
def test_an_unknown_key_names_the_closest_ones(override, key, close):
    with pytest.raises(ConfigError) as error:
        override(key, "1")
    assert f"unknown key {key} (--overrides)" in str(error.value) and close in str(error.value)


@pytest.mark.parametrize("key", ["", ".", "SOLVER.", "SOLVER.FIX_PARAM.", "SEED.x", "SOLVER..GAMMA", "_BASE_", "??"])
def test_odd_keys_are_unknown(override, key):
    with pytest.raises(ConfigError):
        override(key, "1")


def test_an_unknown_key_of_a_file_names_file_and_line(write):
    with pytest.raises(ConfigError, match=r"SOLVER\.BASE_RL \(.*a\.yaml line 2\)"):
        load_config([FOCALL, write("a.yaml", "SOLVER:\n  BASE_RL: 1\n")])


def test_the_model_name_decides(write):
    with pytest.raises(ConfigError, match="MODEL.NAME is not set.*seem_model_v1"):
        load_config([write("a.yaml", "SEED: 1\n")])
    with pytest.raises(ConfigError, match="seem_model_v9.*did you mean.*seem_model_v1"):
        load_mapping({"MODEL.NAME": "seem_model_v9"})
    assert load_config([], ["MODEL", "{NAME: seem_model_v1}"]).arch == "seem"


def test_missing_files_suggest_the_nearest():
    with pytest.raises(
        ConfigError, match="focal_unicl_lang_v1.yaml does not exist.*did you mean.*focall_unicl_lang_v1.yaml"
    ):
        load_config(["configs/seem/focal_unicl_lang_v1.yaml"])


def test_shipped_files_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    resolved = load_config([FOCALL])
    assert resolved.origins["MODEL.BACKBONE.NAME"] == FOCALL


def test_who_wrote_a_value(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = write(
        "configs/mine.yaml",
        f"_BASE_: {configs_root()}/seem/focall_unicl_lang_v1.yaml\nSEED: 1\nSOLVER.FIX_PARAM: {{x: 1}}\n",
    )
    resolved = load_config(["configs/mine.yaml"], ["LOG_EVERY", "5"])
    assert own.is_file() and resolved.origins["SEED"] == "./configs/mine.yaml"
    written = {
        k: origin_is_user(resolved, k)
        for k in ("SEED", "LOG_EVERY", "MODEL.ENCODER.NUM_CLASSES", "DEVICE", "SOLVER.FIX_PARAM")
    }
    assert written == {
        "SEED": True,
        "LOG_EVERY": True,
        "MODEL.ENCODER.NUM_CLASSES": False,
        "DEVICE": False,
        "SOLVER.FIX_PARAM": True,
    }
    assert not origin_is_user(load_config([FOCALL]), "SOLVER.FIX_PARAM")


def test_keys_without_effect_are_reported_once_when_the_user_sets_them(override, write):
    assert load_config([FOCALL]).notices == []
    notices = override("TEST.NAME", "a", "TEST.NAME", "b", "TRAINER", "xdecoder").notices
    assert len(notices) == 1 and "TEST.NAME" in notices[0]
    assert len(load_config([write("a.yaml", NAME + "TEST: {NAME: a}\n")]).notices) == 1


def test_the_tree_is_frozen(override):
    cfg = override().cfg
    assert isinstance(cfg.SOLVER, CfgNode)
    with pytest.raises(AttributeError):
        cfg.SOLVER.BASE_LR = 1.0


def test_configurations_share_no_lists():
    first = load_mapping({"MODEL.NAME": "seem_model_v1"}).cfg
    first.SOLVER.STEPS.append(3.0)
    first.ATTENTION_ARCH.MASKING.append("x")
    second = load_mapping({"MODEL.NAME": "seem_model_v1"}).cfg
    assert second.SOLVER.STEPS == [0.88889, 0.96296] and "x" not in second.ATTENTION_ARCH.MASKING


def test_diff():
    a = load_config([FOCALL], ["SOLVER.FIX_PARAM.extra", "1"]).cfg
    b = load_config([FOCALL], ["SEED", "5"]).cfg
    assert diff(a, b) == [("SEED", 0, 5), ("SOLVER.FIX_PARAM.extra", True, None)] and diff(a, a) == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["WEIGHT", "1"], "WEIGHT is on.*RESUME_FROM"),
        (["WEIGHT", "1", "RESUME", "1", "RESUME_FROM", "x"], "both on"),
        (["INPUT.PIXEL_STD", "[1, 0, 1]"], "PIXEL_STD"),
        (["INPUT.PIXEL_MEAN", "[1, 2]"], "PIXEL_MEAN.*2 numbers"),
        (["SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "0"], "CLIP_VALUE"),
    ],
)
def test_rules_across_shared_keys(override, words, problem):
    with pytest.raises(ConfigError, match=problem):
        override(*words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SEED: " + "[" * 3000, "conf.yaml: lists and mappings inside each other, more than 100 levels deep"),
        ("SEED: " + "[" * 120 + "]" * 120, "line 1: lists and mappings inside each other"),
    ],
)
def test_files_without_end(tmp_path, text, message):
    (tmp_path / "conf.yaml").write_text(text)
    with pytest.raises(ConfigError) as found:
        load_config([tmp_path / "conf.yaml"])
    assert message in str(found.value)


@pytest.mark.parametrize(
    ("piece", "message"),
    [
        ('{"SEED":' + "[" * 3000, "more than 100 levels deep"),
        ('{"SEED":' + "1" * 5000 + "}", "a number has more than 4300 digits"),
        ('{"SAVE_DIR": "a\\u0000"}', "a text holds"),
    ],
)
def test_json_pieces_without_end(piece, message):
    with pytest.raises(ConfigError) as found:
        load_config([], ["MODEL.NAME", "sam"], [piece])
    assert message in str(found.value) and len(str(found.value)) < 5000


def test_a_word_that_nests_without_end():
    with pytest.raises(ConfigError, match="levels deep"):
        load_config([], ["MODEL.NAME", "sam", "DATASETS.TRAIN", "[" * 3000])


def test_a_base_whose_name_no_file_can_have_is_missing(tmp_path):
    (tmp_path / "a.yaml").write_text(f"_BASE_: {'9' * 300}.yaml\n")
    with pytest.raises(ConfigError, match="_BASE_ 999.* does not exist"):
        load_config([tmp_path / "a.yaml"])
