"""JSON text as plain data within limits, so that no reader meets nesting or texts that it cannot pass on."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 100
"""Lists and mappings inside each other; the formats of this program need fewer than ten."""
# \ud83d without \ude00 behind it, or the reverse. Bytes of file names that are no UTF-8 (\udc80..\udcff) may stand alone.
_HALF = (
    r"(?<!\\)(?:\\\\)*(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD](?:[cC][0-7]|[d-fD-F][0-9a-fA-F])[0-9a-fA-F])"
)


def parse_json(text: str | bytes, *, unique: bool = False) -> Any:
    """Parses JSON.

    Args:
        text: the document; bytes are UTF-8, -16 or -32.
        unique: refuse a key that occurs twice in one mapping; otherwise the last one counts.

    Raises:
        ValueError: a syntax error, nesting deeper than ``MAX_DEPTH``, a number of thousands of digits, or half a
            character, which could be written nowhere.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique if unique else None)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    check_depth(value)
    half = _half_character(text)
    if half is not None:
        raise ValueError(f"a text holds half a character, {half}")
    return value


_TOO_DEEP = f"lists and mappings inside each other, more than {MAX_DEPTH} levels deep"


def check_depth(value: Any) -> None:
    """Refuses plain data that nests deeper than ``MAX_DEPTH``, or without end.

    Raises:
        ValueError: it does.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, (list, dict))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (list, dict))
        ]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _half_character(text: str | bytes) -> str | None:
    """Returns the first escape of half a character; a glance for any escape of that kind saves the search."""
    if isinstance(text, bytes):
        if b"\\ud" not in text and b"\\uD" not in text:
            return None
        text = text.decode("utf-8", "replace")
    match = re.search(_HALF, text)
    return "\\" + match[0].lstrip("\\") if match else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!r} appears twice")
        found[name] = value
    return found
