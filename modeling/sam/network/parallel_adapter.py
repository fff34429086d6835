"""Small perceptrons beside those of a frozen transformer (AdaptFormer, arXiv 2205.13535, section 3.2)."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layers.adapters import Adapter
from ...layers.linear import Linear

START_SCALE = 0.1


class ParallelAdapter(Adapter):
    """scale * up(ReLU(down x)), which is added to the output of a perceptron; zero at start.

    Args:
        dim: channels C.
        hidden_dim: channels of the bottleneck.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.down_proj = Linear(dim, hidden_dim)
        self.up_proj = Linear(hidden_dim, dim)
        self.scale = nn.Parameter(torch.tensor([START_SCALE]))
        nn.init.kaiming_uniform_(self.down_proj.weight, a=5**0.5)
        for zero in (self.down_proj.bias, self.up_proj.weight, self.up_proj.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., C) to (..., C)."""
        return self.scale * self.up_proj(F.relu(self.down_proj(x)))


class _Adapted(nn.Module):
    """Mix-in: a perceptron with an adapter beside it."""

    adapter: ParallelAdapter

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., C) to (..., C)."""
        return super().forward(x) + self.adapter(x)  # type: ignore[misc]  # the perceptron's


def add_adapter(perceptron: nn.Module, dim: int, hidden_dim: int) -> None:
    """Puts an adapter beside a perceptron of ``dim`` channels, in place; its own parameters keep their names."""
    perceptron.adapter = ParallelAdapter(dim, hidden_dim).to(next(perceptron.parameters()))
    base: Any = type(perceptron)
    perceptron.__class__ = _adapted(base)


@functools.cache
def _adapted(base: Any) -> type[nn.Module]:
    """Returns the class of a kind of perceptron with an adapter."""
    return type(f"Adapted{base.__name__}", (_Adapted, base), {})
