"""Turns what was written for a key into the key's declared type.

Scalars stay text until the declared type is known. So ``1e-4`` is a number wherever a number is wanted (YAML 1.1 reads
it as a string), ``False`` stays a word wherever a string is wanted, and files and command lines share one grammar.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from .plain import NULL_WORDS, Plain, is_null
from .schema import Leaf
from .yaml_text import parse_text

LARGEST = 2**63 - 1  # what arrays and generators of random numbers hold
TRUE_WORDS = frozenset({"true", "yes", "on", "1", "y"})
FALSE_WORDS = frozenset({"false", "no", "off", "0", "n", "", "none", "null", "~"})


def type_name(hint: Any) -> str:
    """Returns a declared type in words: "integer", "list of numbers", ..."""
    if get_origin(hint) is list:
        if get_origin(get_args(hint)[0]) is dict:
            return "list of mappings"
        return {bool: "list of booleans", int: "list of integers", float: "list of numbers"}.get(
            get_args(hint)[0], "list of words"
        )
    if get_origin(hint) is dict:
        return "mapping"
    return {bool: "boolean", int: "integer", float: "number", str: "text"}.get(hint, "value")


def convert_value(value: Any, hint: Any) -> Any:
    """Converts ``value`` to the declared type ``hint``.

    Args:
        value: text (``Plain`` or str), None, or a Python bool, int, float, list, tuple or mapping.
        hint: type as in ``Leaf.type``.

    Raises:
        ValueError: if the value cannot mean that type; the text says what was expected.
    """
    if get_origin(hint) is list:
        item = get_args(hint)[0]
        return [_to_any(m) for m in mappings(value)] if get_origin(item) is dict else _to_list(value, item)
    if hint is Any:
        return _to_any(value)
    if isinstance(value, (Mapping, list, tuple)) or hint not in _SCALARS:
        raise ValueError(f"expected {_article(type_name(hint))}")
    return _SCALARS[hint](value)


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}" if name != "text" else name


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = "" if value is None else str(value).strip().lower()
    if word in TRUE_WORDS or word in FALSE_WORDS:
        return word in TRUE_WORDS
    raise ValueError("expected a boolean (true/false, yes/no, on/off, 1/0)")


def _to_int(value: Any) -> int:
    if not isinstance(value, bool) and value is not None:
        try:
            found = int(str(value))
        except ValueError:
            try:
                number = float(str(value))
            except ValueError:
                number = math.nan
            if not number.is_integer():
                raise ValueError("expected an integer") from None
            found = int(number)
        if -LARGEST <= found <= LARGEST:
            return found
        raise ValueError(f"expected an integer of at most {LARGEST}")
    raise ValueError("expected an integer")


def _to_float(value: Any) -> float:
    if not isinstance(value, bool) and value is not None:
        text = str(value).strip().lower()
        if text.lstrip("+-") in (".inf", ".nan"):  # YAML's spelling
            text = text.replace(".", "")
        try:
            return float(text)
        except ValueError:
            pass
    raise ValueError("expected a number")


def _to_str(value: Any) -> str:
    return "" if value is None else str(value)


_SCALARS: dict[Any, Any] = {bool: _to_bool, int: _to_int, float: _to_float, str: _to_str}


def _to_list(value: Any, item: Any) -> list[Any]:
    if is_null(value):
        return []
    if isinstance(value, Plain):
        value = parse_sequence(value)
    if isinstance(value, Mapping):
        raise ValueError(f"expected a {type_name(list[item])}")
    if not isinstance(value, (list, tuple)):
        value = [value]
    return [convert_value(v, item) for v in value]


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """Returns the mappings of a list, their values as they were written.

    Raises:
        ValueError: if it is no list of mappings.
    """
    if is_null(value):
        return []
    found = parse_sequence(value) if isinstance(value, Plain) else value
    if not isinstance(found, (list, tuple)) or not all(isinstance(item, Mapping) for item in found):
        raise ValueError("expected a list of mappings such as [{NAME: VALUE}]")
    return list(found)


def parse_sequence(text: Plain) -> list[Any]:
    """Reads ``[a, b]`` as a YAML list, empty text as no element and any other text as one element."""
    stripped = text.strip()
    if not stripped:
        return []
    if stripped[0] not in "['\"":
        return [text]
    value = parse_text(stripped)
    return value if isinstance(value, list) else [value]


def _to_any(value: Any) -> Any:
    """Guesses the type of a value that no schema describes, by the rules of YAML (with ``1e-4`` as a number)."""
    if isinstance(value, Mapping):
        return {str(k): _to_any(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_any(v) for v in value]
    if not isinstance(value, Plain):
        return value
    text = value.strip()
    if text and text[0] in "[{'\"":
        return _to_any(parse_text(text))
    if text.lower() in ("true", "yes", "on", "false", "no", "off"):
        return text.lower() in TRUE_WORDS
    if text in NULL_WORDS:
        return None
    if text[:1] in set("+-.0123456789"):  # a word such as "nan" or "infinity" stays a word
        for kind in (int, _to_float):
            try:
                return kind(text)
            except ValueError:
                continue
    return str(value)


def check_range(value: Any, leaf: Leaf) -> None:
    """Checks a converted value against the declared choices and limits.

    Raises:
        ValueError: if it breaks them; the text says what is allowed.
    """
    for item in value if isinstance(value, list) else [value]:
        if leaf.choices is not None and item not in leaf.choices:
            raise ValueError(f"expected one of {', '.join(repr(c) for c in leaf.choices)}")
        if leaf.minimum is not None and not item >= leaf.minimum:
            raise ValueError(f"expected at least {leaf.minimum}")
        if leaf.maximum is not None and not item <= leaf.maximum:
            raise ValueError(f"expected at most {leaf.maximum}")
