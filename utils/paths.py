"""Paths that users write, and where the product's own files lie, in a checkout as in an installed wheel."""

import itertools
import os
from pathlib import Path

from .errors import nearest

MOST_NAME_BYTES = 255
"""Of one part of a path, on every common file system."""

_NAMES_LOOKED_AT = 10_000  # of a folder, for the name nearest to a mistyped one


def user_path(text: str | os.PathLike[str]) -> Path:
    """Returns a path as users write it, ``~`` and ``~name`` being home folders; that of an unknown user stays as it is.

    ``Path.expanduser`` raises a RuntimeError there.
    """
    return Path(os.path.expanduser(text))


def nearest_path(text: str | os.PathLike[str]) -> str:
    """Returns what there is instead of a path that leads nowhere, as the end of a sentence without its full stop.

    Each name of the path that is missing is compared with what its folder holds, so that a typing error in a folder's
    name is found, too.
    """
    path = user_path(text)
    there = path.parent
    # os.path: a folder that may not be read counts as missing instead of raising
    while not os.path.exists(there) and there != there.parent:
        there = there.parent
    missing = path.relative_to(there).parts
    if not os.path.isdir(there):
        return f"; {there} is a file, no folder"
    if len(missing) == 1:
        close = _alike(path.name, there)
        return f", did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
    found = _most_alike(there, missing)
    if found == there:
        return f"; {there.absolute() if there == Path() else there} holds no {missing[0]!r} and nothing alike"
    complete = len(found.parts) == len(path.parts)
    return f", did you mean '{found}'?" if complete else f"; the nearest that is there is '{found}'"


def _most_alike(folder: Path, names: tuple[str, ...]) -> Path:
    """Follows names from a folder as far as there is something of the name, or most like it."""
    if not names or not os.path.isdir(folder):
        return folder
    name, rest = names[0], names[1:]
    alike = [name] if os.path.exists(folder / name) else _alike(name, folder)
    ends = [_most_alike(folder / each, rest) for each in alike]
    return max(ends, key=lambda end: len(end.parts), default=folder)


def _alike(name: str, folder: Path) -> list[str]:
    """Returns the names of a folder most like one; a suffix that two have in common makes them no more alike."""
    stem, suffix = os.path.splitext(name)
    names = _names(folder)
    same = {os.path.splitext(each)[0]: each for each in names if suffix and each.endswith(suffix)}
    others = [each for each in names if each not in same.values()]
    return [same[close] for close in nearest(stem, same)] or nearest(name, others)


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in itertools.islice(entries, _NAMES_LOOKED_AT))
    except OSError:
        return []


def product_root() -> Path:
    """Returns the folder that holds ``configs``, ``modeling``, ``datasets``, ``trainer`` and ``utils``."""
    return Path(__file__).resolve().parents[1]


def configs_root() -> Path:
    """Returns the folder with the shipped YAML files (``<arch>/<name>.yaml``)."""
    return product_root() / "configs"
