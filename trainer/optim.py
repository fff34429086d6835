"""Optimizer from the parameter groups that the model's policy asks for."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..utils.errors import ConfigError


def build_optimizer(solver: Any, groups: list[dict[str, Any]], device: torch.device) -> torch.optim.Optimizer:
    """Builds AdamW, Adam or SGD (fused on CUDA).

    Args:
        solver: section SOLVER.
        groups: parameter groups with ``params``, ``lr`` and ``weight_decay``.
        device: where the parameters lie.

    Raises:
        ConfigError: if nothing trains.
    """
    if not any(group["params"] for group in groups):
        raise ConfigError("nothing trains: every parameter is frozen; look at SOLVER.FIX_PARAM and the FINE_TUNE keys")
    on_cuda = device.type == "cuda"
    kind: dict[str, Any] = {"fused": True} if on_cuda else {"foreach": True}
    if solver.OPTIMIZER == "SGD":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(groups, lr=solver.BASE_LR, momentum=solver.MOMENTUM, **kind)
    else:
        adam = {"ADAMW": torch.optim.AdamW, "ADAM": torch.optim.Adam}[solver.OPTIMIZER]
        optimizer = adam(groups, lr=solver.BASE_LR, **kind)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    optimizer.register_step_post_hook(_count_versions)
    return optimizer


def _count_versions(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Tells torch that the weights changed: fused updates do not, and caches go by a tensor's version."""
    torch.autograd.graph.increment_version(p for group in optimizer.param_groups for p in group["params"])


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets each group's learning rate to its initial one times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def parameter_names(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    """Returns name -> parameter for everything the optimizer updates, in its own order."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: p for group in optimizer.param_groups for p in group["params"]}
