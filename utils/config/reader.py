"""Reads YAML files, JSON pieces and override words into flat entries, without knowing any key."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError, UserError
from ..paths import configs_root, product_root, user_path
from .values import NULL_WORDS, Plain

BASE_KEY = "_BASE_"
MAX_NODES = 100_000  # far above any configuration; aliases can blow a small file up without end
_PLAIN_TAGS = {f"tag:yaml.org,2002:{t}" for t in "null bool int float str timestamp map seq merge value".split()}


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


class Block(dict[str, Any]):
    """A mapping inside a list of a YAML document.

    Attributes:
        lines: name -> its line, from 0.
    """

    lines: dict[str, int]


def parse_text(text: str) -> Any:
    """Reads one YAML value; scalars stay text.

    Raises:
        ValueError: if the text is not YAML.
    """
    try:
        return _Walker(text).value()
    except (yaml.YAMLError, ConfigError) as error:
        raise ValueError(f"not readable as YAML: {_one_line(error)}") from None


class _Walker:
    """Walks the node graph of one YAML document; refuses tags, duplicate keys, cycles and blown-up aliases."""

    def __init__(self, text: str) -> None:
        self.root = yaml.compose(text, Loader=yaml.SafeLoader)
        self.visited = 0
        self.stack: list[int] = []

    def value(self) -> Any:
        return None if self.root is None else self._value(self.root)

    def entries(self) -> Iterator[tuple[str, Any, int, int]]:
        """Yields (dotted key, value, line from 0, column where the value ends) for each leaf of the document."""
        if isinstance(self.root, yaml.MappingNode):
            yield from self._entries(self.root, "")

    def _enter(self, node: yaml.Node) -> None:
        self.visited += 1
        if id(node) in self.stack:
            raise ConfigError(f"line {node.start_mark.line + 1}: an alias contains itself")
        if self.visited > MAX_NODES:
            raise ConfigError(f"more than {MAX_NODES} values; do aliases multiply?")
        if node.tag not in _PLAIN_TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise ConfigError(
                f"line {node.start_mark.line + 1}: the YAML tag {tag} is refused, configuration files hold plain data"
            )
        self.stack.append(id(node))

    def _value(self, node: yaml.Node) -> Any:
        self._enter(node)
        try:
            if isinstance(node, yaml.ScalarNode):
                return _scalar(node)
            if isinstance(node, yaml.SequenceNode):
                return [self._value(item) for item in node.value]
            assert isinstance(node, yaml.MappingNode)
            pairs = self._pairs(node)
            block = Block((name, self._value(child)) for name, child in pairs)
            block.lines = {name: child.start_mark.line for name, child in pairs}
            return block
        finally:
            self.stack.pop()

    def _entries(self, node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, Any, int, int]]:
        self._enter(node)
        for name, child in self._pairs(node):
            path = prefix + name
            if isinstance(child, yaml.MappingNode) and child.value:
                yield from self._entries(child, path + ".")
            else:
                mark = child.end_mark
                yield path, self._value(child), child.start_mark.line, mark.column
        self.stack.pop()

    def _pairs(self, node: yaml.MappingNode) -> list[tuple[str, yaml.Node]]:
        """Returns the named children; those of YAML merge keys (``<<``) first, unless named again."""
        own: dict[str, yaml.Node] = {}
        merged: dict[str, yaml.Node] = {}
        for key_node, child in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"line {line}: a key must be a word")
            if key_node.tag.endswith(":merge"):
                for source in child.value if isinstance(child, yaml.SequenceNode) else [child]:
                    if not isinstance(source, yaml.MappingNode):
                        raise ConfigError(f"line {line}: '<<' takes a mapping or a list of mappings")
                    self._enter(source)
                    merged.update({k: v for k, v in self._pairs(source) if k not in merged})
                    self.stack.pop()
                continue
            if key_node.value in own:
                raise ConfigError(f"line {line}: the key {key_node.value!r} appears twice")
            own[key_node.value] = child
        return [(k, v) for k, v in merged.items() if k not in own] + list(own.items())


def _scalar(node: yaml.ScalarNode) -> Any:
    if node.style is not None:
        return node.value
    return None if node.value == "" or node.value in NULL_WORDS else Plain(node.value)


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
        raise ConfigError(f"configuration file {name}: this is a folder")
    raise ConfigError(f"configuration file {name} does not exist{_similar_file(path)}")


def _similar_file(path: Path) -> str:
    from ..errors import did_you_mean

    for folder in (path.parent, product_root() / path.parent):
        if folder.is_dir():
            hint = did_you_mean(path.name, [p.name for p in folder.glob("*.yaml")])
            if hint:
                return f" in {path.parent}{hint}"
    return ""


def _read_file(path: Path, including: tuple[Path, ...]) -> list[Entry]:
    label = file_label(path)
    if path in including:
        chain = " -> ".join(file_label(p) for p in (*including, path))
        raise ConfigError(f"{label}: {BASE_KEY} goes round in a circle: {chain}")
    try:
        text = path.read_text(encoding="utf-8")
        walker = _Walker(text)
        if walker.root is not None and not isinstance(walker.root, yaml.MappingNode):
            raise ConfigError("the file must hold a mapping of keys")
        found = list(walker.entries())
    except (yaml.YAMLError, ConfigError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{label}: {_one_line(error)}") from None
    return _with_bases(path, label, text, found, including)


def _with_bases(path: Path, label: str, text: str, found: list, including: tuple[Path, ...]) -> list[Entry]:
    from .dump import kept_origins

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
    if not base.is_file():
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


def read_json(pieces: Sequence[str]) -> list[Entry]:
    """Returns the entries of ``--config_overrides``: the pieces joined by a blank are one JSON object.

    Raises:
        ConfigError: if they are not.
    """
    if not pieces:
        return []
    text = " ".join(pieces)
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except (json.JSONDecodeError, ValueError) as error:
        raise ConfigError(f"--config_overrides: {error}; expected one JSON object, found {text!r}") from None
    if not isinstance(value, dict):
        raise ConfigError(f'--config_overrides: expected a JSON object such as {{"SEED": 1}}, found {text!r}')
    return read_mapping(value, "--config_overrides")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the key {name!r} appears twice")
    return dict(pairs)


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


def _one_line(error: BaseException) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem or error.context}"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text (byte {error.start})"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return " ".join(str(error).split())
