"""Rewrites any weight file that this program reads as one that needs nothing beside it, or as a bare published one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...modeling.layers.lora import is_lora, merge_lora
from ...modeling.weights.layouts import PublishedLayout, TransformersLayout
from ...modeling.weights.load_state import PER_CATEGORY
from ...utils.config.architectures import architectures
from ...utils.config.dump import dump
from ...utils.config.engine import load_mapping
from ...utils.config.schema import value_at
from ...utils.errors import CheckpointError, UserError
from ...utils.files import TEMP_MARK, atomic_write_json, check_free_space, disk_errors, fsync_file, fsync_folder
from ...utils.structures.category import Category
from ..run_folder.checkpoints import write_safetensors
from .load_model import LoadedModel, load_model

LAYOUTS = ("segfoundry", "published", "transformers")
# File names by layout; "published" files hold a flat dict of names and tensors and nothing else. No suffix: a folder.
SUFFIXES = {
    "segfoundry": (".safetensors",),
    "published": (".pt", ".pth", ".safetensors"),
    "transformers": ("", ".safetensors"),
}
# What the class of transformers reads in a folder.
FOLDER_WEIGHTS, FOLDER_CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True)
class Conversion:
    """What :func:`convert_weights` did.

    Attributes:
        loaded: which tensors of the source fit the network.
        tensors: number of tensors written.
        merged: layers whose LoRA update was merged.
        size: bytes written.
        trained: names of the trained categories.
        vocabulary: names that the file tells apart; empty in the published layout.
    """

    loaded: str
    tensors: int
    merged: int
    size: int
    trained: tuple[str, ...]
    vocabulary: tuple[str, ...]


def check_target(output: Path, layout: str, force: bool) -> None:
    """Refuses a place that cannot take the result.

    Raises:
        UserError: something stands there and is not to be replaced, or the name does not fit the layout.
    """
    if output.suffix not in SUFFIXES[layout]:
        names = [suffix or "no suffix (a folder)" for suffix in SUFFIXES[layout]]
        raise UserError(f"--output {output}: what is written --to {layout} ends in {' or '.join(names)}")
    replaceable = output.is_file() if output.suffix else (output / FOLDER_CONFIG).is_file()
    if output.exists() and not (force and replaceable):
        raise UserError(f"--output {output} exists; name another file, or add --force to replace it")


def convert_weights(
    weights: str,
    output: Path,
    *,
    layout: str = "segfoundry",
    conf_files: Sequence[str] = (),
    overrides: Sequence[str] = (),
    config_overrides: Sequence[str] = (),
    vocabulary: Sequence[Category] | None = None,
    merge: bool = False,
    partial: bool = False,
    force: bool = False,
) -> Conversion:
    """Loads weights as ``predict`` does and writes them again, atomically.

    Layout "segfoundry": safetensors with the configuration, the trained categories, the vocabulary and the size of
    evaluation images in its header. Layout "published": the tensors alone, under published names. Layout
    "transformers": a folder for ``from_pretrained`` of the network's class in transformers, or its weight file alone.

    Args:
        weights: see :func:`segfoundry.trainer.weights.load_model.load_model`, like the configuration's sources.
        output: file or folder to write.
        layout: one of ``LAYOUTS``.
        conf_files: configuration files.
        overrides: words ``KEY VALUE`` or ``KEY=VALUE``.
        config_overrides: pieces of a JSON object.
        vocabulary: categories that the written file tells apart; None: those of the source.
        merge: add LoRA updates to the weights they belong to.
        partial: accept a source that lacks parameters of the network; the initial values are written in their place.
        force: replace the file, or those in the folder.

    Raises:
        UserError: see :func:`check_target`; the source is incomplete; updates would have to be merged.
        CheckpointError, ConfigError: see :func:`segfoundry.trainer.weights.load_model.load_model`.
    """
    check_target(output, layout, force)
    loaded = load_model(weights, conf_files, overrides, config_overrides, vocabulary)
    _check_complete(loaded, partial)
    merged = merge_lora(loaded.model) if merge else []
    state = loaded.model.state_dict()
    vocabulary_names: tuple[str, ...] = ()
    if layout == "segfoundry":
        header = _header(loaded, merged=merge)
        _write(output, state, lambda path: write_safetensors(path, state, header, output))
        vocabulary_names = tuple(c.name for c in loaded.vocabulary)
    else:
        _check_plain(loaded, layout)
        if layout == "published":
            state = _published(state, loaded)
            _write(output, state, lambda path: _write_bare(path, state, output))
        else:
            state, about = _to_transformers(loaded.model)
            _write_transformers(output, state, about)
    trained = tuple(c.name for c in loaded.trained)
    size = sum(file.stat().st_size for file in ([output] if output.is_file() else output.iterdir()))
    return Conversion(loaded.report.text(), len(state), len(merged), size, trained, vocabulary_names)


def _check_complete(loaded: LoadedModel, partial: bool) -> None:
    """Raises CheckpointError if the file lacks parameters, unless that was allowed."""
    report = loaded.report
    wrong = [name for name, _, _ in report.mismatched if name not in PER_CATEGORY]
    lacking = [name for name in [*report.missing, *wrong] if name not in PER_CATEGORY]
    if lacking and not partial:
        raise CheckpointError(
            f"{loaded.file} lacks {len(lacking)} tensors of the network; --partial writes their initial values:\n"
            f"{report.text()}"
        )


def _header(loaded: LoadedModel, merged: bool) -> dict[str, str]:
    """Returns the text entries that make the file complete."""
    arch = architectures()[loaded.resolved.arch]
    values = {name: value_at(loaded.resolved.typed, name) for name in arch.leaves}
    values |= {"WEIGHT": False, "RESUME": False, "RESUME_FROM": ""} | dict(arch.part_weights_off)
    if arch.class_count_key:
        values[arch.class_count_key] = len(loaded.trained)
    if merged:
        values["LORA.TARGETS"] = []
        values |= arch.merged_lora(values)
    record = loaded.record
    header = {
        "config": dump(load_mapping(values).cfg),
        "categories": _categories(loaded.trained),
        "test_size": json.dumps([record.name, record.min_size_test, record.max_size_test, record.resize_test]),
        "converted_from": loaded.file.name,
    }
    if loaded.vocabulary != loaded.trained:
        header["vocabulary"] = _categories(loaded.vocabulary)
    return header


def _categories(categories: Sequence[Category]) -> str:
    return json.dumps([vars(category) for category in categories])


def _check_plain(loaded: LoadedModel, layout: str) -> None:
    """Raises UserError if the network has LoRA updates or modules that the layout does not know."""
    if any(is_lora(name) for name in loaded.model.state_dict()):
        raise UserError(f"the {layout} layout has no LoRA updates; add --merge-lora")
    if isinstance(loaded.model, PublishedLayout):
        loaded.model.check_plain()


def _to_transformers(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns tensors and configuration for transformers; UserError if the network has no class there."""
    if not isinstance(model, TransformersLayout):
        raise UserError(f"{type(model).__name__} has no class in transformers; convert --to published or segfoundry")
    return model.to_transformers()


def _published(state: dict[str, Tensor], loaded: LoadedModel) -> dict[str, Tensor]:
    """Returns the tensors under published names."""
    names = {own: published for published, own in loaded.names.items()}
    return {names.get(name, name): tensor for name, tensor in state.items()}


def _write_bare(path: Path, state: dict[str, Tensor], target: Path) -> None:
    if target.suffix == ".safetensors":
        write_safetensors(path, state, {}, target)
        return
    torch.save({name: tensor.detach().cpu().clone() for name, tensor in state.items()}, path)
    fsync_file(path)


def _write_transformers(output: Path, state: dict[str, Tensor], about: Mapping[str, Any]) -> None:
    """Writes what ``from_pretrained`` reads: a folder with weights and configuration, or the weight file alone."""
    file = output if output.suffix else output / FOLDER_WEIGHTS
    _write(file, state, lambda path: write_safetensors(path, state, {}, file))
    if not output.suffix:
        atomic_write_json(output / FOLDER_CONFIG, about)


def _write(output: Path, state: dict[str, Tensor], write: Callable[[Path], None]) -> None:
    """Calls ``write`` with a temporary file that then takes the final name."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    temporary = output.with_name(f".{output.name}{TEMP_MARK}{os.getpid()}")
    with disk_errors(output, size):
        output.parent.mkdir(parents=True, exist_ok=True)
        check_free_space(output, size + (1 << 20))
        try:
            write(temporary)
            os.replace(temporary, output)
        finally:
            temporary.unlink(missing_ok=True)
        fsync_folder(output.parent)
