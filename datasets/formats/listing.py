"""The image files of a folder, and how annotations find theirs.

Files belong together when their names are equal, else when they are equal without suffix, else by name patterns: two
files match when the texts that stand for the ``*`` of their patterns are equal.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...utils.errors import DataError
from ...utils.image_io import IMAGE_SUFFIXES
from ...utils.paths import nearest_path
from .foreign_names import KnownNames
from .label_maps import MATLAB_SUFFIX

LABEL_SUFFIXES = IMAGE_SUFFIXES | {MATLAB_SUFFIX}
"""Suffixes of label maps."""


@dataclass(frozen=True)
class NamePattern:
    """Form of file names: text with ``*``, each of which stands for any text without "/".

    Attributes:
        form: such as ``*/*_leftImg8bit.png``, relative to the folder.
    """

    form: str

    def __post_init__(self) -> None:
        if "*" not in self.form:
            raise ValueError(f"{self.form!r} holds no *, which stands for what the names of a pair share")

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        return re.compile("([^/]+)".join(re.escape(part) for part in self.form.split("*")))

    def key(self, name: str) -> tuple[str, ...] | None:
        """Returns what stands for each ``*`` of a relative POSIX path, or None when it has another form."""
        match = self._regex.fullmatch(name)
        return None if match is None else match.groups()


def list_images(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[str]:
    """Returns the image files below a folder as sorted relative POSIX paths; hidden ones are left out.

    Links are followed, but for those that lead back to a folder on the way: all files there are listed already.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder{' (it is a file)' if folder.exists() else nearest_path(folder)}")
    found = []
    above = {str(folder): frozenset([os.path.realpath(folder)])}
    for base, folders, files in os.walk(folder, followlinks=True):
        way = above.pop(base)
        real = {f: os.path.realpath(os.path.join(base, f)) for f in folders if not f.startswith(".")}
        folders[:] = [f for f, target in real.items() if target not in way]
        above |= {os.path.join(base, f): way | {real[f]} for f in folders}
        relative = Path(base).relative_to(folder).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        found += [prefix + f for f in files if not f.startswith(".") and os.path.splitext(f)[1].lower() in suffixes]
    return sorted(found)


class Listing:
    """The files of a folder, found by relative name, by relative name without suffix, or by pattern.

    Attributes:
        folder: where they lie.
        kind: what they are, for errors.
        names: relative POSIX paths, sorted; of the pattern's form.
        pattern: form of the names, or None: any.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        pattern: NamePattern | None = None,
        suffixes: Collection[str] = IMAGE_SUFFIXES,
    ) -> None:
        self.folder, self.kind, self.pattern = folder, kind, pattern
        present = list_images(folder, suffixes)
        if not present:
            raise DataError(f"{folder}: no images in this folder (suffixes {', '.join(sorted(suffixes))})")
        self.names = present if pattern is None else [name for name in present if pattern.key(name)]
        if not self.names:
            form = "" if pattern is None else pattern.form
            raise DataError(f"{folder}: none of its {len(present)} files has the form {form} (such as {present[0]})")
        self._all = set(self.names)
        self._by_stem: dict[str, list[str]] = {}
        for name in self.names:
            self._by_stem.setdefault(stem_of(name), []).append(name)
        self._by_key: dict[int, dict[tuple[str, ...], list[str]]] = {}

    def find(self, name: str) -> Path | None:
        """Returns the file of that name, else the one with the same stem, else None.

        Raises:
            DataError: several files have the stem.
        """
        if name in self._all:
            return self.folder / name
        return self._only(name, self._by_stem.get(stem_of(name), []))

    def find_entry(self, name: str) -> Path | None:
        """Returns the file that an annotation file means by a name, which another machine may have written.

        Raises:
            DataError: several files fit.
        """
        found = self.find(name)
        if found is not None:
            return found
        known = self._known.only(name, str(self.folder))
        return None if known is None else self.folder / known

    def explain(self, name: str) -> str:
        """Returns cause and nearest names for a name that :meth:`find_entry` does not find, or an empty text."""
        return self._known.explain(name)

    @cached_property
    def _known(self) -> KnownNames:
        return KnownNames(self.names, stem_of)

    def key(self, name: str) -> tuple[str, ...]:
        """Returns what a file of this form shares with the files that belong to it; empty for another form."""
        return (stem_of(name),) if self.pattern is None else self.pattern.key(name) or ()

    def find_match(self, name: str, other: Listing) -> Path | None:
        """Returns the file that belongs to the file ``name`` of another listing.

        Where one pattern has fewer ``*`` than the other, as many texts are compared, from the right.

        Raises:
            DataError: several files match.
        """
        if self.pattern is None and other.pattern is None:
            return self.find(name)
        key = other.key(name)
        count = min(len(key), len(self.key(self.names[0])))
        if not count:
            return None
        if count not in self._by_key:
            table = self._by_key[count] = {}
            for mine in self.names:
                table.setdefault(self.key(mine)[-count:], []).append(mine)
        return self._only(name, self._by_key[count].get(key[-count:], []))

    def _only(self, name: str, found: list[str]) -> Path | None:
        if len(found) > 1:
            raise DataError(f"{self.folder}: {name!r} fits several files: {', '.join(found)}; keep one of them")
        return self.folder / found[0] if found else None


def read_image_list(path: Path, images: Listing, root: Path) -> list[str]:
    """Reads which images of a folder belong to a split.

    Each line's first word names an image, with or without suffix, or a folder of images; relative to the images'
    folder or to the data set's root. Empty lines and those that start with "#" are left out.

    Args:
        path: text file, such as ``ImageSets/Segmentation/val.txt``.
        images: all images of the folder.
        root: folder of the data set.

    Returns:
        Names of ``images``, in the order of the file, none twice.

    Raises:
        DataError: the file is missing, no text, empty, or names what is not there.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file (the list of the split's images)") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from error
    wanted = [words[0] for line in lines if (words := line.split()) and not words[0].startswith("#")]
    folders: dict[str, list[str]] = {}
    for name in images.names:
        for parent in Path(name).parents:
            folders.setdefault(parent.as_posix(), []).append(name)
    prefix = images.folder.relative_to(root).as_posix() + "/" if images.folder.is_relative_to(root) else ""
    names: dict[str, None] = {}
    missing = []
    for word in wanted:
        short = word.lstrip("/")
        short = short.removeprefix(prefix) if prefix != "./" else short
        found = images.find(short)
        if found is None and short.rstrip("/") not in folders:
            found = images.find_entry(word)
        inside = [found.relative_to(images.folder).as_posix()] if found else folders.get(short.rstrip("/"), [])
        names.update(dict.fromkeys(inside))
        if not inside:
            missing.append(word)
    if missing or not names:
        what = f"{len(missing)} of {len(wanted)} entries name no image, such as {missing[0]}" if missing else "is empty"
        hint = images.explain(missing[0]) if missing else ""
        raise DataError(f"{path}: {what} (images are searched in {images.folder}{hint and f'; {hint}'})")
    return list(names)


def stem_of(name: str) -> str:
    """Cuts the last suffix only, and only a known one: ``a.b.jpg`` -> ``a.b``, ``v1.2`` -> ``v1.2``."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in LABEL_SUFFIXES else name
