"""JSON within limits: what is read, and what is refused before it reaches anybody."""

import json

import pytest

from segfoundry.utils.json_text import MAX_DEPTH, check_depth, parse_json


@pytest.mark.parametrize("value", [None, [1.5, "é", {"a": [True]}], "😀", {"a": 1, "b": {"a": 2}}])
def test_whole_values_pass(value):
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert parse_json(text) == parse_json(text.encode()) == parse_json(text, unique=True) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "more than 100 levels deep"),
        ('{"a":' * 150 + "1" + "}" * 150, "more than 100 levels deep"),
        ("1" * 5000, "a number has more than 4300 digits"),
        (r'["\ud800"]', r"a text holds \ud800"),
        (r'["x\\\ude00"]', r"a text holds \ude00"),
        (r'["\u0000"]', r"a text holds \u0000"),
        ("[1,]", "Expecting value"),
    ],
)
def test_what_could_be_passed_on_to_nobody_is_refused(text, message):
    for form in (text, text.encode()):
        with pytest.raises(ValueError) as found:
            parse_json(form)
        assert message in str(found.value)


def test_escapes_that_only_look_like_half_a_character():
    assert parse_json(rb'["\\ud800", "\ud83d\ude00", "\udcff.png"]') == [r"\ud800", "😀", "\udcff.png"]


def test_a_key_twice():
    assert parse_json('{"a": 1, "a": 2}') == {"a": 2}
    with pytest.raises(ValueError, match="the key 'a' appears twice"):
        parse_json('{"a": 1, "a": 2}', unique=True)


def test_depth():
    value = []
    for _ in range(MAX_DEPTH):
        value = [value]
    check_depth(value)
    circle = []
    circle.append({"a": circle})
    for deep in ([value], circle):
        with pytest.raises(ValueError, match="levels deep"):
            check_depth(deep)
