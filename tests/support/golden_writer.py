"""Writes cases in the form of the recorded ones: another set, to show that the readers read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn


def write_case(folder: Path, system: str, name: str, info: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes a case.

    Args:
        folder: folder of the systems.
        system: the system.
        name: name of the case.
        info: the json without its list of tensors.
        tensors: ``param/...``, ``in/...``, ``out/...`` and what else the case holds.
    """
    (folder / system).mkdir(parents=True, exist_ok=True)
    listed = {key: {"shape": list(x.shape), "dtype": str(x.dtype).removeprefix("torch.")} for key, x in tensors.items()}
    (folder / system / f"{name}.json").write_text(json.dumps({**info, "tensors": listed}))
    # Copies: the format refuses tensors that share memory.
    plain = {key: x.detach().clone().contiguous() for key, x in tensors.items()}
    save_file(plain, folder / system / f"{name}.safetensors")


def named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors with a prefix before their names."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def params(module: nn.Module) -> dict[str, Tensor]:
    """Returns a copy of a module's state as a case holds it."""
    return named("param", {name: tensor.clone() for name, tensor in module.state_dict().items()})


def gradients(module: nn.Module, total: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Returns the gradients of a sum for some parameters as a case holds them."""
    found = torch.autograd.grad(total, [module.get_parameter(name) for name in names])
    return named("grad", dict(zip(names, found, strict=True)))


def randomize(module: nn.Module, std: float = 0.2) -> nn.Module:
    """Adds noise to all weights, so that none is the zero or one that it starts from; returns the module."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape) * std)
        for name, buffer in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand(buffer.shape))
    return module
