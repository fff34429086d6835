"""Composes a configuration: defaults < ``_BASE_`` < files left to right < ``--config_overrides`` < ``--overrides``.

Values are typed by the schema, every value remembers its origin, and the result is a frozen tree.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from yacs.config import CfgNode

from ..errors import ConfigError, did_you_mean, nearest
from .architectures import Architecture, architectures, find_architecture
from .foreign import translate_section
from .plain import Plain, is_null
from .reader import (
    BASE_KEY,
    Entry,
    file_label,
    read_files,
    read_json_words,
    read_mapping,
    read_words,
)
from .resolved import DEFAULT_ORIGIN, Resolved, origin_is_user
from .schema import Leaf, typed_section
from .sections import check as check_shared
from .values import check_range, convert_value, mappings
from .yaml_text import YamlBlock, parse_text


def load_config(
    conf_files: Sequence[str | os.PathLike[str]],
    overrides: Sequence[str] = (),
    config_overrides: Sequence[str] = (),
) -> Resolved:
    """Composes configuration files and overrides.

    Args:
        conf_files: YAML files, merged from left to right; their ``_BASE_`` files come before them.
        overrides: words of the command line, ``KEY VALUE`` or ``KEY=VALUE``.
        config_overrides: pieces of one JSON object with dotted or nested keys.

    Raises:
        ConfigError: on an unknown key, a value that does not fit, a wrong combination, a broken file.
        UserError: if the last override has no value.
    """
    return _resolve([*read_files(conf_files), *read_json_words(config_overrides), *read_words(overrides)])


def names_model(conf_files: Sequence[str | os.PathLike[str]]) -> bool:
    """Returns whether one of the files or their bases sets MODEL.NAME; data alone, say, is no configuration by itself.

    Raises:
        ConfigError: a file is missing or broken.
    """
    return bool(_model_name(read_files(conf_files)))


def load_mapping(values: Mapping[str, Any]) -> Resolved:
    """Composes a configuration from Python values with dotted or nested keys; for tests and small models."""
    return _resolve(read_mapping(values, "mapping"))


def _resolve(entries: list[Entry]) -> Resolved:
    name = _model_name(entries)
    if not name:
        _check_alone(entries)
    arch = find_architecture(name)
    tree = _Tree(arch)
    for entry in translate_section(entries, arch.foreign_sections):
        tree.assign(entry)
    values = tree.nested()
    typed = typed_section(arch.config, values)
    check_shared(typed)
    arch.check(typed)
    cfg = CfgNode(values)
    cfg.freeze()
    draft = Resolved(cfg, tree.origins, [], arch.name)
    return Resolved(cfg, tree.origins, _unused_keys(draft, tree), arch.name)


def _check_alone(entries: list[Entry]) -> None:
    """Raises ConfigError if entries that choose no architecture have a section that belongs beside a file of one."""
    tops = {entry.path.partition(".")[0]: entry.place for entry in reversed(entries)}  # the first place counts
    for arch in architectures().values():
        for name in arch.foreign_sections.keys() & tops:
            raise ConfigError(
                f"{tops[name]}: the section {name!r} names data, but nothing names a network; give a configuration "
                f"before this file, e.g. --conf_files {arch.foreign_sections[name].beside} FILE"
            )


def _model_name(entries: list[Entry]) -> str:
    """Returns the last MODEL.NAME: it decides which schema the other entries are read with."""
    name = ""
    for entry in entries:
        if entry.path == "MODEL.NAME":
            name = "" if entry.value is None else str(entry.value).strip()
        elif entry.path == "MODEL" and isinstance(entry.value, Plain):
            name = next((str(e.value) for e in _split(entry) if e.path == "MODEL.NAME"), name)
    return name


def _split(entry: Entry) -> list[Entry]:
    """Reads the text of an override that sets a whole section or mapping."""
    value = entry.value
    if isinstance(value, Plain):
        try:
            value = parse_text(value)
        except ValueError as error:
            raise ConfigError(_complaint(entry, str(error))) from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ConfigError(_complaint(entry, "expected a mapping such as {KEY: VALUE}"))
    inner = read_mapping(value, entry.origin) if value else []
    return [Entry(f"{entry.path}.{e.path}", e.value, entry.origin, entry.place, entry.file) for e in inner]


def _complaint(entry: Entry, problem: str) -> str:
    shown = str(entry.value) if isinstance(entry.value, Plain) else entry.value
    return f"{entry.path} = {shown!r} ({entry.place}): {problem}"


def _unused_keys(resolved: Resolved, tree: _Tree) -> list[str]:
    return [
        f"{leaf.name} has no effect: {leaf.no_effect}."
        for leaf in tree.arch.leaves.values()
        if leaf.no_effect is not None and tree.values[leaf.name] != leaf.default and origin_is_user(resolved, leaf.name)
    ]


class _Tree:
    """Values and origins while they are composed: flat by declared key."""

    def __init__(self, arch: Architecture) -> None:
        self.arch = arch
        self.values: dict[str, Any] = {name: copy.deepcopy(leaf.default) for name, leaf in arch.leaves.items()}
        self.origins: dict[str, str] = {}
        for name, leaf in arch.leaves.items():
            self._note(name, self.values[name] if leaf.is_mapping else None, DEFAULT_ORIGIN)

    def assign(self, entry: Entry) -> None:
        """Sets one entry; raises ConfigError if its key is unknown or its value does not fit."""
        leaf, inner = self._find(entry.path)
        if leaf is None:
            self._assign_section(entry)
        elif leaf.is_mapping:
            self._assign_mapping(leaf, inner, entry)
        elif inner:
            self._assign_element(leaf, inner, entry)
        elif leaf.is_mapping_list:
            self.values[leaf.name] = self._mapping_list(leaf, entry)
            self.origins[leaf.name] = entry.origin
        else:
            self.values[leaf.name] = self._typed(leaf, leaf.type, entry)
            self.origins[leaf.name] = entry.origin

    def nested(self) -> dict[str, Any]:
        """Returns the values as nested dicts."""
        root: dict[str, Any] = {}
        for name, value in self.values.items():
            *sections, last = name.split(".")
            node = root
            for part in sections:
                node = node.setdefault(part, {})
            node[last] = value
        return root

    def _find(self, path: str) -> tuple[Leaf | None, str]:
        """Returns the declared key that holds ``path``, and the rest of the path inside its mapping or list."""
        parts = path.split(".")
        for count in range(len(parts), 0, -1):
            leaf = self.arch.leaves.get(".".join(parts[:count]))
            rest = ".".join(parts[count:])
            if leaf is None:
                continue
            element = r"\d+(\..+)?" if leaf.is_mapping_list else r"\d+"
            if count == len(parts) or (rest and leaf.is_mapping) or (leaf.is_list and re.fullmatch(element, rest)):
                return leaf, rest
        return None, ""

    def _assign_section(self, entry: Entry) -> None:
        if not any(name.startswith(entry.path + ".") for name in self.arch.leaves):
            raise ConfigError(self._unknown(entry))
        for inner in _split(entry):
            self.assign(inner)

    def _assign_mapping(self, leaf: Leaf, inner: str, entry: Entry) -> None:
        """A mapping merges into the one before; ``{}`` empties it, and a null entry is taken out."""
        whole = not inner
        text = entry.value.strip() if isinstance(entry.value, Plain) else ""
        if (whole and text) or text.startswith("{"):
            parts = _split(entry)
            for part in parts:
                self.assign(part)
            if parts:
                return
        node, last = self._mapping_node(leaf, inner)
        path = f"{leaf.name}.{inner}" if inner else leaf.name
        if whole and entry.value and not isinstance(entry.value, Plain):
            raise ConfigError(_complaint(entry, "expected a mapping such as {NAME: VALUE}"))
        hint = self._entry_type(leaf, inner, entry)
        self._forget(path)
        if whole or isinstance(entry.value, dict) or text.startswith("{"):
            node[last] = {}
        elif is_null(entry.value):
            node.pop(last, None)
            return
        else:
            node[last] = self._typed(leaf, hint, entry)
        self.origins[path] = entry.origin

    def _mapping_list(self, leaf: Leaf, entry: Entry) -> list[dict[str, Any]]:
        try:
            blocks = mappings(entry.value)
        except ValueError as error:
            raise ConfigError(_complaint(entry, str(error))) from None
        return [self._mapping(leaf, block, f"{leaf.name}.{i}", entry) for i, block in enumerate(blocks)]

    def _mapping(self, leaf: Leaf, block: Mapping[str, Any], path: str, entry: Entry) -> dict[str, Any]:
        """Types the entries of one mapping in a list; in messages each has its own line of the file."""
        found = {}
        for name, value in block.items():
            place = entry.place
            if isinstance(block, YamlBlock) and entry.file is not None:
                place = f"{file_label(entry.file)} line {block.lines[name] + 1}"
            inner = Entry(f"{path}.{name}", value, entry.origin, place, entry.file)
            found[name] = self._typed(leaf, self._entry_type(leaf, name, inner), inner)
        return found

    def _entry_type(self, leaf: Leaf, name: str, entry: Entry) -> Any:
        """Returns the declared type of an entry of a mapping; raises ConfigError if the mapping has no such entry."""
        if leaf.entries is None or not name:
            return Any if leaf.is_mapping_list else get_args(leaf.type)[1]
        if name not in leaf.entries:
            hint = did_you_mean(name, leaf.entries) or "."
            raise ConfigError(
                f"unknown entry {name!r} of {leaf.name} ({entry.place}){hint} Known: {', '.join(leaf.entries)}."
            )
        return leaf.entries[name]

    def _mapping_node(self, leaf: Leaf, inner: str) -> tuple[dict[str, Any], str]:
        """Returns the dict that holds ``inner`` and its key there. Names in a mapping of scalars may hold dots."""
        if not inner:
            return self.values, leaf.name
        node = self.values[leaf.name]
        if get_args(leaf.type)[1] is not Any:
            return node, inner
        *parents, last = inner.split(".")
        for part in parents:
            if not isinstance(node.get(part), dict):
                node[part] = {}
            node = node[part]
        return node, last

    def _assign_element(self, leaf: Leaf, inner: str, entry: Entry) -> None:
        values = self.values[leaf.name]
        index, _, rest = inner.partition(".")
        if int(index) >= len(values):
            raise ConfigError(_complaint(entry, f"the list {leaf.name} has {len(values)} elements, counted from 0"))
        if not leaf.is_mapping_list:
            values[int(index)] = self._typed(leaf, get_args(leaf.type)[0], entry)
        elif rest:
            values[int(index)][rest] = self._typed(leaf, self._entry_type(leaf, rest, entry), entry)
        else:
            parts = _split(entry)
            if not parts:
                values[int(index)] = {}
            for part in parts:
                self.assign(part)
        self.origins[leaf.name] = entry.origin

    def _typed(self, leaf: Leaf, hint: Any, entry: Entry) -> Any:
        try:
            value = convert_value(entry.value, hint)
            check_range(value, leaf)
        except ValueError as error:
            raise ConfigError(_complaint(entry, str(error))) from None
        return value

    def _note(self, path: str, value: Any, origin: str) -> None:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                self._note(f"{path}.{name}", inner, origin)
        else:
            self.origins[path] = origin

    def _forget(self, path: str) -> None:
        for name in [n for n in self.origins if n == path or n.startswith(path + ".")]:
            del self.origins[name]

    def _owner(self, path: str) -> Architecture | None:
        """Returns another architecture that has this key, or whose top-level section it is in."""
        top = path.partition(".")[0]
        ours = {name.partition(".")[0] for name in self.arch.leaves}
        for other in architectures().values():
            theirs = {name.partition(".")[0] for name in other.leaves}
            if path in other.leaves or (top in {*theirs, *other.foreign_sections} and top not in ours):
                return other
        return None

    def _unknown(self, entry: Entry) -> str:
        path = entry.path
        owner = self._owner(path)
        if owner is not None:
            chosen = self.values["MODEL.NAME"]
            return (
                f"{path} ({entry.place}) belongs to the architecture {owner.name!r}, "
                f"but MODEL.NAME {chosen!r} chooses {self.arch.name!r}"
            )
        if path == BASE_KEY:
            return f"{BASE_KEY} ({entry.place}) works in files only"
        for name, leaf in self.arch.leaves.items():
            if leaf.is_mapping_list and path.startswith(name + "."):
                return f"{path} ({entry.place}): {name} is a list of mappings: name one, {name}.0, or write '- '"
        close = closest_keys(path, self.arch.leaves)
        hint = f", did you mean {' or '.join(close)}?" if close else "; 'entry.py config' lists all keys."
        return f"unknown key {path or repr(path)} ({entry.place}){hint}"


def closest_keys(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Returns up to ``count`` keys that ``name`` may have meant: same last word first, then similar spelling."""
    known = list(known)
    last = name.rsplit(".", 1)[-1].lower()
    same = nearest(name, [k for k in known if k.rsplit(".", 1)[-1].lower() == last], count)
    same += [k for k in known if k.rsplit(".", 1)[-1].lower() == last and k not in same]
    sections = {".".join(k.split(".")[:i]) for k in known for i in range(1, k.count(".") + 1)}
    return list(dict.fromkeys([*same, *nearest(name, [*known, *sorted(sections)], count)]))[:count]
