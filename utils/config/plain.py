"""Words as they were written, before the declared type of their key is known."""

from __future__ import annotations

from typing import Any

NULL_WORDS = frozenset({"~", "null", "Null", "NULL"})


class Plain(str):
    """Text without quotes, from a file or a command line: its type is still open."""

    __slots__ = ()


def is_null(value: Any) -> bool:
    """True for None and for a bare ``null`` or ``~``."""
    return value is None or (isinstance(value, Plain) and value.strip() in NULL_WORDS)
