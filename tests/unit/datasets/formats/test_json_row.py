"""Typed fields of JSON rows."""

import json

import pytest

from segfoundry.datasets.formats.json_row import JsonRow, shown
from segfoundry.utils.errors import DataError

FLOATS = '{"nan": NaN, "inf": Infinity, "huge": 1e400, "half": 0.5, "three": 3.0}'


def row(**fields):
    return JsonRow(fields, "a.json: rows[3]")


def test_values_of_the_right_type_are_returned():
    found = row(id=7, name=" cup ", crowd=1, yes=True, box=[0, 1, 2.5, 0], file="a/b c.jpg", three=3.0, text="x")
    assert (found.identifier("id"), found.identifier("text"), found.identifier("three")) == (7, "x", 3)
    assert (found.whole("id"), type(found.whole("three"))) == (7, int)
    assert (found.flag("crowd", False), found.flag("yes", False), found.flag("nix", True)) == (True, True, True)
    assert (
        found.box("box") == (0, 1, 2.5, 0) and found.text("name") == " cup " and found.file_name("file") == "a/b c.jpg"
    )
    assert found.number("three") == 3.0 and found.measure("id") == 7
    assert found.has("id") and not found.has("nix") and not row(a=None).has("a")


@pytest.mark.parametrize("value", [None, True, "1", "", [1], {}, 1.5, 1e300, 2**70, 10**400])
def test_whole_numbers(value):
    with pytest.raises(DataError, match=r"a\.json: rows\[3\]: `x` is .*, expected a whole number"):
        row(x=value).whole("x")


@pytest.mark.parametrize("name", ["nan", "inf", "huge"])
def test_numbers_are_finite(name):
    found = JsonRow(json.loads(FLOATS), "f")
    assert found.number("half") == 0.5
    for read in (found.number, found.measure, found.whole, found.identifier):
        with pytest.raises(DataError, match=f"f: `{name}` is (nan|inf), expected"):
            read(name)


@pytest.mark.parametrize(
    ("method", "value", "expected"),
    [
        ("identifier", [1], "a whole number or a text"),
        ("identifier", "", "a whole number or a text"),
        ("identifier", True, "a whole number or a text"),
        ("number", "0.5", "a finite number"),
        ("number", False, "a finite number"),
        ("measure", -1, "a number from 0"),
        ("text", 5, "text"),
        ("text", "  ", "text"),
        ("file_name", None, "text"),
        ("file_name", "a\0b", "the name of a file"),
        ("file_name", "a/..", "the name of a file"),
        ("file_name", "\ud800", "the name of a file"),
        ("file_name", "x" * 300, "the name of a file"),
        ("box", [1, 2, 3], r"\[x, y, width, height\]"),
        ("box", [None] * 4, r"\[x, y, width, height\]"),
        ("box", [0, 0, -1, 2], r"\[x, y, width, height\]"),
        ("box", [0, 0, "1", 2], r"\[x, y, width, height\]"),
    ],
)
def test_other_values_are_refused(method, value, expected):
    with pytest.raises(DataError, match=rf"^a\.json: rows\[3\]: `x` is .*, expected {expected}"):
        getattr(row(x=value), method)("x")
    with pytest.raises(DataError, match=r"^a\.json: rows\[3\] has no `x`$"):
        getattr(row(), method)("x")


@pytest.mark.parametrize("value", [None, "0", "false", 2, 0.5, [], float("nan")])
def test_flags_are_not_judged_by_truthiness(value):
    with pytest.raises(DataError, match="`crowd` is .*, expected 0 or 1"):
        row(crowd=value).flag("crowd", False)


def test_what_is_shown_is_short():
    with pytest.raises(DataError, match=r"^here is no mapping, found \[1, 2\]$"):
        JsonRow([1, 2], "here")
    assert [shown(v) for v in (None, True, "1", 10**90)] == ["null", "true", "the text '1'", "a number of 299 bits"]
    assert len(shown("x" * 10_000)) < 80 and len(shown([[[[1] * 1000]] * 1000] * 1000)) < 80
