"""Centre-line dice (clDice) of thin structures: their soft skeletons should lie in each other's masks.

Shit et al., "clDice - a novel topology-preserving loss function for tubular structure segmentation", arXiv 2003.07760,
algorithms 1 (skeleton) and 2 (loss). Letters in shapes: N masks, H and W rows and columns.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

SMOOTH = 1.0


def mask_cl_dice(probabilities: Tensor, targets: Tensor, iterations: int) -> Tensor:
    """Returns 1 - clDice of each mask.

    clDice is the harmonic mean of two shares: of the predicted skeleton that lies in the target, and of the target's
    skeleton that is predicted.

    Args:
        probabilities: (N, H, W) float32 in 0..1.
        targets: (N, H, W) float32 that is 0 or 1.
        iterations: steps of the skeletons, see :func:`soft_skeleton`.

    Returns:
        (N,) float32 in 0..1; 0 where target and prediction are empty.
    """
    precision = _share(soft_skeleton(probabilities, iterations), targets)
    sensitivity = _share(soft_skeleton(targets, iterations), probabilities)
    return 1 - 2 * precision * sensitivity / (precision + sensitivity)


def soft_skeleton(masks: Tensor, iterations: int) -> Tensor:
    """Returns the soft skeleton of masks: what each opening of the successively eroded mask takes away.

    Args:
        masks: (N, H, W) float32 in 0..1.
        iterations: erosions; as many as half the width, in pixels, of the broadest structure.

    Returns:
        (N, H, W) float32 in 0..1.
    """
    skeleton = F.relu(masks - _opened(masks))
    for _ in range(iterations):
        masks = _eroded(masks)
        ridge = F.relu(masks - _opened(masks))
        skeleton = skeleton + F.relu(ridge - skeleton * ridge)
    return skeleton


def _share(skeletons: Tensor, masks: Tensor) -> Tensor:
    """Returns the share (N,) of each skeleton that lies in its mask."""
    inside = (skeletons * masks).sum(dim=(1, 2))
    return (inside + SMOOTH) / (skeletons.sum(dim=(1, 2)) + SMOOTH)


def _eroded(masks: Tensor) -> Tensor:
    """Returns the least of a pixel and its four neighbours; outside of the image there are none."""
    inverse = -masks
    vertical = F.max_pool2d(inverse, (3, 1), stride=1, padding=(1, 0))
    horizontal = F.max_pool2d(inverse, (1, 3), stride=1, padding=(0, 1))
    return -vertical.maximum(horizontal)


def _opened(masks: Tensor) -> Tensor:
    return F.max_pool2d(_eroded(masks), 3, stride=1, padding=1)
