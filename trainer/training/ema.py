"""Exponential moving average of the trained weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Keeps a second set of the trained weights, averaged over the updates.

    The decay grows with the updates, min(decay, (1 + n) / (10 + n)), so that short runs are not held at their start.

    Args:
        parameters: name -> trained parameter.
        decay: final decay, in (0, 1).
    """

    def __init__(self, parameters: dict[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.parameters = parameters
        self.average = {name: p.detach().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Moves the average towards the weights after an update.

        Args:
            updates: number of updates so far, from 1.
        """
        decay = min(self.decay, (1 + updates) / (10 + updates))
        torch._foreach_lerp_(list(self.average.values()), [p.detach() for p in self.parameters.values()], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Lets the model run with the averaged weights inside the block (tensors are exchanged, not copied)."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.data, self.average[name] = self.average[name], parameter.data

    def tensors(self) -> dict[str, Tensor]:
        """Returns name -> averaged weight."""
        return self.average

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restores what :meth:`tensors` returned."""
        for name, value in tensors.items():
            self.average[name].copy_(value)
