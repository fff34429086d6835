"""From a resolved configuration to a network."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from ..utils.config.architectures import Architecture, find_architecture, only_subclass
from ..utils.config.schema import with_values
from ..utils.config.sections import Shared
from ..utils.structures.category import Category
from .base import MetaArch
from .layers.lora import apply_lora


def build_model(cfg: Shared, categories: Sequence[Category], *, part_weights: bool = True) -> MetaArch:
    """Builds the meta-architecture that MODEL.NAME chooses, with LoRA updates where LORA.TARGETS asks for them.

    Args:
        cfg: the architecture's configuration.
        categories: the training data set's categories, in index order.
        part_weights: load the weights of single parts (a pre-trained backbone, say) that the configuration names; False
            when weights of the whole network follow: the parts' files need not exist any more then.

    Raises:
        ConfigError: if MODEL.NAME is unknown, or a key does not fit the network.
        RuntimeError: if the architecture switches off the file of a part that always comes from it.
    """
    architecture = find_architecture(cfg.MODEL.NAME)
    if not part_weights:
        cfg = with_values(cfg, architecture.part_weights_off)
    model = meta_arch(architecture.name).from_config(cfg, categories)
    _check_part_keys(model, architecture)
    if cfg.LORA.TARGETS:
        apply_lora(model, cfg.LORA.TARGETS, rank=cfg.LORA.RANK, alpha=cfg.LORA.ALPHA, dropout=cfg.LORA.DROPOUT)
    return model


def _check_part_keys(model: MetaArch, architecture: Architecture[Any]) -> None:
    for prefix, part in model.reloadable().items():
        if part.key in architecture.part_weights_off:
            raise RuntimeError(
                f"architecture {architecture.name!r}: {part.key} names the file of the re-loadable part {prefix!r}, "
                "which checkpoints leave out; take it out of part_weights_off"
            )


def meta_arch(name: str) -> type[MetaArch]:
    """Returns the one meta-architecture that ``modeling/<name>/model.py`` defines."""
    module = importlib.import_module(f".{name}.model", __package__)
    return only_subclass(module, MetaArch)  # type: ignore[type-abstract]
