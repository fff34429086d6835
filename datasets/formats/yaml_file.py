"""Reading YAML files of users: plain data only, no tags, no key twice, errors with file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ...utils.errors import DataError


class _PlainLoader(yaml.SafeLoader):
    """YAML's safe types; a key that occurs twice in one mapping is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            name = self.construct_object(key_node, deep=True)
            if isinstance(name, (list, dict)) or name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name!r} occurs twice", key_node.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


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
    except (yaml.YAMLError, RecursionError, ValueError) as error:
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
