"""Writes docs/configuration.md from the schema: one table per section."""

from __future__ import annotations

from collections.abc import Iterable

from .architectures import Architecture, architectures
from .dump import scalar
from .schema import Leaf, collect, section_texts
from .sections import Shared
from .values import type_name

_INTRO = """# Configuration keys

This page is generated from the schema: `python entry.py config --document > docs/configuration.md`.

A configuration is composed in this order, later wins: defaults of this page, `_BASE_` files, `--conf_files` from left
to right, `--config_overrides` (one JSON object), `--overrides`.

- **Files** are YAML and merge deeply: a file that sets `SOLVER.BASE_LR` leaves the rest of `SOLVER` alone. Keys may be
  nested or dotted, at any level. `_BASE_: other.yaml` (or a list) names files that come first, relative to the file.
- **Overrides** are `KEY VALUE` or `KEY=VALUE`. A first word without `=` is a key and takes the next word as its value,
  whatever that holds (`-0.1` too). Options may follow.
- **Types** come from this page, not from the spelling: `1e-4` is a number where a number is wanted, `False` a word
  where text is wanted. Booleans: true/false, yes/no, on/off, 1/0 in any case. Integers may be written `50.0`, `1e2`,
  `1_000`.
- **Lists** are `[0.5, 0.9]`; a bare word is a list of one, an empty text is the empty list; `SOLVER.STEPS.0 0.5` sets
  one element. In a list of mappings `KEY.0.entry 0.5` sets one entry of one element, and `KEY.0 '{entry: 0.5}'` merges
  into the element.
- **Mappings** (`SOLVER.FIX_PARAM`, `SOLVER.LR_MULTIPLIER`, for example) take any entries and merge; `{}` empties a
  mapping, and an entry set to `null` is taken out.
- A **foreign section** is a part of another system's file that an architecture understands, see below. Relative paths in
  it count from the working directory or, where nothing is there, from the file's folder.
- An unknown key is an error that names the closest ones. Keys marked *no effect* exist so that published files and job
  scripts run unchanged; setting one is reported once.

`python entry.py config --conf_files A.yaml` prints the result with the origin of each value, `--explain KEY` one key,
`--diff B.yaml` the differences.
"""


def document() -> str:
    """Returns the page as Markdown."""
    parts = [_INTRO, "## Shared keys\n", *_tables(collect(Shared), section_texts(Shared))]
    for arch in architectures().values():
        parts.append(f"## Keys of `{arch.name}`\n")
        parts.append(f"`MODEL.NAME`: {', '.join(f'`{m}`' for m in arch.model_names)}.\n")
        for section in arch.foreign:
            keys = ", ".join(f"`{section.name}.{word}` as `{key}`" for word, key in section.keys.items())
            parts.append(f"Foreign section `{section.name}:`: reads {keys}.\n")
        parts += _tables(_own(arch), section_texts(arch.config))
    return "\n".join(parts).rstrip("\n") + "\n"


def _own(arch: Architecture) -> dict[str, Leaf]:
    shared = collect(Shared)
    return {name: leaf for name, leaf in arch.leaves.items() if name not in shared}


def _tables(leaves: dict[str, Leaf], texts: dict[str, str]) -> list[str]:
    sections: dict[str, list[Leaf]] = {}
    for name, leaf in leaves.items():
        sections.setdefault(name.rpartition(".")[0], []).append(leaf)
    parts = []
    for name, members in sections.items():
        if name:
            parts.append(f"### {name}\n")
        if texts.get(name):
            parts.append(texts[name].rstrip(".") + ".\n")
        parts.append("| key | type | default | meaning |\n| --- | --- | --- | --- |\n" + "".join(_rows(members)))
    return parts


def _rows(leaves: Iterable[Leaf]) -> Iterable[str]:
    for leaf in leaves:
        default = "(see below)" if leaf.is_mapping and leaf.default else f"`{scalar(leaf.default)}`"
        yield f"| `{leaf.name}` | {type_name(leaf.type)} | {default} | {_meaning(leaf)} |\n"
    for leaf in leaves:
        if leaf.is_mapping and leaf.default:
            yield f"\nDefault of `{leaf.name}`:\n\n```yaml\n{_block(leaf.default)}```\n"


def _block(mapping: dict, depth: int = 0) -> str:
    lines = ""
    for name, value in mapping.items():
        nested = isinstance(value, dict) and value
        lines += f"{'  ' * depth}{name}:" + (f"\n{_block(value, depth + 1)}" if nested else f" {scalar(value)}\n")
    return lines


def _meaning(leaf: Leaf) -> str:
    words = [leaf.text] if leaf.text else []
    if leaf.choices is not None:
        words.append(f"One of {', '.join(f'`{scalar(c)}`' for c in leaf.choices)}.")
    if leaf.minimum is not None and leaf.maximum is not None:
        words.append(f"{leaf.minimum}..{leaf.maximum}.")
    elif leaf.minimum is not None:
        words.append(f"At least {leaf.minimum}.")
    elif leaf.maximum is not None:
        words.append(f"At most {leaf.maximum}.")
    if leaf.no_effect is not None:
        words.append(f"*No effect: {leaf.no_effect}.*")
    return " ".join(words).replace("|", "\\|").replace("\n", " ")
