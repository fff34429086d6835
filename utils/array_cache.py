"""A folder of computed arrays that runs share: small, bounded, never in the way.

What is in it can be computed again, so nothing here raises: a damaged, foreign or unreadable file counts as absent, and
a folder that cannot be written is left alone after one warning.
"""

from __future__ import annotations

import io
import os
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .errors import UserError
from .files import TEMP_MARK, atomic_write
from .logging import get_logger
from .paths import user_path

log = get_logger(__name__)

VARIABLE = "SEGFOUNDRY_CACHE"
MAX_BYTES = 2**30
_MARK = b"segfoundry-array "
_HEADER = len(_MARK) + 9  # mark, CRC-32 as eight digits, newline
_SUFFIX = ".array"
_NAME = re.compile(r"[0-9a-f]{8,128}")
_WAIT_SECONDS = 600.0
_STALE_SECONDS = 3600.0


def cache_folder(kind: str) -> Path:
    """Returns the folder for one kind of results.

    ``$SEGFOUNDRY_CACHE/KIND``, else ``segfoundry/KIND`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    own = os.environ.get(VARIABLE)
    if own:
        return user_path(own) / kind
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return user_path(base) / "segfoundry" / kind


class ArrayCache:
    """Arrays by name, one file each; the ones unused for longest go when the folder outgrows its bound.

    Writers of one name replace each other's files as a whole, so that a reader sees one of them or none.

    Args:
        folder: created when first written to.
        max_bytes: bound on the folder's size.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._writable = True

    def get(self, name: str) -> np.ndarray | None:
        """Returns the array kept under a name, or None.

        Args:
            name: hexadecimal digits, e.g. of a digest.
        """
        path = self._path(name)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        array = _decode(content)
        if array is None:
            log.warning("%s is damaged and will be written again", path)
            return None
        try:
            os.utime(path)  # the age that decides who goes is that of the last use
        except OSError:
            pass
        return array

    def put(self, name: str, array: np.ndarray) -> None:
        """Keeps an array (numbers only) under a name."""
        path = self._path(name)
        if not self._writable:
            return
        try:
            with atomic_write(path) as file:
                file.write(_encode(array))
        except (OSError, UserError) as error:
            self._give_up(error)

    def trim(self) -> None:
        """Removes the files unused for longest until the folder keeps its bound, and left-overs of crashed writers."""
        files = []
        try:
            for path in self.folder.iterdir():
                status = path.stat()
                if TEMP_MARK in path.name and time.time() - status.st_mtime > _STALE_SECONDS:
                    path.unlink(missing_ok=True)
                elif path.suffix == _SUFFIX:
                    files.append((status.st_mtime, status.st_size, path))
            total = sum(size for _, size, _ in files)
            for _, size, path in sorted(files):
                if total <= self.max_bytes:
                    break
                path.unlink(missing_ok=True)
                total -= size
        except OSError:  # another process trims at the same time
            return

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lets one process at a time into the block, so that others find what it computed.

        A process that waits too long, or whose file system knows no locks, goes on: the work is then done twice.
        """
        try:
            import fcntl

            self.folder.mkdir(parents=True, exist_ok=True)
            file = open(self.folder / ".lock", "a", encoding="utf-8")
        except (ImportError, OSError) as error:
            if isinstance(error, OSError):
                self._give_up(error)
            yield
            return
        with file:
            deadline = time.monotonic() + _WAIT_SECONDS
            while time.monotonic() < deadline:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.05)
                except OSError:
                    break
            yield  # closing the file releases the lock

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"a name is 8 to 128 hexadecimal digits, not {name!r}")
        return self.folder / f"{name}{_SUFFIX}"

    def _give_up(self, error: Exception) -> None:
        if self._writable:
            self._writable = False
            log.warning("%s: results are not kept for later runs (%s); $%s names another folder", self.folder,
                        error, VARIABLE)  # fmt: skip


def _encode(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    payload = stream.getvalue()
    return _MARK + f"{zlib.crc32(payload):08x}\n".encode() + payload


def _decode(content: bytes) -> np.ndarray | None:
    """Returns the array of a file's content, or None if it is not one of ours or damaged."""
    payload = content[_HEADER:]
    if content[:_HEADER] != _MARK + f"{zlib.crc32(payload):08x}\n".encode():
        return None
    try:
        return np.load(io.BytesIO(payload), allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return None
