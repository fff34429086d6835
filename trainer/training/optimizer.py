"""Optimizer from the parameter groups that the model's policy asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ...utils.config.sections import Solver
from ...utils.errors import ConfigError
from ...utils.schedules import Schedule


def build_optimizer(solver: Solver, groups: list[dict[str, Any]], device: torch.device) -> torch.optim.Optimizer:
    """Builds AdamW, Adam or SGD (fused on CUDA).

    Args:
        solver: section SOLVER.
        groups: parameter groups with ``params``, ``lr`` and ``weight_decay``, and perhaps a ``schedule`` of their own.
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
    optimizer.register_state_dict_post_hook(_without_schedules)
    return optimizer


def _count_versions(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Tells torch that the weights changed: fused updates do not, and caches go by a tensor's version."""
    torch.autograd.graph.increment_version(p for group in optimizer.param_groups for p in group["params"])


def _without_schedules(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Takes the schedules, which are functions, out of what is written for other programs."""
    for group in state["param_groups"]:
        group.pop("schedule", None)


def set_lr(
    optimizer: torch.optim.Optimizer, factor: float, own_factor: Callable[[Schedule], float] | None = None
) -> None:
    """Sets each group's learning rate to its initial one times the factor of its schedule.

    Args:
        optimizer: the optimizer.
        factor: that of the run's schedule.
        own_factor: returns that of a group's own schedule; needed where a group has one.
    """
    for group in optimizer.param_groups:
        schedule = group.get("schedule")
        chosen = factor
        if schedule is not None:
            assert own_factor is not None, "a group has a schedule of its own"
            chosen = own_factor(schedule)
        group["lr"] = group["initial_lr"] * chosen


def let_rest(optimizer: torch.optim.Optimizer) -> None:
    """Drops the gradients of parameters whose own schedule is at 0, so that the step leaves them and their state alone.

    They count in no gradient norm either. A run's schedule that is at 0 does not let parameters rest: their averages of
    the gradient go on, as in the published trainings.
    """
    for group in optimizer.param_groups:
        if "schedule" in group and group["lr"] == 0:
            for parameter in group["params"]:
                parameter.grad = None


def parameter_names(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    """Returns name -> parameter for everything the optimizer updates, in its own order."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: p for group in optimizer.param_groups for p in group["params"]}
