"""Weights of the mask losses that SAM's training tasks share (section SAM.LOSS)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ..config_training import Loss


@dataclass(frozen=True)
class LossSettings:
    """Weights and settings of the losses.

    Attributes:
        focal_alpha: weight of foreground (an object's) pixels in the focal loss, 0..1; others weigh 1 - focal_alpha.
        focal_gamma: exponent of the focal loss.
        focal_weight: of the focal loss.
        dice_weight: of the dice loss.
        iou_weight: of the predicted IoU's squared error; 0: the IoU head does not train.
        cl_dice_weight: of the centre-line dice loss.
        cl_dice_iterations: of its skeletons.
    """

    focal_alpha: float = 0.85
    focal_gamma: float = 2.0
    focal_weight: float = 20.0
    dice_weight: float = 1.0
    iou_weight: float = 0.0
    cl_dice_weight: float = 0.0
    cl_dice_iterations: int = 10

    @classmethod
    def from_config(cls, loss: Loss) -> Self:
        """Reads section SAM.LOSS."""
        return cls(
            focal_alpha=loss.FOCAL_ALPHA,
            focal_gamma=loss.FOCAL_GAMMA,
            focal_weight=loss.FOCAL_WEIGHT,
            dice_weight=loss.DICE_WEIGHT,
            iou_weight=loss.IOU_WEIGHT,
            cl_dice_weight=loss.CLDICE_WEIGHT,
            cl_dice_iterations=loss.CLDICE_ITERS,
        )
