"""Results of many images that wait on the disk until all are there, so that memory holds one of them at a time."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

R = TypeVar("R")


class SpooledResults(Generic[R]):
    """A list that is written to a temporary file; closing it removes the file.

    Args:
        folder: where the file lies; created.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by the caller's `with`)
        self._count = 0

    def __len__(self) -> int:
        """Returns how many results were added."""
        return self._count

    def append(self, result: R) -> None:
        """Adds a result; not while the list is being read."""
        pickle.dump(result, self._file)
        self._count += 1

    def __iter__(self) -> Iterator[R]:
        """Reads the results in their order; one reader at a time."""
        self._file.seek(0)
        for _ in range(self._count):
            yield pickle.load(self._file)  # noqa: S301 (our own file)

    def __enter__(self) -> SpooledResults[R]:
        """Returns the list."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Removes the file."""
        self._file.close()
