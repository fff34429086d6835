"""Hungarian matching of predicted masks with targets (DETR, section 3.1), many problems with one transfer.

Letters in shapes: Q predictions, M targets, D mask width, P points, H and W rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .bce import pairwise_bce
from .dice import pairwise_dice
from .point_sampling import sample_mask_logits, sample_points

# A prediction that is not finite must surface in the loss, where the trainer's rule for non-finite steps sees it;
# so it is matched first. A forbidden pair is matched only if nothing else is left.
NON_FINITE_COST = -1e6
FORBIDDEN_COST = 1e6


@dataclass
class MatchProblem:
    """Predictions and targets of one image after one layer.

    Attributes:
        mask_embed: (Q, D) mask embeddings.
        features: (D, H/4, W/4) features that the embeddings are multiplied with.
        targets: (M, H, W) float32 masks in 0..1.
        class_cost: (Q, M) class term of the cost.
        points: (P, 2) float32 points in 0..1 where masks are compared.
        forbidden: (Q, M) bool, pairs that must not be matched; None: none.
    """

    mask_embed: Tensor
    features: Tensor
    targets: Tensor
    class_cost: Tensor
    points: Tensor
    forbidden: Tensor | None = None


def to_host(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """Copies float32 tensors of any shapes to the host in one transfer, which waits for the device once."""
    flat = torch.cat([t.reshape(-1) for t in tensors]).cpu().numpy() if tensors else np.empty(0, np.float32)
    parts = np.split(flat, np.cumsum([t.numel() for t in tensors])[:-1]) if tensors else []
    return [part.reshape(tuple(t.shape)) for part, t in zip(parts, tensors, strict=True)]


def assign(cost: np.ndarray) -> np.ndarray:
    """Solves one assignment problem.

    Args:
        cost: (Q, M) float32, finite.

    Returns:
        (2, min(Q, M)) int64: prediction indices in increasing order, and the target of each.
    """
    return np.stack(linear_sum_assignment(cost)).astype(np.int64)


@dataclass(frozen=True)
class HungarianMatcher:
    """Cost of matching a prediction with a target: weighted sum of class term, binary cross-entropy and dice.

    Attributes:
        class_weight: factor of ``MatchProblem.class_cost``.
        mask_weight: factor of the binary cross-entropy.
        dice_weight: factor of the dice term.
        num_points: points at which masks are compared.
    """

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    num_points: int = 12544

    @torch.no_grad()
    def cost(self, problem: MatchProblem) -> Tensor:
        """Returns the cost (Q, M), float32 and finite, on the device of the problem."""
        logits = sample_mask_logits(problem.mask_embed, problem.features, problem.points)
        targets = sample_points(problem.targets[None], problem.points[None])[0]
        cost = self.class_weight * problem.class_cost + self.mask_weight * pairwise_bce(logits, targets)
        cost += self.dice_weight * pairwise_dice(logits.sigmoid_(), targets)
        cost = torch.where(cost.isfinite(), cost, NON_FINITE_COST)
        return cost if problem.forbidden is None else cost.masked_fill_(problem.forbidden, FORBIDDEN_COST)

    def __call__(self, problems: Sequence[MatchProblem]) -> list[np.ndarray]:
        """Returns ``assign`` of each problem's cost."""
        return [assign(cost) for cost in to_host([self.cost(problem) for problem in problems])]
