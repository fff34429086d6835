"""Origins of values that a dumped configuration keeps in comments, as long as nobody edits the file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

TITLE = "# Resolved configuration of Segfoundry: a valid configuration file. Comments: where a value was written."
DIGEST = "# digest "


def signed(body: str) -> str:
    """Returns the text of a dump under its title and digest."""
    return f"{TITLE}\n{DIGEST}{_digest(body)}\n{body}"


def kept_origins(text: str) -> Callable[[int, int], str | None]:
    """Returns a function (line from 0, column behind the value) -> origin written there, or None.

    It always returns None unless ``text`` is an unchanged result of ``dump``.
    """
    lines = text.split("\n")
    if lines[0] != TITLE or len(lines) < 3 or lines[1] != DIGEST + _digest("\n".join(lines[2:])):
        return lambda line, column: None

    def origin(line: int, column: int) -> str | None:
        comment = lines[line][column:].strip()
        return comment[2:] if comment.startswith("# ") else None

    return origin


def _digest(body: str) -> str:
    return hashlib.blake2b(body.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
