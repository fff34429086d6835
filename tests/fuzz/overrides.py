"""Configurations as people write them, spoiled: words, KEY=VALUE, JSON pieces, YAML files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from segfoundry.utils.config.architectures import architectures
from segfoundry.utils.config.dump import dump
from segfoundry.utils.config.engine import load_config
from segfoundry.utils.config.resolved import diff

from .odd_values import WRITERS, odd_values, spoiled, spoiled_bytes, spoiled_files, to_json

_FILES = {"sam": "MODEL: {NAME: sam}\n", "seem": "MODEL: {NAME: seem_model_v1}\n"}
_KEYS = {name: sorted(architectures()[name].leaves) for name in _FILES}
_DEFAULTS = {name: {key: leaf.default for key, leaf in architectures()[name].leaves.items()} for name in _FILES}
_ENDS = (*[""] * 60, ".0", ".x", ".-1", ".99999999999999999999", ".0.x", ".", "..", ".²", "X", " ", "=")
_BLOCK = """# comment
_BASE_: base.yaml
MODEL: {NAME: sam}
SAM: &sam
  TYPE: vit_t
  LORA: {RANK: 4}
SOLVER: {BASE_LR: 1e-4, STEPS: [0.5, 0.9]}
TRAIN:
  <<: {BATCH_SIZE_TOTAL: 4}
DATASETS: {TRAIN: [a.yaml], TEST: []}
"""


@st.composite
def _words(draw: Callable[..., Any], arch: str) -> list[str]:
    """Gives words of ``--overrides``."""
    words = []
    for _ in range(draw(st.sampled_from((1, 1, 2, 3)))):
        key = draw(st.sampled_from(_KEYS[arch]))
        if draw(st.integers(0, 9)) == 7:
            key = key.rpartition(".")[0] or "MODEL"
        key += draw(st.sampled_from(_ENDS))
        how = draw(st.integers(0, 2))
        default = spoiled(_DEFAULTS[arch][key]) if key in _DEFAULTS[arch] else odd_values()
        value = draw(_plain_words()) if how == 0 else to_json(draw(odd_values() if how == 1 else default))
        words += [f"{key}={value}"] if draw(st.booleans()) else [key, value]
    return words[: len(words) - (draw(st.integers(0, 30)) == 7)]


def _plain_words() -> st.SearchStrategy[str]:
    odd = st.sampled_from(
        ("nan", ".nan", "-.inf", "inf", "1e999", "-1", "0", "1e-400", "9" * 5000, "1_0", "0x10", "²", "٣", "~",
         "null", "",
         " ", "[", "{", "'", '"', "[nan, 1]", "[[1]]", "{a: {b: 1}}", "{a: 1, a: 2}", "[&a [*a]]", "&a [*a]", "[1, 2",
         "!!x",
         "\x00", "\ud800", "[" * 3000, "{a: " * 2000, "- 1", "[{}]", "[{x: 1}]",
         "[{data_dir: x, percentage: nan}]", "*x",
         "True", "yes", "[True, no]", "1.5", "1e3", "-0", "'1'", '"x"', "a,b", "%s", "${HOME}", "~/x", "None",
         "[null]")
    )  # fmt: skip
    return odd | st.text(max_size=8) | st.integers().map(str) | st.floats().map(str)


@st.composite
def _tree(draw: Callable[..., Any], arch: str) -> dict[str, Any]:
    """Gives nested or dotted keys with odd values."""
    found: dict[str, Any] = {}
    for _ in range(draw(st.sampled_from((1, 2, 3)))):
        key = draw(st.sampled_from(_KEYS[arch]))
        value = draw(odd_values()) if draw(st.booleans()) else draw(spoiled(_DEFAULTS[arch][key]))
        if draw(st.booleans()):
            found[key + draw(st.sampled_from(_ENDS))] = value
            continue
        node = found
        *sections, last = key.split(".")
        for part in sections:
            inner = node.setdefault(part, {})
            node = inner if isinstance(inner, dict) else {}
        node[last] = value
    return found


@st.composite
def configurations(draw: Callable[..., Any]) -> dict[str, Any]:
    """Gives ``file`` (bytes or None), ``words``, ``pieces``, ``arch``; and ``again``: read what is written."""
    arch = draw(st.sampled_from(sorted(_FILES)))
    found: dict[str, Any] = {
        "arch": arch,
        "file": None,
        "words": [],
        "pieces": [],
        "again": draw(st.integers(0, 4)) == 0,
    }
    kind = draw(st.sampled_from(("words", "words", "pieces", "tree", "block", "bytes")))
    if kind == "words":
        found["words"] = draw(_words(arch))
    elif kind == "pieces":
        text = to_json(draw(_tree(arch)))
        found["pieces"] = text.split(" ") if draw(st.booleans()) else [text]
    elif kind == "tree":
        tree = draw(_tree(arch))
        found["file"] = WRITERS[draw(st.sampled_from(("yaml", "json")))](tree)
    elif kind == "block":
        found["file"] = draw(spoiled_bytes(_BLOCK.encode()))
    else:
        found["file"] = draw(spoiled_files({"MODEL": {"NAME": arch}, "SEED": 1}, "yaml"))
    return found


def compose(folder: Path, values: dict[str, Any]) -> None:
    """Composes a configuration as ``config`` and ``train`` do, writes it as a run does, and reads that again.

    Raises:
        UserError: it is refused.
    """
    os.chdir(folder)
    (folder / "base.yaml").write_text("MODEL: {NAME: sam}\n")
    (folder / "first.yaml").write_text(_FILES[values["arch"]])
    files = [folder / "first.yaml"]
    if values["file"] is not None:
        (folder / "conf.yaml").write_bytes(values["file"])
        files.append(folder / "conf.yaml")
    resolved = load_config(files, values["words"], values["pieces"])
    text = dump(resolved)
    if not values["again"]:
        return
    (folder / "again.yaml").write_text(text, encoding="utf-8")
    again = load_config([folder / "again.yaml"])
    changed = [(key, a, b) for key, a, b in diff(resolved.cfg, again.cfg) if not (a != a and b != b)]
    assert not [c for c in changed if repr(c[1]) != repr(c[2])], f"read again, it differs: {changed[:3]}"
