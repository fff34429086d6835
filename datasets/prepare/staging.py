"""Results that are complete or absent: built beside their place, then renamed; nothing is replaced unasked."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...utils.errors import DataError
from ...utils.files import disk_errors

MANIFEST = "prepare.json"


def holds_only_png(folder: Path) -> bool:
    """Says whether a folder holds nothing but PNG files (sub-folders included)."""
    return all(path.is_dir() or path.suffix.lower() == ".png" for path in folder.rglob("*"))


def made_by_prepare(folder: Path) -> bool:
    """Says whether ``prepare`` wrote a folder and nobody added a file to it since."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return count_files(folder) <= manifest["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def count_files(folder: Path) -> int:
    """Returns the number of files in a folder, sub-folders included."""
    return sum(not path.is_dir() for path in folder.rglob("*"))


def check_output(
    path: Path, *, force: bool, inputs: Sequence[Path], replaceable: Callable[[Path], bool] | None = None
) -> None:
    """Refuses an output place that holds something.

    Args:
        path: file or folder to be written.
        force: an earlier result may be replaced.
        inputs: files and folders that are read; none of them may lie in the output.
        replaceable: tells, with ``force``, whether an existing folder is an earlier result and not something else.

    Raises:
        DataError: something would be lost.
    """
    place = path.resolve()
    for source in inputs:
        if source.resolve() == place or place in source.resolve().parents:
            raise DataError(f"the output {path} holds the input {source}; choose another output")
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not force:
        raise DataError(f"{path} already exists; choose another output, or replace it with --force")
    if path.is_dir() and replaceable is not None and not replaceable(path):
        raise DataError(
            f"{path} holds other files than an earlier result, so --force does not replace it; remove it yourself"
        )


@contextmanager
def staged(*outputs: Path) -> Iterator[tuple[Path, ...]]:
    """Yields a temporary path beside each output; renames them all when the block ends without an error.

    What stood there before is put aside first and removed last. After an error, or an interrupt, the temporary files
    are removed and the old ones are where they were.

    Raises:
        DiskError: the disk is full.
    """
    mark = secrets.token_hex(4)
    temporary = tuple(path.with_name(f".{path.name}.tmp-{mark}") for path in outputs)
    aside = tuple(path.with_name(f".{path.name}.old-{mark}") for path in outputs)
    try:
        with disk_errors(outputs[0]):
            for path in outputs:
                path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _swap(temporary, outputs, aside)
    finally:
        for path in temporary:
            _remove(path)
    for path in aside:
        _remove(path)


def _swap(temporary: Sequence[Path], outputs: Sequence[Path], aside: Sequence[Path]) -> None:
    try:
        for new, path, old in zip(temporary, outputs, aside, strict=True):
            if path.exists():
                path.rename(old)
            new.rename(path)
    except BaseException:
        for new, path, old in zip(temporary, outputs, aside, strict=True):
            if not new.exists():
                _remove(path)
            if old.exists():
                old.rename(path)
        raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
