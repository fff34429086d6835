"""Dice loss of masks given by probabilities at points (Milletari et al. 2016, with 1 added on both sides).

Letters in shapes: N masks, Q predicted masks, M target masks, P points.
"""

from torch import Tensor


def mask_dice(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Returns 1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1) of each mask.

    Args:
        probabilities: (N, P) float32 in 0..1.
        targets: (N, P) float32 in 0..1.

    Returns:
        (N,) float32 in 0..1.
    """
    overlap = 2 * (probabilities * targets).sum(dim=1)
    return 1 - (overlap + 1) / (probabilities.sum(dim=1) + targets.sum(dim=1) + 1)


def pairwise_dice(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Returns ``mask_dice`` of every prediction with every target.

    Args:
        probabilities: (Q, P) float32 in 0..1.
        targets: (M, P) float32 in 0..1.

    Returns:
        (Q, M) float32 in 0..1.
    """
    overlap = 2 * probabilities @ targets.T
    return 1 - (overlap + 1) / (probabilities.sum(dim=1)[:, None] + targets.sum(dim=1) + 1)
