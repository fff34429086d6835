"""Typed reading of the mappings that JSON annotation files consist of; errors name file, entry and field.

A field is what its format says, or the file is refused: nothing is judged by truthiness, no text is taken for a number
and no boolean for 0 or 1, except where the format itself writes flags as numbers.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Mapping
from typing import Any

from ...utils.errors import DataError
from ...utils.paths import MOST_NAME_BYTES

LARGEST = 2**53
"""The largest whole number that JSON readers agree on."""

_LARGEST_ID = 2**63 - 1
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxstring = 2, 5, 50
_LONGEST = 60  # characters of a value in a message


def shown(value: Any) -> str:
    """Returns a value of a JSON file in a form that fits a message."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    text = _SHORT.repr(value)
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return f"the text {text}" if isinstance(value, str) else text


class JsonRow:
    """One mapping of a JSON file.

    Each method returns a field as one type. A field that is missing is an error unless a default is given.

    Args:
        value: what the file holds at this place.
        where: the start of messages: file and entry.

    Raises:
        DataError: ``value`` is no mapping; by the methods: the field is missing or something else.
    """

    __slots__ = ("fields", "where")

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise DataError(f"{where} is no mapping, found {shown(value)}")
        self.fields: Mapping[str, Any] = value
        self.where = where

    def has(self, name: str) -> bool:
        """True if the field is there and not null."""
        return self.fields.get(name) is not None

    def get(self, name: str) -> Any:
        """Returns a field as it is."""
        if name not in self.fields:
            raise DataError(f"{self.where} has no `{name}`")
        return self.fields[name]

    def wrong(self, name: str, expected: str) -> DataError:
        """Returns the error of a field that is not what was expected."""
        return DataError(f"{self.where}: `{name}` is {shown(self.fields.get(name))}, expected {expected}")

    def identifier(self, name: str) -> int | str:
        """Returns an id: a whole number or a text."""
        value = self.get(name)
        if isinstance(value, str) and value:
            return value
        found = _as_whole(value)
        if found is None or abs(found) > _LARGEST_ID:
            raise self.wrong(name, "a whole number or a text")
        return found

    def whole(self, name: str, lowest: int | None = 0, highest: int = LARGEST) -> int:
        """Returns a whole number of a range; 3.0 is one."""
        found = _as_whole(self.get(name))
        least = -LARGEST if lowest is None else lowest
        if found is None or not least <= found <= highest:
            limits = ("" if lowest is None else f" from {lowest}") + ("" if highest == LARGEST else f" to {highest}")
            raise self.wrong(name, "a whole number" + limits)
        return found

    def number(self, name: str) -> float:
        """Returns a finite number."""
        value = self.get(name)
        if not _is_number(value):
            raise self.wrong(name, "a finite number")
        return value

    def measure(self, name: str) -> float:
        """Returns a finite number from 0."""
        value = self.number(name)
        if value < 0:
            raise self.wrong(name, "a number from 0")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Returns a flag that the format writes as 0 or 1, or as false or true."""
        value = self.fields.get(name, default)
        if not isinstance(value, (bool, int, float)) or value not in (0, 1):
            raise self.wrong(name, "0 or 1")
        return bool(value)

    def text(self, name: str) -> str:
        """Returns a text that is not empty."""
        value = self.get(name)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(name, "text")
        return value

    def file_name(self, name: str) -> str:
        """Returns a text that can be the path of a file."""
        value = self.text(name)
        try:
            parts = os.fsencode(value).split(b"/")
        except UnicodeEncodeError:
            raise self.wrong(name, "the name of a file") from None
        if b"\0" in b"".join(parts) or parts[-1] in (b"", b".", b"..") or max(map(len, parts)) > MOST_NAME_BYTES:
            raise self.wrong(name, "the name of a file")
        return value

    def box(self, name: str) -> tuple[float, float, float, float]:
        """Returns a box x, y, width, height of finite numbers; width and height are not negative."""
        value = self.get(name)
        if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)) or min(value[2:]) < 0:
            raise self.wrong(name, "[x, y, width, height] in pixels")
        return value[0], value[1], value[2], value[3]


def _as_whole(value: Any) -> int | None:
    if isinstance(value, float) and abs(value) <= LARGEST and value == int(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST
