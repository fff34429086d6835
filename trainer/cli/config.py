"""``config``: shows, compares and explains configurations. Opens configuration files only."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ...utils.errors import ConfigError
from .common import UsageError, add_config_arguments, resolve

if TYPE_CHECKING:
    from ...utils.config.resolved import Resolved
    from ...utils.config.schema import Leaf

HELP = "Show the resolved configuration with the origin of each value, compare two, or explain a key."
EXAMPLES = """
  python entry.py config --conf_files configs/seem/focalt_unicl_lang_v1.yaml --overrides SOLVER.BASE_LR 5e-5
  python entry.py config --diff configs/seem/focall_unicl_lang_v1.yaml configs/seem/focalt_unicl_lang_v1.yaml
  python entry.py config --explain SOLVER.BASE_LR
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this verb."""
    add_config_arguments(parser, required=False)
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--diff",
        nargs="+",
        metavar="YAML",
        help="list the keys in which --conf_files and this file differ, or these two files",
    )
    group.add_argument("--explain", metavar="KEY", help="type, default, value, origin and meaning of one key")
    group.add_argument("--document", action="store_true", help="print docs/configuration.md")


def run(args: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    if args.document:
        from ...utils.config.document import document

        sys.stdout.write(document())
    elif args.explain:
        print(_explain(args))
    elif args.diff:
        _print_diff(args)
    else:
        from ...utils.config.dump import dump

        if not args.conf_files:
            raise UsageError("config needs --conf_files (or --diff, --explain KEY, --document)")
        sys.stdout.write(dump(resolve(args)))
    return 0


def _print_diff(args: argparse.Namespace) -> None:
    from ...utils.config.dump import scalar
    from ...utils.config.engine import load_config
    from ...utils.config.resolved import diff

    if args.conf_files and len(args.diff) == 1:
        left = resolve(args)
    elif not args.conf_files and len(args.diff) == 2:
        left = load_config(args.diff[:1], args.overrides, args.config_overrides)
    else:
        raise UsageError("--diff takes one file beside --conf_files, or two files without it")
    right = load_config(args.diff[-1:])
    changes = diff(left.cfg, right.cfg)
    for name, a, b in changes:
        print(f"{name}: {scalar(a)} -> {scalar(b)}")
    if not changes:
        print("no difference", file=sys.stderr)


def _explain(args: argparse.Namespace) -> str:
    """Returns what the schema and, with --conf_files, the configuration say about one key."""
    from ...utils.config.architectures import architectures
    from ...utils.config.dump import scalar
    from ...utils.config.engine import closest_keys
    from ...utils.config.values import type_name

    name = args.explain
    resolved = resolve(args) if args.conf_files else None
    archs = [architectures()[resolved.arch]] if resolved else list(architectures().values())
    leaves = {k: leaf for arch in archs for k, leaf in arch.leaves.items()}
    inside = [k for k in leaves if k.startswith(name + ".")]
    if inside:
        return "\n".join([f"{name} is a section with {len(inside)} keys:", *(f"  {k}" for k in inside)])
    leaf = leaves.get(name) or next((v for k, v in leaves.items() if _holds(v, name)), None)
    if leaf is None:
        close = closest_keys(name, leaves)
        raise ConfigError(f"unknown key {name}" + (f", did you mean {' or '.join(close)}?" if close else "."))
    rows = {"type": type_name(leaf.type), "default": scalar(leaf.default)}
    if leaf.choices is not None:
        rows["choices"] = ", ".join(scalar(c) for c in leaf.choices)
    limits = [f"at least {leaf.minimum}"] * (leaf.minimum is not None) + [f"at most {leaf.maximum}"] * (
        leaf.maximum is not None
    )
    if limits:
        rows["range"] = ", ".join(limits)
    if resolved is not None:
        rows.update(_value_rows(resolved, name))
    if leaf.text:
        rows["meaning"] = leaf.text
    if leaf.no_effect is not None:
        rows["no effect"] = leaf.no_effect
    return "\n".join([name, *(f"  {label:<10}{text}" for label, text in rows.items())])


def _holds(leaf: Leaf, name: str) -> bool:
    return (leaf.is_mapping or leaf.is_list) and name.startswith(leaf.name + ".")


def _value_rows(resolved: Resolved, name: str) -> dict[str, str]:
    from ...utils.config.dump import scalar
    from ...utils.config.resolved import find_value

    value = find_value(resolved.cfg, name)
    if isinstance(value, dict) and value:
        origins = sorted({o for k, o in resolved.origins.items() if k.startswith(name + ".")})
    else:
        holders = [o for k, o in resolved.origins.items() if name == k or name.startswith(k + ".")]
        origins = holders[-1:] or ["default"]
    return {"value": scalar(value), "origin": ", ".join(origins)}
