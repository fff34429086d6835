"""Reading and streaming JSON files with errors that name the file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...utils.errors import DataError
from ...utils.files import atomic_write
from ...utils.json_text import parse_json


def read_bytes(path: Path) -> bytes:
    """Returns the content of a file.

    Raises:
        DataError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_json(path: str | Path) -> Any:
    """Reads a JSON file.

    Raises:
        DataError: the file is missing or no JSON (says what it looks like instead).
    """
    path = Path(path)
    data = read_bytes(path)
    try:
        return parse_json(data)
    except ValueError as error:
        raise DataError(f"{path}: {_what_is_it(data)} ({error})") from error


def _what_is_it(data: bytes) -> str:
    start = data[:64].lstrip().lower()
    if not start:
        return "expected JSON, the file is empty"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "expected JSON, found a web page (the download gave an error page)"
    if start.startswith(b"version https://git-lfs"):
        return "expected JSON, found a Git LFS pointer (run `git lfs pull`)"
    if start.startswith((b"pk\x03\x04", b"\x1f\x8b")):
        return "expected JSON, found an archive (unpack it)"
    return "not valid JSON"


def write_json_stream(path: str | Path, head: Mapping[str, Any], name: str, rows: Iterable[Any]) -> int:
    """Writes ``{**head, name: [rows...]}`` atomically, one row in memory at a time.

    Args:
        path: final place of the file.
        head: entries before the list.
        name: key of the list.
        rows: anything JSON can hold; numbers must be finite.

    Returns:
        Number of rows.
    """
    count = 0
    with atomic_write(path, "w") as file:
        file.write("{")
        for entry, value in head.items():
            file.write(f"{json.dumps(entry)}: {json.dumps(value, allow_nan=False)},\n")
        file.write(f"{json.dumps(name)}: [")
        for row in rows:
            file.write(("\n" if count == 0 else ",\n") + json.dumps(row, allow_nan=False))
            count += 1
        file.write("\n]}\n")
    return count
