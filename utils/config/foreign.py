"""Foreign sections: parts of another system's configuration files that an architecture reads as keys of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError, did_you_mean
from ..paths import user_path
from .plain import is_null
from .reader import Entry
from .yaml_text import YamlBlock


@dataclass(frozen=True)
class ForeignSection:
    """A top-level section that users have in files for another system.

    Attributes:
        name: the section, e.g. "dataset".
        keys: word below it -> the key that it sets.
        paths: names of entries that hold a path or a list of paths. A relative path in a file stays as it is where the
            working directory holds it; otherwise it counts from the file's folder.
        beside: a configuration that such a file goes with, for messages.
    """

    name: str
    keys: Mapping[str, str]
    paths: tuple[str, ...]
    beside: str


def translate_section(entries: Iterable[Entry], sections: Mapping[str, ForeignSection]) -> list[Entry]:
    """Returns the entries with those of foreign sections renamed to the keys they set.

    Args:
        entries: what files and the command line say, in order.
        sections: section name -> section, of the chosen architecture.

    Raises:
        ConfigError: at a word that a foreign section does not have; names file, line and the nearest word.
    """
    found = []
    for entry in entries:
        top, _, rest = entry.path.partition(".")
        if top not in sections:
            found.append(entry)
        elif rest:
            found.append(_translated(entry, rest, sections[top]))
        elif not (is_null(entry.value) or entry.value == {}):
            raise ConfigError(f"{top} ({entry.place}): expected a mapping with {' and '.join(sections[top].keys)}")
    return found


def _translated(entry: Entry, rest: str, section: ForeignSection) -> Entry:
    word, _, inner = rest.partition(".")
    if word not in section.keys:
        hint = did_you_mean(word, section.keys) or "."
        known = ", ".join(f"{section.name}.{k}" for k in section.keys)
        raise ConfigError(f"unknown word {section.name}.{word} ({entry.place}){hint} Known: {known}.")
    value = entry.value
    if entry.file is not None:
        value = _rooted_in(value, inner.rpartition(".")[2], section.paths, entry.file.parent)
    return replace(entry, path=f"{section.keys[word]}.{inner}" if inner else section.keys[word], value=value)


def _rooted_in(value: Any, name: str, paths: tuple[str, ...], folder: Path) -> Any:
    """Returns a value with its relative paths rooted; ``name`` is the entry that the value belongs to, or empty."""
    if isinstance(value, YamlBlock):
        rooted = YamlBlock((k, _rooted_in(v, k, paths, folder)) for k, v in value.items())
        rooted.lines = value.lines
        return rooted
    if isinstance(value, list):
        return [_rooted_in(item, name, paths, folder) for item in value]
    if name not in paths or not isinstance(value, str) or is_null(value):
        return value
    path = user_path(value)
    return value if not value or path.is_absolute() or path.exists() else str(folder / path)
