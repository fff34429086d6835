"""From a name in the configuration to a data set record.

A name is, in this order: the path of a record file (or of a folder with one), a record ``<name>.yaml`` (or one with
that alias) under the folder in the environment variable DATASET, a built-in record, a detectron2 registration.
``NAME:split`` picks a split.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ...utils.errors import DataError, did_you_mean
from ...utils.paths import nearest_path, product_root, user_path
from .from_detectron2 import detectron2_installed, find_registered
from .record import Record, read_record
from .split import Split


def data_folder() -> Path:
    """Returns the folder of downloaded data sets: $DETECTRON2_DATASETS, else $DATASET, else ./datasets."""
    folder = os.environ.get("DETECTRON2_DATASETS") or os.environ.get("DATASET") or "datasets"
    return user_path(folder).absolute()


def builtin_names() -> list[str]:
    """Returns the names of the built-in records, aliases included."""
    records = (_read_builtin(path) for path in sorted(_builtin_folder().glob("*.yaml")))
    return [name for record in records for name in (record.name, *record.aliases)]


def find_record(name: str, default_split: str) -> tuple[Record, Split]:
    """Finds a data set and one of its splits.

    Args:
        name: path or name, optionally followed by ``:split``.
        default_split: used when neither the name nor an alias says which.

    Raises:
        DataError: as :func:`find_data_set`; no such split.
    """
    record, named_split = find_data_set(name)
    wanted = named_split or default_split
    if wanted not in record.splits:
        base, _ = _without_split(name)
        raise DataError(
            f"{record.path}: data set {record.name!r} has no split {wanted!r}"
            f"{did_you_mean(wanted, record.splits) or '.'} Splits: {', '.join(record.splits)} (write {base}:SPLIT)."
        )
    return record, record.splits[wanted]


def find_data_set(name: str) -> tuple[Record, str | None]:
    """Finds a data set, and the name of the split when ``name`` or an alias says it.

    Raises:
        DataError: nothing of that name (lists what was searched), or a faulty record.
    """
    name, split = _without_split(name)
    searched: list[str] = []
    found = _from_path(name, searched) or _from_environment(name, searched) or _from_builtin(name, searched)
    if found is None:
        found = _from_detectron2(name, searched)
    if found is None:
        close = did_you_mean(name, [*builtin_names(), *_environment_names()])
        if user_path(name).parent != Path() or name.endswith((".yaml", ".yml")):
            close = nearest_path(name) or close
        end = "" if close.endswith("?") else "."
        raise DataError(
            f"no data set {name!r}{close}{end} Searched: {'; '.join(searched)}. Name a record file, such as the one "
            "that `prepare` writes."
        )
    record, alias_split = found
    return record, split or alias_split


def _without_split(name: str) -> tuple[str, str]:
    base, _, split = name.rpartition(":")
    return (base, split) if base and split and "/" not in split and not Path(name).exists() else (name, "")


Found = tuple[Record, str | None]


def _from_path(name: str, searched: list[str]) -> Found | None:
    path = user_path(name)
    searched.append(f"the file {path}")
    if path.is_file():
        return read_record(path), None
    if path.is_dir():
        inside = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        if len(inside) == 1:
            return read_record(inside[0]), None
        searched[-1] = f"the folder {path} (expected one record *.yaml in it, found {len(inside)})"
    return None


def _from_environment(name: str, searched: list[str]) -> Found | None:
    value = os.environ.get("DATASET")
    if not value:
        searched.append("$DATASET (not set; a folder with records <name>.yaml)")
        return None
    folder = user_path(value)
    searched.append(f"{folder / (name + '.yaml')} ($DATASET) and the aliases of the records there")
    if (folder / f"{name}.yaml").is_file():
        return read_record(folder / f"{name}.yaml"), None
    for path in sorted(folder.glob("*.yaml")):
        if name in _text_of(path) and name in (record := read_record(path)).aliases:
            return record, record.aliases[name]
    return None


def _from_builtin(name: str, searched: list[str]) -> Found | None:
    paths = sorted(_builtin_folder().glob("*.yaml"))
    searched.append("built-in " + ", ".join(path.stem for path in paths))
    for path in paths:
        # A glance at the text saves parsing all of them.
        if name == path.stem or (f"  {name}:" in _text_of(path) and name in _read_builtin(path).aliases):
            record = _read_builtin(path)
            return record, record.aliases.get(name)
    return None


def _from_detectron2(name: str, searched: list[str]) -> Found | None:
    if not detectron2_installed():
        searched.append("detectron2's DatasetCatalog (detectron2 is not installed)")
        return None
    searched.append("detectron2's DatasetCatalog")
    record = find_registered(name)
    return None if record is None else (record, next(iter(record.splits)))


def _builtin_folder() -> Path:
    return product_root() / "datasets" / "records"


def _read_builtin(path: Path) -> Record:
    return read_record(path, root_base=data_folder())


def _environment_names() -> Iterable[str]:
    value = os.environ.get("DATASET")
    return [path.stem for path in user_path(value).glob("*.yaml")] if value else []


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
