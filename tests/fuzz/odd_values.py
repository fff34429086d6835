"""Hypothesis strategies that spoil small valid files: a node replaced, taken away or repeated, bytes turned over."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from hypothesis import strategies as st


class Raw(str):
    """Text that stands in the file as it is: numbers of thousands of digits, nesting without end."""


class Pairs(list):
    """A mapping as a list of pairs, so that a key can occur twice."""


_NUMBERS = (
    0, 1, -1, 2, 255, 256, 65536, 2**31, -(2**31) - 1, 2**32, 2**53 + 1, 2**63, 2**64, 10**30, -(10**30), 0.0, -0.0,
    0.5, 1.0, -1.5, 1e-320, 1e17, 1e300, 1e308, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip
_TEXTS = (
    "", " ", "0", "1", "-1", "1e5", "true", "false", "null", "nan", "inf", ".nan", "0x1F", "1_000", "²", "٣",
    "é" * 40,
    "\ud800", "\x00", "a\x00b", "\u202e", "\ufeff", "\n", "a" * 3000, "../..", "/", "/etc/passwd", "~",
    "~nobody/x", ".",
    "a\\b.png", "%2e%2e", "{}", "[]", "{0}", "%s", "*", "a/" * 200, "x" * 300, "#dc143c", "train", "val", "id",
    "index",
    "2026-01-01", "12:30:45", "!!python/object:os.system", "<<", "=", "-",
)  # fmt: skip
_RAW = (
    Raw("1" * 5000), Raw("-" + "9" * 4400), Raw("1" + "0" * 400), Raw("1e99999"), Raw("[" * 50_000 + "]" * 50_000),
    Raw("[" * 900 + "]" * 900), Raw('{"a":' * 3000 + "1" + "}" * 3000), Raw("[" * 100 + "0" + "]" * 100),
)  # fmt: skip
_NESTED = (
    [],
    {},
    [[]],
    [{}],
    [None],
    [0],
    [1, 2],
    [1, 2, 3, 4],
    ["a"],
    {"a": 1},
    {"": None},
    [0] * 3000,
    [[0, 0]] * 50,
)


def odd_values() -> st.SearchStrategy[Any]:
    """Gives what no field expects: null, booleans, huge numbers, NaN, strange texts, containers."""
    return st.one_of(
        st.sampled_from((None, True, False)),
        st.sampled_from(_NUMBERS),
        st.sampled_from(_TEXTS),
        st.sampled_from(_RAW),
        st.sampled_from(_NESTED),
        st.integers(),
        st.floats(),
        st.text(max_size=12),
        st.recursive(
            st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab.", max_size=3),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
            max_leaves=5,
        ),
    )


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path of every node: keys and indices from the root, the root itself first."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in pairs:
        yield from places(inner, (*path, name))


@st.composite
def spoiled(draw: Callable[..., Any], example: Any) -> Any:
    """Gives an example with one to three nodes changed."""
    known = list(places(example))
    value = example
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        path = known[draw(st.integers(0, len(known) - 1))]
        other = known[draw(st.integers(0, len(known) - 1))]
        how = draw(st.sampled_from(("put", "put", "put", "gone", "twice", "wrap", "word", "copy", "name", "more")))
        value = _changed(value, path, how, draw(odd_values()), _at(example, other))
    return value


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


def _changed(value: Any, path: tuple[Any, ...], how: str, odd: Any, copied: Any) -> Any:
    """Returns a value with the node at ``path`` changed; a path that an earlier change has cut stays as it is."""
    if not path:
        return {"wrap": [value], "copy": copied, "word": _word(value)}.get(how, odd)
    name, rest = path[0], path[1:]
    if isinstance(value, dict) and name in value:
        pairs = list(value.items())
    elif isinstance(value, list) and not isinstance(value, Pairs) and isinstance(name, int) and name < len(value):
        pairs = list(enumerate(value))
    else:
        return value
    found = []
    for key, inner in pairs:
        if key != name:
            found.append((key, inner))
        elif rest:
            found.append((key, _changed(inner, rest, how, odd, copied)))
        else:
            found += _entries(key, inner, how, odd, copied)
    if isinstance(value, list):
        return [inner for _, inner in found]
    return dict(found) if len({str(key) for key, _ in found}) == len(found) else Pairs(found)


def _entries(key: Any, value: Any, how: str, odd: Any, copied: Any) -> list[tuple[Any, Any]]:
    """Returns what stands in the place of one entry of a mapping or list."""
    if how == "gone":
        return []
    if how == "twice":
        return [(key, value), (key, odd)]
    if how == "name":
        return [(odd if isinstance(odd, (str, int, float)) else "x", value)]
    if how == "more":
        return [(key, value * 200 if isinstance(value, list) and len(value) < 20 else odd)]
    return [(key, {"put": odd, "wrap": [value], "word": _word(value), "copy": copied}[how])]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value)


def to_json(value: Any) -> str:
    """Returns JSON text; :class:`Raw` as it is, keys of :class:`Pairs` as often as they occur."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, (Pairs, dict)):
        pairs = value if isinstance(value, Pairs) else value.items()
        return "{" + ", ".join(f"{json.dumps(str(key))}: {to_json(inner)}" for key, inner in pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_json, value)) + "]"
    return json.dumps(value)


