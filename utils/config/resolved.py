"""A complete configuration: what people see, and the typed sections that the program reads."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from yacs.config import CfgNode

from .architectures import architectures
from .schema import typed_section

DEFAULT_ORIGIN = "default"


@dataclass(frozen=True)
class Resolved:
    """A complete configuration.

    Attributes:
        cfg: frozen tree as people see it; lists are lists, free mappings are trees too.
        origins: dotted key (entries of free mappings included) -> "default", "configs/<arch>/<name>.yaml" for a
            shipped file, "./name.yaml" or an absolute path for a user's file, "--overrides", "--config_overrides" or
            "mapping".
        notices: what the user should know, one sentence each; e.g. a key that was set and has no effect.
        arch: folder name of the meta-architecture.
    """

    cfg: CfgNode
    origins: dict[str, str] = field(repr=False)
    notices: list[str]
    arch: str

    @cached_property
    def typed(self) -> Any:
        """The same values as the architecture's typed configuration (``Architecture.config``), which is frozen, too."""
        return typed_section(architectures()[self.arch].config, self.cfg)

    def settled(self, values: Mapping[str, Any]) -> Resolved:
        """Returns the configuration with values that follow from something else: from the data, say.

        The origins stay: what a user wrote still counts as written.

        Args:
            values: dotted declared key -> value.
        """
        tree = _plain(self.cfg)
        for key, value in values.items():
            *parents, leaf = key.split(".")
            node = tree
            for part in parents:
                node = node[part]
            node[leaf] = copy.deepcopy(value)
        cfg = CfgNode(tree)
        cfg.freeze()
        return dataclasses.replace(self, cfg=cfg)


def _plain(node: Any) -> Any:
    """Returns a tree as dictionaries that nothing else holds."""
    if isinstance(node, Mapping):
        return {name: _plain(value) for name, value in node.items()}
    return copy.deepcopy(node)


def origin_is_user(resolved: Resolved, key: str) -> bool:
    """True if the user wrote ``key`` (or an entry of that mapping): in an override or in a file that is not shipped."""
    written = [o for name, o in resolved.origins.items() if name == key or name.startswith(key + ".")]
    return any(o != DEFAULT_ORIGIN and not o.startswith("configs/") for o in written)


def diff(cfg_a: CfgNode, cfg_b: CfgNode) -> list[tuple[str, Any, Any]]:
    """Returns (dotted key, value in a, value in b) where two trees differ; a missing value is None."""
    a, b = dict(_walk(cfg_a)), dict(_walk(cfg_b))
    return [(k, a.get(k), b.get(k)) for k in dict.fromkeys([*a, *b]) if (k in a) != (k in b) or a[k] != b[k]]


def find_value(cfg: CfgNode, key: str) -> Any:
    """Returns the value at a dotted key, None if a free mapping or list lacks it. Entries of mappings may hold dots."""
    node: Any = cfg
    parts = key.split(".")
    while parts and isinstance(node, (Mapping, list)):
        if isinstance(node, list):
            index = parts.pop(0)
            node = node[int(index)] if index.isdecimal() and int(index) < len(node) else None
            continue
        whole = ".".join(parts)
        if whole in node:
            return node[whole]
        node = node.get(parts.pop(0))
    return None if parts else node


def _walk(node: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _walk(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
