"""From a training policy to gradients, optimizer groups and the table printed at start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ..utils.config.sections import Solver
from ..utils.errors import ConfigError
from ..utils.schedules import SCHEDULES, Schedule
from .base import ParamRule, TrainPolicy
from .layers.adapters import Adapter
from .layers.lora import LoraUpdate, is_lora

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase, nn.RMSNorm)


@dataclass(frozen=True)
class OptimRules:
    """How learning rate and weight decay follow from a parameter's name and module.

    Attributes:
        weight_decay: of everything that is not listed below.
        weight_decay_norm: of normalisation layers, their biases included.
        weight_decay_embed: of embedding tables.
        weight_decay_bias: of other biases.
        lr_multiplier: part of a name -> factor; the factors of all parts that occur multiply.
    """

    weight_decay: float = 0.05
    weight_decay_norm: float = 0.0
    weight_decay_embed: float = 0.0
    weight_decay_bias: float = 0.0
    lr_multiplier: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_config(cls, solver: Solver) -> OptimRules:
        """Reads section SOLVER."""
        return cls(
            weight_decay=solver.WEIGHT_DECAY,
            weight_decay_norm=solver.WEIGHT_DECAY_NORM,
            weight_decay_embed=solver.WEIGHT_DECAY_EMBED,
            weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
            lr_multiplier=dict(solver.LR_MULTIPLIER),
        )

    def rule(self, name: str, module: nn.Module, kind: str) -> ParamRule:
        """Returns the rule of the parameter ``name``, which ``module`` holds directly."""
        if isinstance(module, NORMS):
            decay = self.weight_decay_norm
        elif isinstance(module, nn.Embedding):
            decay = self.weight_decay_embed
        elif name.endswith("bias"):
            decay = self.weight_decay_bias
        else:
            decay = self.weight_decay
        multiplier = 1.0
        for part, factor in self.lr_multiplier.items():
            if part in name:
                multiplier *= factor
        return ParamRule(multiplier, decay, kind)


def parameter_owners(model: nn.Module) -> dict[str, nn.Module]:
    """Returns the name of each parameter (shared ones once) -> the module that holds it directly."""
    modules = dict(model.named_modules())
    return {name: modules[name.rpartition(".")[0]] for name, _ in model.named_parameters()}


def parameter_kinds(model: nn.Module) -> dict[str, str]:
    """Returns the name of each parameter -> "base", "adapter" or "lora"."""
    return tensor_kinds(model, (name for name, _ in model.named_parameters()))


def tensor_kinds(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Returns the names of parameters and buffers of a network -> "base", "adapter" or "lora"."""
    adapters = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, Adapter))
    return {n: "lora" if is_lora(n) else "adapter" if n.startswith(adapters) else "base" for n in names}


def is_frozen(module: nn.Module) -> bool:
    """True if no parameter of the module trains."""
    return not any(p.requires_grad for p in module.parameters())


def apply_policy(model: nn.Module, policy: TrainPolicy) -> None:
    """Sets ``requires_grad`` of every parameter by the policy.

    Args:
        model: the network.
        policy: names and rules of the parameters that train.

    Raises:
        ValueError: if the policy names a parameter that does not exist.
        ConfigError: if nothing trains, or an inserted adapter or LoRA update would not train at all.
    """
    parameters = dict(model.named_parameters())
    unknown = sorted(policy.rules.keys() - parameters.keys())
    if unknown:
        raise ValueError(f"the policy names parameters that do not exist: {unknown[:5]}")
    if not policy.rules:
        raise ConfigError("nothing trains: every parameter is frozen; look at SOLVER.FIX_PARAM, FINE_TUNE, SAM.TRAIN")
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in policy.rules)
    unreached = {id(parameters[name]) for name in policy.unreached}
    for name, module in model.named_modules():
        inserted = isinstance(module, Adapter | LoraUpdate)
        if inserted and not any(p.requires_grad or id(p) in unreached for p in _inserted_parameters(module)):
            raise ConfigError(
                f"the adapter {name} is enabled but none of its weights trains; take the part of SOLVER.FIX_PARAM "
                "that names it away, or switch the adapter off (FINE_TUNE False, LORA.TARGETS [])"
            )


