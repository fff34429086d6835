"""From a resolved configuration to a network."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from typing import Any

from segfoundry.modeling.base import MetaArch
from segfoundry.modeling.layers.lora import apply_lora
from segfoundry.utils.config.architectures import find_architecture
from segfoundry.utils.structures import Category


def build_model(cfg: Any, categories: Sequence[Category]) -> MetaArch:
    """Builds the meta-architecture that MODEL.NAME chooses, with LoRA updates where LORA.TARGETS asks for them.

    Args:
        cfg: frozen configuration tree.
        categories: the training data set's categories, in index order.

    Raises:
        ConfigError: if MODEL.NAME is unknown, or a key does not fit the network.
    """
    model = meta_arch(find_architecture(cfg.MODEL.NAME).name).from_config(cfg, categories)
    if cfg.LORA.TARGETS:
        apply_lora(model, cfg.LORA.TARGETS, rank=cfg.LORA.RANK, alpha=cfg.LORA.ALPHA, dropout=cfg.LORA.DROPOUT)
    return model


def meta_arch(name: str) -> type[MetaArch]:
    """Returns the one meta-architecture that ``modeling/<name>/model.py`` defines."""
    module = importlib.import_module(f"segfoundry.modeling.{name}.model")
    classes = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__]
    found = [c for c in classes if issubclass(c, MetaArch) and not inspect.isabstract(c)]
    if len(found) != 1:
        raise RuntimeError(f"{module.__name__} must define exactly one MetaArch, not {[c.__name__ for c in found]}")
    return found[0]
