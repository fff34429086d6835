"""Names of files as other machines write them: backslashes between folders, absolute paths, ``%20``, other encodings.

A name is never guessed: it means a file only when one alone fits, which is where one of the two paths is the end of
the other.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from ...utils.errors import DataError, nearest

_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]|[A-Za-z]+://")
_COMPARED = 2000  # names of which the nearest is searched: more would take seconds


def is_absolute(name: str) -> bool:
    """Tells whether a name is an absolute path on some system, or an address."""
    return bool(_ABSOLUTE.match(name))


def last_part(name: str) -> str:
    """Returns the last part of a path of any system, ``%20`` and the like decoded."""
    parts = _parts(unquote(name))
    return parts[-1] if parts else name


def foreign_cause(name: str) -> str:
    """Says what keeps a name from being one of a file here, such as "it holds a backslash"; empty: nothing."""
    if is_absolute(name):
        return "it is an absolute path"
    if "\\" in name:
        return "it holds a backslash, as Windows writes paths"
    if unquote(name) != name:
        return "it is URL-encoded"
    return "it is no UTF-8" if _has_raw_bytes(name) else ""


def portable_name(name: str) -> str:
    """Returns a relative POSIX path under which what belongs to a file of that name can be stored.

    Of an absolute path the last part stays. Names that lead upwards still do.
    """
    if is_absolute(name):
        return _parts(name)[-1] if _parts(name) else name
    return PurePosixPath(name.replace("\\", "/")).as_posix()


def storable(name: str) -> bool:
    """Tells whether a file can have that name here."""
    try:
        return bool(name) and b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def find_file(folder: Path, name: str) -> Path:
    """Returns the file of a folder that a name means, without listing the folder.

    Returns:
        ``folder / name`` where that exists or no single file fits.
    """
    path = folder / name
    if path.exists():
        return path
    found: dict[Path, None] = {}
    for parts in _readings(name):
        for start in range(len(parts)):
            candidate = folder.joinpath(*parts[start:])
            dropped = folder.joinpath(*parts[:1])
            if candidate.is_file() and (start == 0 or is_absolute(name) or not dropped.is_dir()):
                found[candidate] = None
    return next(iter(found)) if len(found) == 1 else path


def shared_files(named: Iterable[tuple[str, Path]]) -> list[str]:
    """Returns what is meant by several different names, as texts ``x/a.jpg and y/a.jpg mean a.jpg``.

    Args:
        named: (name, file that it was found to mean).
    """
    names: dict[Path, dict[str, None]] = {}
    for name, path in named:
        names.setdefault(path, {})[name] = None
    return [f"{' and '.join(several)} mean {path}" for path, several in names.items() if len(several) > 1]


class KnownNames:
    """Names of the files there are, and which of them a name in another file means.

    Args:
        names: relative POSIX paths.
        stem: takes off of a file's name what may differ, such as its suffix.
    """

    def __init__(self, names: Iterable[str], stem: Callable[[str], str] = str) -> None:
        self._names = list(names)
        self._stem = stem
        self._by_base: dict[str, list[str]] = {}
        self._folders: set[str] = set()
        for name in self._names:
            folder, slash, base = name.rpartition("/")
            self._by_base.setdefault(self._base_key(base), []).append(name)
            if slash:
                self._folders.add(_key(folder.split("/")[0]))

    def fitting(self, name: str) -> list[str]:
        """Returns the files that a name can mean: one path ends with the other, compared as people read them.

        Of a relative name, leading folders may be dropped only where no such folder is here: else the file is missing.
        Those with the name's own suffix come alone.
        """
        absolute = is_absolute(name)
        for parts in _readings(name):
            found = [known for known in self._alike(parts) if self._ends_agree(parts, known.split("/"), absolute)]
            if found:
                suffix = PurePosixPath(parts[-1]).suffix
                return [known for known in found if PurePosixPath(known).suffix == suffix] or found
        return []

    def only(self, name: str, where: str) -> str | None:
        """Returns the file that a name means, or None.

        Raises:
            DataError: several files fit; ``where`` begins the message.
        """
        found = self.fitting(name)
        if len(found) > 1:
            raise DataError(f"{where}: {name!r} fits several files: {', '.join(found)}; give the folders too")
        return found[0] if found else None

    def explain(self, name: str) -> str:
        """Returns what may be wrong with a name that means no file here: its cause and the nearest names, or ""."""
        cause = foreign_cause(name)
        near = [known for parts in _readings(name) for known in self._alike(parts)][:3]
        if not near and len(self._names) <= _COMPARED:
            near = nearest(_parts(name)[-1] if _parts(name) else name, self._names, 1)
        hint = f"did you mean {' or '.join(map(repr, dict.fromkeys(near)))}?" if near else ""
        return ", ".join(text for text in (f"{name!r}: {cause}" if cause else "", hint) if text)

    def _alike(self, parts: list[str]) -> list[str]:
        return self._by_base.get(self._base_key(parts[-1]), [])

    def _base_key(self, base: str) -> str:
        return _key(self._stem(base))

    def _ends_agree(self, parts: list[str], known: list[str], absolute: bool) -> bool:
        common = min(len(parts), len(known))
        if any(_key(a) != _key(b) for a, b in zip(parts[-common:-1], known[-common:-1], strict=True)):
            return False
        return absolute or len(parts) <= len(known) or _key(parts[0]) not in self._folders


def _readings(name: str) -> list[list[str]]:
    """Returns the parts of a path, as it stands and with its %20 decoded; none of a path that leads upwards."""
    found = [_parts(text) for text in dict.fromkeys((name, unquote(name)))]
    return [parts for parts in found if parts and ".." not in parts]


def _parts(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]


def _key(text: str) -> str:
    """Returns a name as people read it: in composed Unicode, bytes that are no UTF-8 taken as Latin-1."""
    if text.isascii():
        return text
    if _has_raw_bytes(text):
        text = os.fsencode(text).decode("latin-1")
    return unicodedata.normalize("NFC", text)


def _has_raw_bytes(text: str) -> bool:
    """Tells whether a name holds bytes that Python could not decode (it keeps them as U+DC80..U+DCFF)."""
    return not text.isascii() and any("\udc80" <= character <= "\udcff" for character in text)
