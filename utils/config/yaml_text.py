"""YAML documents as words, lists and mappings: scalars stay text, and what is no plain data is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from ..errors import ConfigError
from .plain import NULL_WORDS, Plain

MAX_DEPTH = 100  # mappings and lists inside each other
MAX_NODES = 100_000  # far above any configuration; aliases can blow a small file up without end
_PLAIN_TAGS = {f"tag:yaml.org,2002:{t}" for t in "null bool int float str timestamp map seq merge value".split()}


_TOO_DEEP = f"lists and mappings inside each other, more than {MAX_DEPTH} levels deep"


class YamlBlock(dict[str, Any]):
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
        return Walker(text).value()
    except (yaml.YAMLError, ConfigError) as error:
        raise ValueError(f"not readable as YAML: {one_line(error)}") from None


class Walker:
    """Walks the node graph of one YAML document; refuses tags, duplicate keys, cycles and blown-up aliases."""

    def __init__(self, text: str) -> None:
        try:
            self.root = yaml.compose(text, Loader=yaml.SafeLoader)
        except RecursionError:
            raise ConfigError(_TOO_DEEP) from None
        self.visited = 0
        self.stack: list[int] = []

    def value(self) -> Any:
        """Returns the document as one value."""
        return None if self.root is None else self._value(self.root)

    def entries(self) -> Iterator[tuple[str, Any, int, int]]:
        """Yields (dotted key, value, line from 0, column where the value ends) for each leaf of the document."""
        if isinstance(self.root, yaml.MappingNode):
            yield from self._entries(self.root, "")

    def _enter(self, node: yaml.Node) -> None:
        self.visited += 1
        if id(node) in self.stack:
            raise ConfigError(f"line {node.start_mark.line + 1}: an alias contains itself")
        if len(self.stack) >= MAX_DEPTH:
            raise ConfigError(f"line {node.start_mark.line + 1}: {_TOO_DEEP}")
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
            block = YamlBlock((name, self._value(child)) for name, child in pairs)
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


def one_line(error: BaseException) -> str:
    """Returns an error about a file as one line, with the place in it."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem or error.context}"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text (byte {error.start})"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return " ".join(str(error).split())
