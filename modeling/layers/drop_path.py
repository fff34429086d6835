"""Stochastic depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Drops the residual branch of whole samples in training (Deep Networks with Stochastic Depth, arXiv 1603.09382).

    Kept samples are scaled by 1 / (1 - rate), so that the expectation is unchanged.

    Args:
        rate: probability of dropping, 0..1.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, ...) to the same shape; identity in eval mode."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        shape = (x.shape[0],) + (1,) * (x.dim() - 1)
        kept = torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * (kept / keep if keep > 0 else kept)

    def extra_repr(self) -> str:
        """Shows the rate when the module is printed."""
        return f"rate={self.rate:.3f}"
