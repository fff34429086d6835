"""Dice loss of masks given by probabilities at points (Milletari et al. 2016, with a constant added on both sides).

Letters in shapes: N masks, Q predicted masks, M target masks, P points.
"""

from torch import Tensor


def mask_dice(probabilities: Tensor, targets: Tensor, smooth: float = 1.0) -> Tensor:
    """Returns 1 - (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth) of each mask.

    Args:
        probabilities: (N, P) float32 in 0..1.
        targets: (N, P) float32 in 0..1.
        smooth: makes the loss of an empty target 0 where the prediction is empty, too; positive.

    Returns:
        (N,) float32 in 0..1.
    """
    overlap = 2 * (probabilities * targets).sum(dim=1)
    return 1 - (overlap + smooth) / (probabilities.sum(dim=1) + targets.sum(dim=1) + smooth)


def pairwise_dice(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Returns ``mask_dice`` of every prediction with every target, with ``smooth`` 1.

    Args:
        probabilities: (Q, P) float32 in 0..1.
        targets: (M, P) float32 in 0..1.

    Returns:
        (Q, M) float32 in 0..1.
    """
    overlap = 2 * probabilities @ targets.T
    return 1 - (overlap + 1) / (probabilities.sum(dim=1)[:, None] + targets.sum(dim=1) + 1)
