"""Reading YAML files of users: plain data only, no tags, no key twice, errors with file and line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ...utils.errors import DataError
from ...utils.json_text import MAX_DEPTH

MAX_VALUES = 5_000_000  # far above any file of people; aliases can blow a small file up without end
_HALVES = re.compile(r"[\ud800-\udfff]")
_UNWRITABLE = re.compile(r"[\x00\ud800-\udc7f\udd00-\udfff]")  # bytes of names that are no UTF-8 may stand alone


class _PlainLoader(yaml.SafeLoader):
    """YAML's safe types; a key that occurs twice in one mapping is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
            name = self.construct_object(key_node, deep=True)
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name!r} occurs twice", key_node.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)

    def get_single_data(self) -> Any:
        """Returns the document's value; one that aliases blow up is refused before any of it is made."""
        node = self.get_single_node()
        if node is None:
            return None
        _check_size(node, {}, [])
        return self.construct_document(node)


def _check_size(node: yaml.Node, sizes: dict[int, int], around: list[int]) -> int:
    """Returns the number of values in a node, those behind aliases as often as they are named.

    Raises:
        ConstructorError: more than ``MAX_VALUES``, nested deeper than ``MAX_DEPTH``, an alias that contains itself, or
            text that no file can hold.
    """
    if isinstance(node, yaml.ScalarNode):
        if _HALVES.search(node.value):  # PyYAML reads JSON's "\ud83d\ude00" as two characters; it is one
            node.value = node.value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        if _UNWRITABLE.search(node.value):
            raise _refusal("a text holds a NUL or half a character", node)
        return 1
    if id(node) in around:
        raise _refusal("an alias contains itself", node)
    if len(around) >= MAX_DEPTH:
        raise _refusal(f"lists and mappings inside each other, more than {MAX_DEPTH} levels deep", node)
    if id(node) not in sizes:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        around.append(id(node))
        sizes[id(node)] = 1 + sum(_check_size(part, sizes, around) for part in parts)
        around.pop()
    if sizes[id(node)] > MAX_VALUES:
        raise _refusal(f"more than {MAX_VALUES} values; do aliases multiply?", node)
    return sizes[id(node)]


def _refusal(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def parse_yaml(text: str, source: str | Path) -> Any:
    """Parses YAML (or JSON) text of plain data.

    Args:
        text: the document.
        source: named in errors.

    Raises:
        DataError: a syntax error, a key given twice, or a tag such as ``!!python/...`` (no code is ever run).
    """
    try:
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506 (a SafeLoader)
    except RecursionError as error:
        raise DataError(f"{source}: not valid YAML (lists and mappings inside each other without end).") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        tag = " Tags are not allowed: write plain values." if "could not determine a constructor" in str(error) else ""
        raise DataError(f"{source}: not valid YAML ({' '.join(str(error).split())}).{tag}") from error


def read_yaml(path: str | Path) -> Any:
    """Reads a YAML or JSON file of plain data.

    Raises:
        DataError: see :func:`parse_yaml`; also when the file is missing or no text.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error.reason} at byte {error.start}); expected YAML") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    return parse_yaml(text, path)
