"""Errors that a user can mend: the command line prints them without a traceback and exits with 2."""

import difflib
from collections.abc import Iterable

LONGEST_LINE = 2000  # characters; a value of a megabyte that stands in a message would hide what it says


class UserError(Exception):
    """Bad input from the user: a path, a key, a file's content, a full disk.

    The text names the file or key, what was found, what was expected and the nearest fix. The command line prints it
    after ``error:`` and exits with code 2; ``--debug`` adds the traceback. Lines without end are cut in the middle.
    """

    def __str__(self) -> str:
        return "\n".join(map(_cut, super().__str__().split("\n")))


class ConfigError(UserError):
    """A configuration key, its value, or a combination of keys is wrong."""


class DataError(UserError):
    """A dataset, an image or an annotation file is wrong."""


class CheckpointError(UserError):
    """A weight file or a checkpoint folder is wrong, unsafe or does not fit."""


def _cut(line: str) -> str:
    half = LONGEST_LINE // 2
    left_out = len(line) - 2 * half
    return line if left_out <= 0 else f"{line[:half]} [... {left_out} characters ...] {line[-half:]}"


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Returns up to ``count`` members of ``known`` that look most like ``name``, best first (case is ignored)."""
    by_lower = {k.lower(): k for k in known}
    return [by_lower[m] for m in difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.5)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns ``", did you mean 'a' or 'b'?"`` for the closest names, or an empty string when nothing is close."""
    close = nearest(name, known)
    return f", did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
