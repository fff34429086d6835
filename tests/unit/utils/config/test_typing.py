"""Values are read by the declared type of their key, in overrides as in files."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfoundry.utils.config.engine import load_config, load_mapping
from segfoundry.utils.config.plain import Plain
from segfoundry.utils.config.values import convert_value
from segfoundry.utils.errors import ConfigError


@pytest.mark.parametrize("word", ["True", "true", "TRUE", "1", "yes", "on", " True"])
def test_true_words(override, word):
    assert override("WANDB", word).cfg.WANDB is True


@pytest.mark.parametrize("word", ["False", "false", "FALSE", "0", "no", "off", " False", "", "None"])
def test_false_words(override, word):
    assert override("TENSORBOARD", word).cfg.TENSORBOARD is False


@pytest.mark.parametrize("word", ["maybe", "2", "0.0", "[]"])
def test_other_words_are_no_boolean(override, word):
    with pytest.raises(ConfigError, match="WANDB.*expected a boolean"):
        override("WANDB", word)


@pytest.mark.parametrize(("word", "number"), [("50", 50), ("1_000", 1000), ("1e2", 100), ("50.0", 50), (" 7 ", 7)])
def test_integers(override, word, number):
    value = override("SOLVER.MAX_ITERS", word).cfg.SOLVER.MAX_ITERS
    assert value == number and type(value) is int


@pytest.mark.parametrize("word", ["?", "1.5", "abc", "", "inf", "nan", "True", "[1]", "1e400"])
def test_what_is_no_integer_names_key_and_value(override, word):
    with pytest.raises(ConfigError) as error:
        override("SOLVER.MAX_ITERS", word)
    assert "SOLVER.MAX_ITERS" in str(error.value) and repr(word) in str(error.value)


@pytest.mark.parametrize(
    ("word", "number"), [("1e-5", 1e-5), ("1", 1.0), ("3e-4", 3e-4), (".inf", math.inf), ("inf", math.inf)]
)
def test_floats(override, word, number):
    value = override("SOLVER.BASE_LR", word).cfg.SOLVER.BASE_LR
    assert value == number and type(value) is float


def test_a_negative_number_is_a_value(override):
    assert override("INPUT.PIXEL_MEAN.0", "-0.1").cfg.INPUT.PIXEL_MEAN[0] == -0.1


def test_nan_is_a_number_where_no_limit_forbids_it():
    assert math.isnan(convert_value(Plain("nan"), float)) and math.isnan(convert_value(Plain(".NaN"), float))


@pytest.mark.parametrize("word", ["False", "false", "1e-4", "null", "[a]", "  x ", "", '"quoted"', "a=b", "?"])
def test_text_stays_as_it_is(override, word):
    assert override("EXP_NAME", word).cfg.EXP_NAME == word


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("[0.5,0.9]", [0.5, 0.9]),
        ("[1e-1, 3]", [0.1, 3.0]),
        ("0.5", [0.5]),
        ("", []),
        ("[]", []),
    ],
)
def test_lists_of_numbers(override, word, value):
    assert override("SOLVER.STEPS", word).cfg.SOLVER.STEPS == value


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ('["a","b"]', ["a", "b"]),
        ("a", ["a"]),
        ("[a, b]", ["a", "b"]),
        ("a,b", ["a,b"]),
        ("[no, 1]", ["no", "1"]),
        ("C:/x y", ["C:/x y"]),
    ],
)
def test_lists_of_words(override, word, value):
    assert override("DATASETS.TRAIN", word).cfg.DATASETS.TRAIN == value


@pytest.mark.parametrize("word", ["[1, two]", "[1", "{a: 1}", "[[1]]"])
def test_wrong_lists(override, word):
    with pytest.raises(ConfigError, match="SOLVER.STEPS"):
        override("SOLVER.STEPS", word)


def test_list_elements(override):
    assert override("SOLVER.STEPS.0", "0.5").cfg.SOLVER.STEPS == [0.5, 0.96296]
    with pytest.raises(ConfigError, match="SOLVER.STEPS.2.*2 elements"):
        override("SOLVER.STEPS.2", "0.5")
    with pytest.raises(ConfigError, match="unknown key SOLVER.STEPS.first"):
        override("SOLVER.STEPS.first", "0.5")


def test_mappings(override):
    assert override("SOLVER.FIX_PARAM", "{backbone: yes, a.b: 0}").cfg.SOLVER.FIX_PARAM == {
        "backbone": True,
        "a.b": False,
    }
    assert override("SOLVER.FIX_PARAM.a.b", "True").cfg.SOLVER.FIX_PARAM == {"a.b": True}
    merged = override("SOLVER.FIX_PARAM", "{a: 1, b: 1}", "SOLVER.FIX_PARAM.b", "0", "SOLVER.FIX_PARAM", "{c: 1}")
    assert merged.cfg.SOLVER.FIX_PARAM == {"a": True, "b": False, "c": True}
    assert override("SOLVER.FIX_PARAM", "{a: 1}", "SOLVER.FIX_PARAM", "{}").cfg.SOLVER.FIX_PARAM == {}
    assert override("SOLVER.FIX_PARAM", "{a: 1, b: 1}", "SOLVER.FIX_PARAM.a", "null").cfg.SOLVER.FIX_PARAM == {
        "b": True
    }


@pytest.mark.parametrize("word", ["5", "[a]", "{a: x}"])
def test_wrong_mappings(override, word):
    with pytest.raises(ConfigError, match="SOLVER.LR_MULTIPLIER"):
        override("SOLVER.LR_MULTIPLIER", word)


def test_nested_free_mapping_guesses_types(override):
    cfg = override(
        *("ATTENTION_ARCH.QUERY_NUMBER", "5", "ATTENTION_ARCH.new.rate", "1e-4", "ATTENTION_ARCH.new.on", "true"),
        *(
            "ATTENTION_ARCH.new.name",
            "nan",
            "ATTENTION_ARCH.VARIABLE.memories",
            "null",
            "ATTENTION_ARCH.MASKING",
            "[a, 1]",
        ),
    ).cfg.ATTENTION_ARCH
    assert cfg.QUERY_NUMBER == 5 and cfg.new == {"rate": 1e-4, "on": True, "name": "nan"} and cfg.MASKING == ["a", 1]
    assert list(cfg.VARIABLE) == ["queries", "tokens"]


def test_a_section_takes_a_mapping(override):
    cfg = override("SOLVER", "{BASE_LR: 1e-3, CLIP_GRADIENTS: {CLIP_VALUE: 1}}").cfg
    assert cfg.SOLVER.BASE_LR == 1e-3 and cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE == 1.0 and cfg.SOLVER.GAMMA == 0.1
    with pytest.raises(ConfigError, match="SOLVER = '5'.*mapping"):
        override("SOLVER", "5")


@pytest.mark.parametrize(
    ("key", "word", "expected"),
    [
        ("COCO.INPUT.IMAGE_SIZE", "0", "at least 32"),
        ("COCO.INPUT.IMAGE_SIZE", "big", "an integer"),
        ("DATALOADER.NUM_WORKERS", "-1", "at least 0"),
        ("TRAIN.BATCH_SIZE_TOTAL", "0", "at least 1"),
        ("TEST.BATCH_SIZE_TOTAL", "0", "at least 1"),
        ("TRAIN.EMA", "1.5", "at most 1"),
        ("SOLVER.BASE_LR", "nan", "at least 0"),
        ("SOLVER.OPTIMIZER", "adam", "one of 'ADAMW'"),
        ("SOLVER.STEPS", "[0.5, -1]", "at least 0"),
    ],
)
def test_limits_and_choices(override, key, word, expected):
    with pytest.raises(ConfigError) as error:
        override(key, word)
    assert key in str(error.value) and repr(word) in str(error.value) and expected in str(error.value)


def test_json_types():
    cfg = load_config(
        [], ["MODEL.NAME", "seem_model_v1"], ['{"SEED": 3.0,', '"WANDB": true, "PORT": 5, "SOLVER": {"STEPS": 0.5}}']
    ).cfg
    assert (cfg.SEED, cfg.WANDB, cfg.PORT, cfg.SOLVER.STEPS) == (3, True, "5", [0.5])


@pytest.mark.parametrize(
    "pieces", [["{"], ["[1]"], ["3"], ['{"SEED": 1, "SEED": 2}'], ['{"SEED": true}'], ['{"SEED": null}']]
)
def test_wrong_json(pieces):
    with pytest.raises(ConfigError, match="config_overrides"):
        load_config([], ["MODEL.NAME", "seem_model_v1"], pieces)


@given(st.integers(min_value=0, max_value=10**15))
def test_any_integer_in_any_spelling(number):
    for text in (str(number), f"{number:_}", f"{number}.0", f" {number} "):
        assert convert_value(Plain(text), int) == number


@given(st.floats(allow_nan=False))
def test_any_float_spelling(number):
    for text in (repr(number), f"{number:.17e}", str(number).upper()):
        assert convert_value(Plain(text), float) == number


@given(st.text())
def test_any_override_text_reaches_a_text_key(text):
    assert load_config([], ["MODEL.NAME", "seem_model_v1", "EXP_NAME", text]).cfg.EXP_NAME == text
    if "=" not in text:
        assert load_config([], ["MODEL.NAME", "seem_model_v1", f"EXP_NAME={text}"]).cfg.EXP_NAME == text


@given(
    st.text(),
    st.sampled_from(
        ["SEED", "WANDB", "SOLVER.BASE_LR", "SOLVER.STEPS", "SOLVER.FIX_PARAM", "ATTENTION_ARCH.x", "SOLVER"]
    ),
)
def test_any_text_is_a_value_or_an_error_that_names_the_key(text, key):
    try:
        load_config([], ["MODEL.NAME", "seem_model_v1", key, text])
    except ConfigError as error:
        assert key in str(error)


def test_python_values_must_fit_too():
    with pytest.raises(ConfigError, match="SEED"):
        load_mapping({"MODEL.NAME": "seem_model_v1", "SEED": True})
    with pytest.raises(ConfigError, match="EXP_NAME"):
        load_mapping({"MODEL.NAME": "seem_model_v1", "EXP_NAME": ["a"]})


@pytest.mark.parametrize("word", ["9223372036854775808", "1e300", "-" + "9" * 30])
def test_integers_that_no_array_holds(word):
    with pytest.raises(ValueError, match="expected an integer of at most 9223372036854775807"):
        convert_value(Plain(word), int)
    assert convert_value(Plain("9223372036854775807"), int) == 2**63 - 1
