"""A kind of text file: a valid example, what stands beside it, and what reads it."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segfoundry.trainer.cli.main import main
from segfoundry.utils.errors import UserError

from ..support.tiny_data import write_dataset


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Attributes:
        name: of the kind.
        file: place in the folder.
        syntax: of ``odd_values.WRITERS``.
        example: valid content.
        read: called with the folder; raises UserError where the content is refused.
        beside: further files, path -> content.
        images: whether the folder holds the small data set of ``tests/support/tiny_data.py``.
    """

    name: str
    file: str
    syntax: str
    example: Any
    read: Callable[[Path], None]
    beside: Mapping[str, Any] = field(default_factory=dict)
    images: bool = True

    def set_up(self, folder: Path) -> None:
        """Writes what stands around the file."""
        if self.images:
            write_dataset(folder, train=2, val=1, size=24)
        for name, content in self.beside.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def command(*words: Any) -> None:
    """Runs a command line in this process; an exit code of 2 is a refusal, and only that.

    Raises:
        UserError: with what the command said.
    """
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main([str(word) for word in words])
    if code == 2:
        raise UserError(said.getvalue())
    assert code in (0, 1), f"exit code {code}: {said.getvalue()}"
