"""Loads weights into a network, by name and shape, and says what happened.

:mod:`segfoundry.modeling.weights.weight_files` reads the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ...utils.errors import CheckpointError
from ..finetune import parameter_kinds
from .weight_files import read_state_dict

# How many leading words of a name make a group of the report, and how many names of a group are shown.
GROUP_DEPTH = 2
SHOWN = 3

# Tensors that follow from the user's categories, not from training.
PER_CATEGORY = ("criterion.empty_weight",)


@dataclass
class LoadReport:
    """What :func:`load_weights` did.

    Attributes:
        source: file or folder.
        loaded: names that were loaded.
        missing: names of the network that the file lacks.
        unexpected: names of the file that the network lacks.
        mismatched: (name, shape in the file, shape in the network).
        new: the missing names that belong to adapters and LoRA updates; they keep their initialisation.
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    new: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether file and network hold exactly the same names and shapes."""
        return not (self.missing or self.unexpected or self.mismatched)

    def text(self) -> str:
        """Returns a readable summary: one line when everything fits, else a block per kind of difference."""
        total = len(self.loaded) + len(self.missing) + len(self.mismatched)
        lines = [f"loaded {len(self.loaded)} of {total} tensors from {self.source}"]
        new = set(self.new)
        lines += _groups("new adapter and LoRA tensors that keep their initialisation", self.new)
        lines += _groups("missing in the file, keep their initialisation", [n for n in self.missing if n not in new])
        lines += _groups("in the file but not in the network, ignored", self.unexpected)
        expected = [m for m in self.mismatched if m[0] in PER_CATEGORY]
        other = [m for m in self.mismatched if m[0] not in PER_CATEGORY]
        lines += _groups("of another shape, keep their initialisation", [_shapes(*m) for m in other])
        for mismatch in expected:
            lines.append(f"  {_shapes(*mismatch)}: follows from your own categories, as it should")
        return "\n".join(lines)


def load_weights(model: nn.Module, path: str | Path, *, strict: bool = False) -> LoadReport:
    """Loads all tensors of a file whose name and shape fit.

    Args:
        model: the network; a ``key_map`` of its own, or of a part below it, translates the file's names (those below
            the part's name, without it).
        path: weight file, or checkpoint or run folder.
        strict: whether every name and shape must fit.

    Returns:
        What was loaded and what was not.

    Raises:
        CheckpointError: if the file cannot be read safely, nothing in it fits, a parameter is inf or nan, or ``strict``
            is not met.
    """
    return load_state(model, read_state_dict(path), source=str(path), strict=strict)


def load_state(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str,
    strict: bool = False,
    parts: Mapping[str, Tensor] | None = None,
) -> LoadReport:
    """Loads tensors that are in memory already; see :func:`load_weights`.

    Args:
        model: see there.
        state: name in the file -> tensor.
        source: the file, for messages.
        strict: see there.
        parts: name in the network -> tensor from a file of its own, which takes the place of one in ``state``.
    """
    if (adapt := getattr(model, "adapt_state", None)) is not None:
        state = adapt(state, source)
    names = own_names(model, state)
    given = {names[name]: tensor for name, tensor in state.items()}
    state = {**given, **(parts or {})}
    own = model.state_dict()
    kinds = parameter_kinds(model)
    report = LoadReport(source)
    for name, tensor in own.items():
        if name not in state:
            report.missing.append(name)
        elif state[name].shape != tensor.shape:
            report.mismatched.append((name, tuple(state[name].shape), tuple(tensor.shape)))
        else:
            report.loaded.append(name)
    report.unexpected = [name for name in state if name not in own]
    report.new = [name for name in report.missing if kinds.get(name, "base") != "base"]
    _refuse_foreign(report, model, given)
    if strict and not report.complete:
        raise CheckpointError(f"the weights do not fit exactly:\n{report.text()}")
    _refuse_not_finite(report, model, state)
    with torch.no_grad():
        model.load_state_dict({name: state[name] for name in report.loaded}, strict=False)
    return report


def own_names(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Translates a file's names: by the ``key_map`` of the network and of every part that has one, outer before inner.

    Args:
        model: the network.
        names: names in the file.

    Returns:
        Name in the file -> name in the network (or in neither, for what the network does not have).
    """
    parts = [(f"{name}." if name else "", getattr(module, "key_map", None)) for name, module in model.named_modules()]
    translated = {}
    for name in names:
        own = name
        for prefix, key_map in parts:
            if key_map is not None and own.startswith(prefix):
                own = prefix + key_map(own.removeprefix(prefix))
        translated[name] = own
    return translated


def _refuse_not_finite(report: LoadReport, model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError if a parameter holds inf or nan: the file is damaged, or its training diverged."""
    parameters = {name for name, _ in model.named_parameters()}.intersection(report.loaded)
    broken = [name for name in report.loaded if name in parameters and not state[name].isfinite().all()]
    if broken:
        raise CheckpointError(
            f"{report.source}: {len(broken)} of {len(parameters)} parameters hold inf or nan, e.g. {broken[0]}; the "
            "file is damaged, or its training diverged: copy or download it again, or take an earlier checkpoint"
        )


def _refuse_foreign(report: LoadReport, model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError if not one parameter (buffers aside) of the network is in the file."""
    parameters = {name for name, _ in model.named_parameters()}
    if parameters.isdisjoint(name for name in report.loaded if name in state):
        raise CheckpointError(
            f"{report.source} holds weights of another architecture: none of its {len(state)} tensors fits the "
            f"network. It has names like {_first(list(state))}; the network like {_first(sorted(parameters))}. "
            "Check RESUME_FROM and MODEL.NAME, and the configuration's sizes."
        )


def _groups(title: str, names: Sequence[str]) -> list[str]:
    """Returns the lines of one block: names by their leading words, with counts and the first names."""
    if not names:
        return []
    by_prefix: dict[str, list[str]] = {}
    for name in names:
        by_prefix.setdefault(".".join(name.split(".")[:GROUP_DEPTH]), []).append(name)
    lines = [f"  {len(names)} {title}:"]
    lines += [f"    {prefix}: {len(members)} ({_first(members)})" for prefix, members in by_prefix.items()]
    return lines


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _shapes(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    return f"{name} {list(found)} in the file, {list(expected)} in the network"
