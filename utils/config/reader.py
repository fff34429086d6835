"""Reads YAML files, JSON pieces and override words into flat entries, without knowing any key."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError, UserError, did_you_mean
from ..json_text import parse_json
from ..paths import configs_root, nearest_path, product_root, user_path
from .origins import kept_origins
from .plain import Plain
from .yaml_text import Walker, one_line

BASE_KEY = "_BASE_"


@dataclass(frozen=True)
class Entry:
    """One assignment: ``path`` = ``value``.

    Attributes:
        path: dotted key.
        value: text, None, Python scalar, list, or an empty mapping (a filled one is split into its entries).
        origin: where it was written, as kept in ``Resolved.origins``.
        place: the same for messages: with the line of a file.
        file: the file, or None.
    """

    path: str
    value: Any
    origin: str
    place: str
    file: Path | None = None


def read_files(names: Sequence[str | os.PathLike[str]]) -> list[Entry]:
    """Returns the entries of configuration files with their ``_BASE_`` files, lowest precedence first.

    Args:
        names: paths; a relative one is looked for in the working directory, then in the product's own folder.

    Raises:
        ConfigError: if a file is missing, unreadable, not plain YAML, or includes itself.
    """
    entries: list[Entry] = []
    for name in names:
        entries += _read_file(_find_file(name), ())
    return entries


def _find_file(name: str | os.PathLike[str]) -> Path:
    path = user_path(name)
    for candidate in (path, product_root() / path):
        if candidate.is_file():
            return candidate.resolve()
    if path.is_dir():
        own = path / "config.yaml"
        hint = f", did you mean '{own}'?" if own.is_file() else ""
        raise ConfigError(f"configuration file {name}: this is a folder{hint}")
    raise ConfigError(f"configuration file {name} does not exist{_similar_file(path)}")


def _similar_file(path: Path) -> str:
    for folder in (path.parent, product_root() / path.parent):
        if folder.is_dir():
            hint = did_you_mean(path.name, [p.name for p in folder.glob("*.yaml")])
            if hint:
                return f" in {path.parent}{hint}"
    near = [nearest_path(place) for place in (path, product_root() / path)]
    return next((hint for hint in near if "did you mean" in hint), near[0])


def _read_file(path: Path, including: tuple[Path, ...]) -> list[Entry]:
    label = file_label(path)
    if path in including:
        chain = " -> ".join(file_label(p) for p in (*including, path))
        raise ConfigError(f"{label}: {BASE_KEY} goes round in a circle: {chain}")
    try:
        text = path.read_text(encoding="utf-8")
        walker = Walker(text)
        if walker.root is not None and not isinstance(walker.root, yaml.MappingNode):
            raise ConfigError("the file must hold a mapping of keys")
        found = list(walker.entries())
    except (yaml.YAMLError, ConfigError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{label}: {one_line(error)}") from None
    return _with_bases(path, label, text, found, including)


def _with_bases(path: Path, label: str, text: str, found: list, including: tuple[Path, ...]) -> list[Entry]:
    kept = kept_origins(text)
    bases: list[Entry] = []
    own: dict[str, Entry] = {}
    for name, value, line, column in found:
        place = f"{label} line {line + 1}"
        if name == BASE_KEY or name.startswith(BASE_KEY + "."):
            for base in value if isinstance(value, list) else [value]:
                if not isinstance(base, str):
                    raise ConfigError(f"{place}: {BASE_KEY} takes a file name or a list of them")
                bases += _read_base(base, path, place, including)
        elif name in own:
            raise ConfigError(f"{place}: the key {name!r} appears twice (first: {own[name].place})")
        else:
            own[name] = Entry(name, value, kept(line, column) or label, place, path)
    return bases + list(own.values())


def _read_base(name: str, path: Path, place: str, including: tuple[Path, ...]) -> list[Entry]:
    base = (path.parent / user_path(name)).resolve()
    if not os.path.isfile(base):  # of a name that no file can have: False, where pathlib raises
        raise ConfigError(f"{place}: {BASE_KEY} {name} does not exist{_similar_file(base)}")
    return _read_file(base, (*including, path))


def file_label(path: Path) -> str:
    """Returns the name of a configuration file in origins and messages.

    A shipped file is ``configs/<arch>/<name>.yaml``. Any other file is absolute or starts with a dot, so that the label
    alone tells the two apart.
    """
    path = path.resolve()
    if path.is_relative_to(configs_root().resolve()):
        return f"configs/{path.relative_to(configs_root().resolve()).as_posix()}"
    try:
        relative = path.relative_to(Path.cwd().resolve())
    except (ValueError, OSError):
        return str(path)
    return f"./{relative.as_posix()}"


def read_json_words(pieces: Sequence[str]) -> list[Entry]:
    """Returns the entries of ``--config_overrides``: the pieces joined by a blank are one JSON object.

    Raises:
        ConfigError: if they are not.
    """
    if not pieces:
        return []
    text = " ".join(pieces)
    try:
        value = parse_json(text, unique=True)
    except ValueError as error:
        raise ConfigError(f"--config_overrides: {error}; expected one JSON object, found {text!r}") from None
    if not isinstance(value, dict):
        raise ConfigError(f'--config_overrides: expected a JSON object such as {{"SEED": 1}}, found {text!r}')
    return read_mapping(value, "--config_overrides")


def read_mapping(values: Mapping[str, Any], origin: str) -> list[Entry]:
    """Returns the entries of a Python mapping with dotted or nested keys."""
    entries: list[Entry] = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            entries += read_mapping({f"{name}.{inner}": v for inner, v in value.items()}, origin)
        else:
            entries.append(Entry(str(name), value, origin, origin))
    return entries


def read_words(words: Sequence[str]) -> list[Entry]:
    """Returns the entries of ``--overrides``.

    A word without ``=`` is a key and takes the next word as its value, whatever that holds; a word with ``=`` is
    ``KEY=VALUE``.

    Raises:
        UserError: if the last key has no value.
    """
    entries: list[Entry] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if not equals:
            try:
                value = next(rest)
            except StopIteration:
                raise UserError(f"--overrides: the key {word!r} at the end has no value") from None
        entries.append(Entry(name.strip(), Plain(value), "--overrides", "--overrides"))
    return entries
