"""JSON text as plain data within limits, so that no reader meets nesting or texts that it cannot pass on."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

MAX_DEPTH = 100
"""Lists and mappings inside each other; the formats of this program need fewer than ten."""
# \ud83d without \ude00 behind it, or the reverse; bytes of names that are no UTF-8 (\udc80..\udcff) may stand alone.
_UNWRITABLE = (
    r"(?<!\\)(?:\\\\)*(?:\\u0000|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD](?:[cC][0-7]|[d-fD-F][0-9a-fA-F])[0-9a-fA-F])"
)


def parse_json(text: str | bytes, *, unique: bool = False) -> Any:
    """Parses JSON.

    Args:
        text: the document; bytes are UTF-8, -16 or -32.
        unique: refuse a key that occurs twice in one mapping; otherwise the last one counts.

    Raises:
        ValueError: a syntax error, nesting deeper than ``MAX_DEPTH``, a number of thousands of digits, or an
            escape of half a character or of NUL, which no file or file name can hold.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique if unique else None)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError as error:
        if "set_int_max_str_digits" not in str(error):
            raise
        raise ValueError(f"a number has more than {sys.get_int_max_str_digits()} digits") from None
    check_depth(value)
    escape = _unwritable(text)
    if escape is not None:
        raise ValueError(f"a text holds {escape}, which is no whole character")
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


def _unwritable(text: str | bytes) -> str | None:
    """Returns the first escape that means no whole character; a glance for its beginning saves the search."""
    if isinstance(text, bytes):
        if not any(start in text for start in (b"\\ud", b"\\uD", b"\\u0000")):
            return None
        text = text.decode("utf-8", "replace")
    match = re.search(_UNWRITABLE, text)
    return "\\" + match[0].lstrip("\\") if match else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!r} appears twice")
        found[name] = value
    return found