def _plain(value: Any) -> Any:
    """Returns the value without the classes of this file; a number of many digits as a number."""
    if isinstance(value, Raw):
        return 10 ** len(value) if value.isdigit() else str(value)
    if isinstance(value, (Pairs, dict)):
        return {key: _plain(inner) for key, inner in (value if isinstance(value, Pairs) else value.items())}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _to_yaml(value: Any) -> str:
    try:
        return yaml.safe_dump(_plain(value), sort_keys=False, allow_unicode=True)
    except (ValueError, yaml.YAMLError):  # a number of more digits than Python writes, a key that is no plain word
        return to_json(value)


def _to_csv(rows: Any) -> str:
    if not isinstance(rows, list):
        return to_json(rows)
    return "\n".join(
        ",".join(c if isinstance(c, str) else to_json(c) for c in r) if isinstance(r, list) else str(r) for r in rows
    )


def _to_lines(rows: Any) -> str:
    return "\n".join(
        row if isinstance(row, str) else to_json(row) for row in (rows if isinstance(rows, list) else [rows])
    )


WRITERS: dict[str, Callable[[Any], bytes]] = {
    "json": lambda value: to_json(value).encode("utf-8", "surrogatepass"),
    "yaml": lambda value: _to_yaml(value).encode("utf-8", "surrogatepass"),
    "csv": lambda value: _to_csv(value).encode("utf-8", "surrogatepass"),
    "lines": lambda value: _to_lines(value).encode("utf-8", "surrogatepass"),
    "pickle": lambda value: pickle.dumps(_plain(value), 2),
}
"""Syntax -> what writes a value in it."""

_SNIPPETS = (
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\t", b"---\n", b"...\n", b"&a ", b"*a ", b"<<: *a\n",
    b"!!binary ",
    b"!!python/name:os.system ", b"!!set ", b"{", b"[", b"}", b"]", b":", b",", b"'", b'"', b"\\", b"%", b"? ",
    b"- ", b"|",
    b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"null", b"true", b"yes", b"~", b"0o17", b"1:30", b"\xed\xa0\x80",
    b"\\ud800",
    b"&a [&b [x, x, x, x, x, x, x, x, x], *b, *b, *b, *b, *b, *b, *b, *b]", b"a: &r {b: *r}", b"&l [*l]", b"[" * 5000,
    b"{a: " * 2000, b"a" * 20_000,
)  # fmt: skip
_BOMB = (
    b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
    b"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
    b"g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n"
)


@st.composite
def spoiled_bytes(draw: Callable[..., Any], data: bytes) -> bytes:
    """Gives bytes with some turned over, left out, repeated or put in."""
    for _ in range(draw(st.sampled_from((1, 1, 2, 4)))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from((0, 1, 2, 8, 40, 1000))))
        how = draw(st.sampled_from(("flip", "cut", "twice", "snippet", "any", "end", "bomb")))
        put = {
            "flip": bytes(b ^ 1 << draw(st.integers(0, 7)) for b in data[start:end][:8]) if how == "flip" else b"",
            "twice": data[start:end] * 2,
            "snippet": draw(st.sampled_from(_SNIPPETS)),
            "any": draw(st.binary(max_size=6)),
            "bomb": b"\n" + _BOMB,
        }.get(how, b"")
        data = data[:start] + put + (b"" if how == "end" else data[end:])
    return data


@st.composite
def spoiled_files(draw: Callable[..., Any], example: Any, syntax: str) -> bytes:
    """Gives the content of a file: mostly a spoiled value that the syntax can hold, else spoiled bytes.

    Args:
        draw: of hypothesis.
        example: valid content as plain values.
        syntax: one of ``WRITERS``; YAML is also written as JSON, which it contains.
    """
    if draw(st.integers(0, 3)) == 0:
        return draw(spoiled_bytes(WRITERS[syntax](example)))
    value = draw(spoiled(example))
    if syntax == "yaml" and draw(st.booleans()):
        syntax = "json"
    return WRITERS[syntax](value)
