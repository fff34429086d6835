"""Writes a resolved configuration as plain YAML with the origin of each value; the file loads to the same tree."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from yacs.config import CfgNode

from .architectures import find_architecture
from .origins import signed
from .plain import Plain
from .resolved import Resolved
from .values import convert_value

_BARE = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")
_AMBIGUOUS = re.compile(r"(?i)true|false|yes|no|on|off|y|n|null|none|\.nan|\.inf|[./]*")


def dump(config: Resolved | CfgNode) -> str:
    """Returns a configuration as YAML text.

    For a ``Resolved`` each line ends with the origin of its value. A digest of the text stands on top: while it fits,
    loading the file brings the origins back, so that a saved run still tells the user's values from shipped ones.
    """
    origins: Mapping[str, str] = {} if isinstance(config, CfgNode) else config.origins
    cfg = config if isinstance(config, CfgNode) else config.cfg
    body = "\n".join(_lines(cfg, _defaults(cfg), origins, "", 0)) + "\n"
    return signed(body) if origins else body


def _defaults(cfg: CfgNode) -> dict[str, Any]:
    """Returns the default of each free mapping: what a dump leaves out of one must be taken out explicitly."""
    leaves = find_architecture(cfg.MODEL.NAME).leaves.values()
    return {leaf.name: leaf.default for leaf in leaves if leaf.is_mapping}


def _lines(
    node: Mapping[str, Any], defaults: Mapping[str, Any], origins: Mapping[str, str], prefix: str, depth: int
) -> Iterator[str]:
    indent = "  " * depth
    for name, value in node.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield f"{indent}{scalar(name)}:"
            inner = defaults.get(path)
            if isinstance(inner, Mapping):
                defaults = {**defaults, **{f"{path}.{k}": v for k, v in inner.items()}}
            yield from _lines(value, defaults, origins, path + ".", depth + 1)
            for gone in [k for k in inner or {} if k not in value]:
                yield f"{indent}  {scalar(gone)}: null"
        else:
            comment = f"  # {origins[path]}" if path in origins and origins[path].isprintable() else ""
            yield f"{indent}{scalar(name)}: {scalar(value)}{comment}"


def scalar(value: Any) -> str:
    """Returns a value on one line, readable by any YAML 1.1 or 1.2 reader."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(scalar(v) for v in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{scalar(k)}: {scalar(v)}' for k, v in value.items())}}}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, str):
        if _BARE.fullmatch(value) and not _AMBIGUOUS.fullmatch(value) and convert_value(Plain(value), Any) == value:
            return value
        return yaml.safe_dump(value, default_style='"', width=math.inf, allow_unicode=True).rstrip("\n")
    return str(value)


def _number(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    mantissa, e, exponent = repr(value).partition("e")
    if e and "." not in mantissa:
        mantissa += ".0"  # without the dot YAML 1.1 reads a string
    return f"{mantissa}{e}{exponent}"
