"""Checks of single values in the YAML files of data sets; errors name the file and the key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...utils.errors import DataError, did_you_mean

LARGEST = 2**31 - 1
"""Of ids, pixel values and sizes: what arrays and other programs can hold."""


def check_mapping(value: Any, known: Sequence[str], where: str, required: Sequence[str] = ()) -> None:
    """Checks the keys of a mapping.

    Raises:
        DataError: no mapping, an unknown key (names the closest), or a required key is missing.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a mapping with the keys {', '.join(known)}, found {type(value).__name__}")
    for name in value:
        if name not in known:
            raise DataError(
                f"{where}: unknown key {name!r}{did_you_mean(str(name), known) or '.'} Known: {', '.join(known)}."
            )
    for name in required:
        if value.get(name) is None:
            raise DataError(f"{where}: the key `{name}` is missing")


def text(value: Any, where: str) -> str:
    """Returns a text without blanks at its ends.

    Raises:
        DataError: no text, or an empty one.
    """
    if not isinstance(value, str) or not value.strip():
        quote = isinstance(value, (bool, int, float))
        hint = " (quote it: YAML reads yes/no/on/off and numbers as other types)" if quote else ""
        raise DataError(f"{where}: {value!r}, expected text{hint}")
    return value.strip()


def one_of(value: Any, known: Sequence[str], where: str) -> str:
    """Returns a text that must be one of several.

    Raises:
        DataError: it is none of them; names the closest.
    """
    if value not in known:
        raise DataError(
            f"{where}: unknown {value!r}{did_you_mean(str(value), known) or '.'} Known: {', '.join(known)}."
        )
    return value


def whole_number(value: Any, where: str, lowest: int = 0, unit: str = "") -> int:
    """Returns a whole number.

    Raises:
        DataError: no whole number, or one below ``lowest`` or above ``LARGEST``.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise DataError(f"{where}: {value!r}, expected a whole number{unit} from {lowest}")
    if value > LARGEST:
        raise DataError(f"{where}: {value!r}, expected a whole number{unit} up to {LARGEST}")
    return value


def whole_numbers(value: Any, where: str) -> tuple[int, ...]:
    """Returns a list of whole numbers from 0.

    Raises:
        DataError: for anything else.
    """
    if not isinstance(value, list):
        raise DataError(f"{where}: {value!r}, expected a list of whole numbers")
    return tuple(whole_number(v, f"{where}[{place}]") for place, v in enumerate(value))
