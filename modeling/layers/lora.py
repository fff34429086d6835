"""Low-rank updates of frozen layers (LoRA, arXiv 2106.09685): W x becomes W x + alpha / rank * B A x.

A layer is replaced by a subclass that holds the same parameters under the same names and adds ``lora_down`` (A) and
``lora_up`` (B, zero at start: the function is unchanged). Published weights therefore load before and after.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...utils.errors import ConfigError
from .adapters import Adapter
from .attention import MultiheadAttention
from .conv import PointwiseLinear
from .linear import Linear, linear


class LoraUpdate(nn.Module):
    """Mix-in with the parameters of ``count`` stacked updates; see :func:`apply_lora`."""

    lora_base_class: type[nn.Module]
    lora_down: nn.Parameter
    lora_up: nn.Parameter
    lora_dropout: nn.Dropout
    lora_scale: float

    def init_lora(
        self, base_class: type[nn.Module], shape: tuple[int, int, int], rank: int, alpha: float, dropout: float
    ) -> None:
        """Creates the update.

        Args:
            base_class: what the layer was, and becomes again by merging.
            shape: (number of updates, inputs, outputs of each).
            rank: rank of each update.
            alpha: the update is scaled by alpha / rank.
            dropout: dropout on the update's input.
        """
        count, inputs, outputs = shape
        weight = self.base_weight()
        self.lora_base_class = base_class
        self.lora_down = nn.Parameter(weight.new_empty(count, rank, inputs))
        self.lora_up = nn.Parameter(weight.new_zeros(count, outputs, rank))
        nn.init.kaiming_uniform_(self.lora_down, a=math.sqrt(5))
        self.lora_scale = alpha / rank
        self.lora_dropout = nn.Dropout(dropout)

    def base_weight(self) -> Tensor:
        """Returns the weight that the update belongs to."""
        return cast(Tensor, self.weight)

    def update(self, x: Tensor, number: int) -> Tensor:
        """Applies one update to (..., inputs), giving (..., outputs)."""
        hidden = F.linear(self.lora_dropout(x), self.lora_down[number])
        return F.linear(hidden, self.lora_up[number]) * self.lora_scale

    def delta(self) -> Tensor:
        """Returns the updates as one matrix (number * outputs, inputs)."""
        return (self.lora_up @ self.lora_down).flatten(0, 1) * self.lora_scale


class LoraLinear(LoraUpdate, Linear):
    """A linear layer (or a 1x1 convolution on channels-last tensors) with an update."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., in_features) to (..., out_features)."""
        return linear(x, self.weight.flatten(1), self.bias) + self.update(x, 0)


class LoraConv1x1(LoraUpdate, nn.Conv2d):
    """A 1x1 convolution with an update."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, out_channels, H, W)."""
        return super().forward(x) + self.update(x.permute(0, 2, 3, 1), 0).permute(0, 3, 1, 2)


class LoraMultiheadAttention(LoraUpdate, MultiheadAttention):
    """Attention whose query, key and value projections have an update each; the output projection is its own layer."""

    def base_weight(self) -> Tensor:
        """Returns the packed projections."""
        return self.in_proj_weight

    def project_rows(self, x: Tensor, first: int, last: int) -> Tensor:
        """Projects and adds the updates of the same rows."""
        updates = [self.update(x, number) for number in range(first, last)]
        return super().project_rows(x, first, last) + torch.cat(updates, dim=-1)


def apply_lora(
    model: nn.Module, targets: Sequence[str], *, rank: int = 8, alpha: float = 16.0, dropout: float = 0.0
) -> list[str]:
    """Gives the layers whose names match an update, in place.

    Linear layers, plain 1x1 convolutions and attention modules can match; others, and layers inside adapters, are
    passed over.

    Args:
        model: the network.
        targets: patterns (fnmatch) of module names.
        rank: rank of the updates.
        alpha: the updates are scaled by alpha / rank.
        dropout: dropout on the updates' inputs.

    Returns:
        Names of the layers that got an update.

    Raises:
        ConfigError: if a pattern matches no such layer, or a number is out of range.
    """
    if rank < 1 or not 0 <= dropout < 1:
        raise ConfigError(f"LORA.RANK must be at least 1 and LORA.DROPOUT in [0, 1), not {rank} and {dropout}")
    layers = dict(_supported(model))
    chosen = []
    for pattern in targets:
        matches = fnmatch.filter(layers, pattern)
        if not matches:
            examples = ", ".join(list(layers)[:3])
            raise ConfigError(
                f"LORA.TARGETS: {pattern!r} matches no attention or linear layer; names are like {examples}"
            )
        chosen += [name for name in matches if name not in chosen]
    for name in chosen:
        add_lora(layers[name], rank, alpha, dropout)
    return chosen


def merge_lora(model: nn.Module) -> list[str]:
    """Adds all updates to their base weights and turns the layers back into plain ones, in place.

    Returns:
        Names of the layers that had an update.
    """
    names = []
    for name, module in model.named_modules():
        if isinstance(module, LoraUpdate):
            names.append(name)
            with torch.no_grad():
                weight = module.base_weight()
                weight += module.delta().reshape(weight.shape)
            base_class = module.lora_base_class
            for attribute in [*module._parameters, *module._modules, *vars(module)]:
                if attribute.startswith("lora_"):
                    delattr(module, attribute)
            cast(nn.Module, module).__class__ = base_class
    return names


def is_lora(name: str) -> bool:
    """Whether a parameter of this name belongs to an update."""
    return name.rpartition(".")[2].startswith("lora_")


def _supported(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yields the layers that can get an update and have none."""
    inside_adapters = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, Adapter))
    for name, module in model.named_modules():
        if name.startswith(inside_adapters) or isinstance(module, LoraUpdate):
            continue
        # Exact types: a subclass may do more than its base.
        if type(module) in (nn.Linear, Linear, PointwiseLinear, MultiheadAttention) or _is_conv1x1(module):
            yield name, module


def _is_conv1x1(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and (module.kernel_size, module.stride, module.groups) == ((1, 1), (1, 1), 1)


def add_lora(layer: nn.Module, rank: int, alpha: float, dropout: float = 0.0) -> None:
    """Turns a linear layer, 1x1 convolution or attention into its subclass with an update, in place.

    Keeping the object keeps all references to it valid.

    Args:
        layer: of one of the kinds that :func:`apply_lora` names.
        rank: rank of the updates.
        alpha: the updates are scaled by alpha / rank.
        dropout: dropout on the updates' inputs.
    """
    base_class = type(layer)
    if isinstance(layer, MultiheadAttention):
        layer.__class__ = LoraMultiheadAttention
        shape = (3, layer.embed_dim, layer.embed_dim)
    elif isinstance(layer, nn.Linear):
        layer.__class__ = LoraLinear
        shape = (1, layer.in_features, layer.out_features)
    else:
        layer.__class__ = LoraConv1x1
        conv = cast(nn.Conv2d, layer)
        shape = (1, conv.in_channels, conv.out_channels)
    cast(LoraUpdate, layer).init_lora(base_class, shape, rank, alpha, dropout)