def param_groups(model: nn.Module, policy: TrainPolicy, base_lr: float) -> list[dict[str, Any]]:
    """Returns optimizer groups, parameters with equal hyper-parameters together (few groups: fused updates).

    Args:
        model: the network, after :func:`apply_policy`.
        policy: the same policy.
        base_lr: learning rate before multipliers.

    Returns:
        Dicts with "params", "names" (in the same order), "lr" and "weight_decay", and "schedule" where the parameters
        have one of their own.

    Raises:
        AssertionError: if a trainable parameter is in no group or in two.
        ConfigError: there is no schedule of a name.
    """
    groups: dict[tuple[float, float, Schedule | None], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        rule = policy.rules.get(name)
        if rule is None:
            continue
        key = (base_lr * rule.lr_multiplier, rule.weight_decay, own_schedule(rule))
        group = groups.setdefault(key, {"params": [], "names": [], "lr": key[0], "weight_decay": key[1]})
        if key[2] is not None:
            group["schedule"] = key[2]
        group["params"].append(parameter)
        group["names"].append(name)
    grouped = [id(p) for group in groups.values() for p in group["params"]]
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    assert len(grouped) == len(set(grouped)), "a parameter is in two optimizer groups"
    assert set(grouped) == trainable, "optimizer groups and requires_grad disagree; was apply_policy called?"
    return list(groups.values())


def own_schedule(rule: ParamRule) -> Schedule | None:
    """Returns the schedule that a rule has in place of the run's, or None; ConfigError for an unknown name."""
    return SCHEDULES.get(rule.schedule) if isinstance(rule.schedule, str) else rule.schedule


def param_table(model: nn.Module, policy: TrainPolicy, base_lr: float) -> str:
    """Returns a table of the parameters of each part of the network, one row per part and a total.

    A learning rate with a schedule of its own has the schedule's name behind it.

    Args:
        model: the network; its ``parts`` (label -> name prefix), if any, decide the rows.
        policy: which parameters train.
        base_lr: learning rate before multipliers.
    """
    kinds = parameter_kinds(model)
    rows = {label: _Row() for label in _parts(model)}
    total = _Row()
    for name, parameter in model.named_parameters():
        for row in (rows.setdefault(_part_of(name, _parts(model)), _Row()), total):
            row.add(parameter.numel(), kinds[name], policy.rules.get(name), base_lr)
    header = ("module", "total", "trainable", "frozen", "adapters", "learning rate", "weight decay")
    return _format([header, *(row.cells(label) for label, row in rows.items()), total.cells("all")])


@dataclass
class _Row:
    """Counts of one part."""

    total: int = 0
    trainable: int = 0
    adapters: int = 0
    rates: set[tuple[float, str]] = field(default_factory=set)
    decays: set[float] = field(default_factory=set)

    def add(self, count: int, kind: str, rule: ParamRule | None, base_lr: float) -> None:
        self.total += count
        self.adapters += count if kind != "base" else 0
        if rule is not None:
            self.trainable += count
            schedule = own_schedule(rule)
            self.rates.add((base_lr * rule.lr_multiplier, "" if schedule is None else f" ({schedule.name})"))
            self.decays.add(rule.weight_decay)

    def cells(self, label: str) -> tuple[str, ...]:
        counts = (self.total, self.trainable, self.total - self.trainable, self.adapters)
        return (label, *(f"{count:,}" for count in counts), _values(self.rates), _values((d, "") for d in self.decays))


def _values(values: Iterable[tuple[float, str]]) -> str:
    return ", ".join(f"{value:g}{note}" for value, note in sorted(values)) or "-"


def _format(rows: list[tuple[str, ...]]) -> str:
    """Aligns rows of cells: labels to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells[1:]]))
    return "\n".join(lines)


def _inserted_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Returns the parameters of an adapter, or those that LoRA added to a layer."""
    if isinstance(module, LoraUpdate):
        return [module.lora_down, module.lora_up]
    return list(module.parameters())


def _parts(model: nn.Module) -> dict[str, str]:
    return getattr(model, "parts", {}) or {name: f"{name}." for name, _ in model.named_children()}


def _part_of(name: str, parts: Mapping[str, str]) -> str:
    matching = [label for label, prefix in parts.items() if name.startswith(prefix)]
    return max(matching, key=lambda label: len(parts[label]), default="(other)")
