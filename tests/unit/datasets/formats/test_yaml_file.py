"""YAML of users: plain data of a size and depth that people write."""

import pytest

from segfoundry.datasets.formats.yaml_file import parse_yaml
from segfoundry.utils.errors import DataError

MULTIPLYING = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


def test_aliases_and_characters_of_two_escapes():
    assert parse_yaml('a: &x [1, {b: 2}]\nc: *x\nd: "\\ud83d\\ude00"\n', "f") == {
        "a": [1, {"b": 2}], "c": [1, {"b": 2}], "d": "😀",
    }  # fmt: skip
    assert parse_yaml("", "f") is None and parse_yaml("a: '\\ud800'", "f") == {"a": "\\ud800"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MULTIPLYING, "more than 5000000 values; do aliases multiply?"),
        ("a: &a [*a]", "an alias contains itself"),
        ("[" * 150 + "]" * 150, "more than 100 levels deep"),
        ("[" * 50_000, "inside each other without end"),
        ("? [a, b]\n: 1", "a key must be a word"),
        ("a: 1\na: 2", "the key 'a' occurs twice"),
        ('a: "x\\0"', "a text holds a NUL or half a character"),
        ('a: "\\ud800"', "a text holds a NUL or half a character"),
        ("a: " + "9" * 5000, "not valid YAML"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(DataError) as found:
        parse_yaml(text, "f.yaml")
    assert str(found.value).startswith("f.yaml: ") and message in str(found.value)
