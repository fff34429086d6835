"""From a resolved configuration to a network."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from ..utils.config.architectures import find_architecture
from ..utils.structures import Category
from .base import MetaArch
from .layers.lora import apply_lora


def build_model(cfg: Any, categories: Sequence[Category], *, part_weights: bool = True) -> MetaArch:
    """Builds the meta-architecture that MODEL.NAME chooses, with LoRA updates where LORA.TARGETS asks for them.

    Args:
        cfg: frozen configuration tree.
        categories: the training data set's categories, in index order.
        part_weights: load the weights of single parts (a pre-trained backbone, say) that the configuration names; False
            when weights of the whole network follow: the parts' files need not exist any more then.

    Raises:
        ConfigError: if MODEL.NAME is unknown, or a key does not fit the network.
    """
    architecture = find_architecture(cfg.MODEL.NAME)
    if not part_weights:
        cfg = _changed(cfg, getattr(architecture.module, "WITHOUT_PART_WEIGHTS", {}))
    model = meta_arch(architecture.name).from_config(cfg, categories)
    if cfg.LORA.TARGETS:
        apply_lora(model, cfg.LORA.TARGETS, rank=cfg.LORA.RANK, alpha=cfg.LORA.ALPHA, dropout=cfg.LORA.DROPOUT)
    return model


def _changed(cfg: Any, values: Mapping[str, Any]) -> Any:
    """Returns a frozen copy with other values; dotted key -> value."""
    cfg = cfg.clone()
    cfg.defrost()
    for key, value in values.items():
        *parents, leaf = key.split(".")
        functools.reduce(getattr, parents, cfg)[leaf] = value
    cfg.freeze()
    return cfg


def meta_arch(name: str) -> type[MetaArch]:
    """Returns the one meta-architecture that ``modeling/<name>/model.py`` defines."""
    module = importlib.import_module(f".{name}.model", __package__)
    classes = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__]
    found = [c for c in classes if issubclass(c, MetaArch) and not inspect.isabstract(c)]
    if len(found) != 1:
        raise RuntimeError(f"{module.__name__} must define exactly one MetaArch, not {[c.__name__ for c in found]}")
    return found[0]
