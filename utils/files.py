"""Writing files so that a crash or a full disk never leaves half a file under the final name."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import UserError

_DISK_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than this file system or process may write",
}
TEMP_MARK = ".tmp-"


class DiskError(UserError):
    """A file could not be written for lack of space; what stood there before is untouched."""


def human_size(count: float) -> str:
    """Returns a number of bytes for people: ``1.5 GB`` (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def free_bytes(path: str | Path) -> int:
    """Returns the bytes free for this user at ``path`` or its nearest existing parent."""
    folder = Path(path).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_free_space(path: str | Path, needed: int) -> None:
    """Refuses early when the disk cannot hold what is going to be written.

    Args:
        path: where the files will go.
        needed: bytes that should be free.

    Raises:
        DiskError: if fewer are free; names the path and both numbers.
    """
    free = free_bytes(path)
    if free < needed:
        raise DiskError(
            f"not enough disk space for {path}: {human_size(needed)} needed, {human_size(free)} free. "
            "Free some space or choose another folder."
        )


@contextmanager
def disk_errors(path: str | Path, needed: int | None = None) -> Iterator[None]:
    """Turns "no space left" errors of the block into a :class:`DiskError` that names path, needed and free bytes."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        size = "" if needed is None else f"{human_size(needed)} needed, "
        raise DiskError(
            f"cannot write {path}: {_DISK_ERRORS[error.errno]} ({size}{human_size(free_bytes(path))} free). "
            "Nothing that was there before is lost."
        ) from error


def fsync_file(path: str | Path) -> None:
    """Forces a closed file's content onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(path: str | Path) -> None:
    """Forces a folder's entries (new names, renames) onto the disk; silently does nothing where that is impossible."""
    try:
        fsync_file(path)
    except OSError:  # Windows and some network file systems cannot open or sync a folder
        pass


def _plain_mode(temporary: str) -> None:
    """Gives a temporary file (0600) the permissions that an ordinary new file would have."""
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(temporary, 0o666 & ~umask)


@contextmanager
def atomic_write(path: str | Path, mode: str = "wb") -> Iterator[IO]:
    """Opens a temporary file beside ``path`` that takes its name when the block ends without an error.

    A reader sees the old content or the new one, never a part; parent folders are created.

    Args:
        path: final name.
        mode: ``"wb"`` or ``"w"`` (UTF-8, newlines as written).

    Yields:
        The open file object.

    Raises:
        DiskError: if the disk is full; the old file is untouched.
    """
    if mode not in ("wb", "w"):
        raise ValueError(f"mode must be 'wb' or 'w', not {mode!r}")
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}{TEMP_MARK}")
        try:
            # A file name that is no UTF-8 is written as JSON escapes it (\\udce9), which reads back as the same name.
            coding = (None, None, None) if mode == "wb" else ("utf-8", "backslashreplace", "")
            with os.fdopen(descriptor, mode, encoding=coding[0], errors=coding[1], newline=coding[2]) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _plain_mode(temporary)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Writes ``text`` as UTF-8, atomically."""
    with atomic_write(path, "w") as file:
        file.write(text)


def _plain(value: Any) -> Any:
    """Turns numpy scalars and arrays into Python values; ``json`` calls it for what it does not know."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (Path, set, frozenset)):
        return str(value) if isinstance(value, Path) else sorted(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def atomic_write_json(path: str | Path, value: Any, *, indent: int | None = 2) -> None:
    """Writes ``value`` as UTF-8 JSON, atomically; numpy numbers and arrays, paths and sets are converted.

    Without ``indent`` an entry of a mapping may be an iterator: it is written as a list, one row in memory at a time.
    """
    encode = json.JSONEncoder(indent=indent, default=_plain, ensure_ascii=False).encode
    with atomic_write(path, "w") as file:
        file.writelines(_json_parts(value, encode) if indent is None else [encode(value)])
        file.write("\n")


def _json_parts(value: Any, encode: Callable[[Any], str]) -> Iterator[str]:
    """Gives the text that ``encode`` makes of a value, row by row where the value is or holds lists of rows.

    ``json.dump`` gives the same text in parts, but is seven times slower: it does not use the encoder in C.
    """
    if not isinstance(value, dict) or not value or not all(isinstance(key, str) for key in value):
        yield from _json_rows(value, encode)
        return
    for place, (key, entry) in enumerate(value.items()):
        yield f"{', ' if place else '{'}{encode(key)}: "
        yield from _json_rows(entry, encode)
    yield "}"


def _json_rows(value: Any, encode: Callable[[Any], str]) -> Iterator[str]:
    if not isinstance(value, (list, Iterator)):
        yield encode(value)
        return
    before = "["
    for row in value:
        yield before + encode(row)
        before = ", "
    yield "[]" if before == "[" else "]"


def sha256(path: str | Path) -> str:
    """Returns the SHA-256 digest of a file's content as 64 lower-case hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def crc32(path: str | Path) -> str:
    """Returns the CRC-32 of a file's content as eight lower-case hexadecimal digits."""
    value = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return f"{value:08x}"
