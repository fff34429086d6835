"""Binary cross-entropy of masks given by logits at points.

Letters in shapes: N masks, Q predicted masks, M target masks, P points.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def mask_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Returns the mean binary cross-entropy over the points of each mask.

    Args:
        logits: (N, P) float32.
        targets: (N, P) float32 in 0..1.

    Returns:
        (N,) float32, not negative.
    """
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1)


def pairwise_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Returns ``mask_bce`` of every prediction with every target.

    The cross-entropy of logit x with target t is softplus(x) - x t: one sum per prediction and one matrix product,
    instead of the two products and two element-wise losses of the usual form.

    Args:
        logits: (Q, P) float32.
        targets: (M, P) float32 in 0..1.

    Returns:
        (Q, M) float32.
    """
    softplus = F.softplus(logits).sum(dim=1, keepdim=True)
    return torch.addmm(softplus, logits, targets.T, alpha=-1.0) / logits.shape[1]
