"""Results of many images that wait on the disk until all are there, so that memory holds one of them at a time."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any


class SpooledResults:
    """A list of JSON values that is written to a temporary file; closing it removes the file.

    Args:
        folder: where the file lies; created.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile("w+", dir=folder, encoding="ascii")  # noqa: SIM115 (closed by the caller's `with`)
        self._count = 0

    def __len__(self) -> int:
        """Returns how many results were added."""
        return self._count

    def append(self, result: Any) -> None:
        """Adds a result; not while the list is being read."""
        self._file.write(json.dumps(result) + "\n")
        self._count += 1

    def __iter__(self) -> Iterator[Any]:
        """Reads the results in their order; one reader at a time."""
        self._file.seek(0)
        for line in self._file:
            yield json.loads(line)

    def __enter__(self) -> SpooledResults:
        """Returns the list."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Removes the file."""
        self._file.close()
