"""The image files of a folder, and how annotations find theirs: by name, else by stem with any image suffix."""

from __future__ import annotations

import os
from pathlib import Path

from segfoundry.utils.errors import DataError
from segfoundry.utils.image_io import IMAGE_SUFFIXES


def list_images(folder: Path) -> list[str]:
    """Returns the image files below a folder as sorted relative POSIX paths; hidden ones are left out.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder" + (" (it is a file)" if folder.exists() else ""))
    found = []
    for base, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [f for f in folders if not f.startswith(".")]
        relative = Path(base).relative_to(folder)
        found += [
            (relative / f).as_posix()
            for f in files
            if not f.startswith(".") and Path(f).suffix.lower() in IMAGE_SUFFIXES
        ]
    return sorted(found)


class Listing:
    """The files of a folder, found by relative name or by relative name without suffix."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind
        self.names = list_images(folder)
        if not self.names:
            raise DataError(f"{folder}: no images in this folder (suffixes {', '.join(sorted(IMAGE_SUFFIXES))})")
        self._all = set(self.names)
        self._by_stem: dict[str, list[str]] = {}
        for name in self.names:
            self._by_stem.setdefault(stem_of(name), []).append(name)

    def find(self, name: str) -> Path | None:
        """Returns the file of that name, else the one with the same stem, else None.

        Raises:
            DataError: several files have the stem.
        """
        if name in self._all:
            return self.folder / name
        same = self._by_stem.get(stem_of(name), [])
        if len(same) > 1:
            raise DataError(f"{self.folder}: {name!r} fits several files: {', '.join(same)}; keep one of them")
        return self.folder / same[0] if same else None


def stem_of(name: str) -> str:
    """Cuts the last suffix only, and only a known one: ``a.b.jpg`` -> ``a.b``, ``v1.2`` -> ``v1.2``."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else name
