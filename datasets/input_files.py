"""What ``predict --input`` names: images and videos, given as files, folders or glob patterns."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..utils.errors import DataError
from ..utils.image_io import IMAGE_SUFFIXES
from ..utils.logging import get_logger
from ..utils.paths import nearest_path, user_path
from ..utils.video import VIDEO_SUFFIXES

_WILDCARDS = "*?["
log = get_logger(__name__)


@dataclass(frozen=True)
class InputFile:
    """One image or video to predict on.

    Attributes:
        path: the file.
        name: name of its results, without suffix; holds the folders below an input folder ("sub/a").
        is_video: a video, not an image.
        image_id: id in the result files. All inputs have ids of one type: the numbers that their names are (as COCO's
            are), where all are images with a number of its own, else ``name``.
    """

    path: Path
    name: str
    is_video: bool
    image_id: int | str


def log_pages(path: Path, pages: int) -> None:
    """Warns where a file has pages or frames that are not read."""
    if pages > 1:
        log.warning("%s has %d pages or frames; only the first is read", path, pages)


def find_inputs(patterns: Sequence[str]) -> list[InputFile]:
    """Finds the files that the words of ``--input`` mean, in the order given, folders sorted, none twice.

    Args:
        patterns: files, folders (searched with their subfolders) or glob patterns (``**`` allowed).

    Raises:
        DataError: a word names nothing, or a folder without images and videos.
    """
    found: dict[Path, InputFile] = {}
    for pattern in patterns:
        for file in _expand(pattern):
            found.setdefault(file.path.resolve(), file)
    return _with_ids(_with_unique_names(list(found.values())))


def _with_ids(files: list[InputFile]) -> list[InputFile]:
    """Gives the ids by names where some are no numbers, or are the same one."""
    stems = [file.path.stem for file in files]
    numbers = [int(stem) for stem in stems if stem.isascii() and stem.isdigit()]
    if len(set(numbers)) < len(files) or any(file.is_video for file in files):
        return [replace(file, image_id=file.name) for file in files]
    return [replace(file, image_id=number) for file, number in zip(files, numbers, strict=True)]


def _expand(pattern: str) -> Iterator[InputFile]:
    path = user_path(pattern)
    if path.is_dir():
        yield from _folder(path)
    elif path.exists():
        yield _file(path, path.parent)
    elif any(c in pattern for c in _WILDCARDS):
        matches = [Path(m) for m in sorted(glob.glob(str(path), recursive=True))]
        files = [m for m in matches if m.is_file() and _known(m)]
        if not files:
            raise DataError(f"--input {pattern}: the pattern matches no image or video{_others(matches)}")
        yield from (_file(file, file.parent) for file in files)
    else:
        raise DataError(f"--input {pattern}: no such file or folder{nearest_path(path)}")


def _folder(folder: Path) -> Iterator[InputFile]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    wanted = [p for p in files if _known(p) and not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    if not wanted:
        raise DataError(f"--input {folder}: the folder holds no image or video{_others(files)}")
    yield from (_file(path, folder) for path in wanted)


def _known(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES


def _others(paths: Sequence[Path]) -> str:
    suffixes = sorted({p.suffix.lower() or "(no suffix)" for p in paths if p.is_file()})
    known = ", ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
    return f"; found {len(paths)} other files ({', '.join(suffixes[:5])}); known: {known}" if suffixes else ""


def _file(path: Path, base: Path) -> InputFile:
    name = path.relative_to(base).with_suffix("").as_posix()
    return InputFile(path, name, path.suffix.lower() in VIDEO_SUFFIXES, name)


def _with_unique_names(files: list[InputFile]) -> list[InputFile]:
    """Tells equal result names apart: first by suffix (a.jpg, a.png -> a_jpg, a_png), then by number."""
    taken: set[str] = set()
    count: dict[str, int] = {}
    for file in files:
        count[file.name] = count.get(file.name, 0) + 1
    out = []
    for file in files:
        name = file.name if count[file.name] == 1 else f"{file.name}_{file.path.suffix[1:].lower()}"
        candidate, number = name, 2
        while candidate in taken:
            candidate, number = f"{name}_{number}", number + 1
        taken.add(candidate)
        out.append(replace(file, name=candidate))
    return out
