"""Focal loss of masks given by logits (Lin et al., arXiv 1708.02002, equation 5).

Letters in shapes: N masks, P points.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def mask_focal(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    """Returns the mean over the points of -a (1 - q)^gamma log(q), q being the probability given to the true side.

    Args:
        logits: (N, P) float32.
        targets: (N, P) bool, or float32 that is 0 or 1.
        alpha: the weight a where the target is 1; 1 - alpha elsewhere.
        gamma: how much less a point counts that is right already; 0: weighted cross-entropy.

    Returns:
        (N,) float32, not negative.
    """
    truth = targets.bool()
    towards_truth = torch.where(truth, logits, -logits)
    cross_entropy = F.softplus(-towards_truth)
    # (1 - q)^gamma by its logarithm: a power of a probability that has become 0 would have no finite gradient.
    focus = torch.exp(-gamma * F.softplus(towards_truth)) if gamma else 1.0
    weight = torch.where(truth, alpha, 1 - alpha)
    return (weight * focus * cross_entropy).mean(dim=1)
