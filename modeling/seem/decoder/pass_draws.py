"""Random draws of one pass of the decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ....utils.draws import Draws


class PassDraws:
    """Names and keys the draws of one pass.

    Without a source the draws are fixed, and the same for every image, so that an answer depends neither on the time it
    is asked for nor on the other images of its batch.

    Args:
        rng: the step's source; None: a fixed one.
        positions: per image, its place in the step's whole batch, the key of its own draws.
        prefix: of all purposes; passes of one step differ in it.
    """

    def __init__(self, rng: Draws | None, positions: Sequence[int], prefix: str = "") -> None:
        self.is_fixed = rng is None
        self.rng = rng or Draws(seed=0, step=0)
        self.positions = positions
        self.prefix = prefix

    def integers(self, purpose: str, high: int, count: int, device: torch.device) -> Tensor:
        """Returns ``count`` int64 numbers in 0..high-1, shared by all images."""
        return self.rng.integers(self.prefix + purpose, high, (count,), device=device)

    def uniform(self, purpose: str, count: int, image: int, device: torch.device) -> Tensor:
        """Returns ``count`` float32 numbers in [0, 1) of one image of the batch."""
        sample = None if self.is_fixed else self.positions[image]
        return self.rng.uniform(self.prefix + purpose, (count,), sample=sample, device=device)
