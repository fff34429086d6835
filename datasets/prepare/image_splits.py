"""Which images train and which are kept for evaluation: by folders that say so, else by a hash of the names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ...utils.errors import DataError

DEFAULT_SHARE = 0.8
_FOLDERS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
_FOLDERS |= {"test": "test", "testing": "test"}
_YEAR = re.compile(r"[-_]?\d{4}$")


def choose_splits(names: Sequence[str], share: float | None, seed: int) -> dict[str, list[str]]:
    """Divides images into splits.

    Args:
        names: relative POSIX paths of the images.
        share: share of training images; None: where there are two or more first folders named train, val or test (also
            training, valid, validation, testing; with a year, train2017), they are kept as splits, else 0.8.
        seed: see :func:`split_names`.

    Returns:
        Split -> its images.

    Raises:
        DataError: some images lie in such folders and some do not.
    """
    if share is not None:
        return split_names(names, share, seed)
    folders = {name: _split_of(name) for name in names}
    found = {split for split in folders.values() if split}
    if len(found) < 2:
        return split_names(names, DEFAULT_SHARE, seed)
    others = [name for name in names if not folders[name]]
    if others:
        raise DataError(
            f"{len(names) - len(others)} images lie in folders of the splits {' and '.join(sorted(found))}, "
            f"{len(others)} do not, such as {others[0]}: move these into one of the folders, or give --split SHARE to "
            "divide all images anew"
        )
    return {part: [n for n in names if folders[n] == part] for part in ("train", "val", "test") if part in found}


def split_names(names: Sequence[str], share: float, seed: int) -> dict[str, list[str]]:
    """Divides names into "train" and "val" by the order of a hash of (seed, name without suffix).

    The same names give the same split on every machine; both parts get at least one of two or more names (unless the
    share is 1).
    """
    key = lambda name: f"{seed}/{Path(name).with_suffix('')}".encode("utf-8", "surrogatepass")  # noqa: E731
    ranked = sorted(names, key=lambda name: hashlib.blake2b(key(name)).digest())
    count = round(share * len(names))
    if share < 1 and len(names) > 1:
        count = min(max(count, 1), len(names) - 1)
    parts = {"train": sorted(ranked[:count]), "val": sorted(ranked[count:])}
    return {part: members for part, members in parts.items() if members}


def check_aliases(aliases: Mapping[str, str | None], splits: Collection[str]) -> None:
    """Checks that further names of a record (name -> split or None) name splits that it has.

    Raises:
        DataError: one does not.
    """
    for name, split in aliases.items():
        if split is not None and split not in splits:
            raise DataError(f"--alias {name}:{split}: the splits are {' and '.join(splits)}")


def _split_of(name: str) -> str | None:
    """Returns the split that the first folder of a path names; None: it names none."""
    folder, slash, _ = name.partition("/")
    return _FOLDERS.get(_YEAR.sub("", folder.lower())) if slash else None
