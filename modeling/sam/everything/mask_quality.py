"""How good a mask is, how sure of its outline, and where it lies. Letters in shapes: N masks, H and W pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ....utils.masks import Rle, rle_areas, rle_boxes


def overlaps(predicted: Tensor, truth: Tensor) -> Tensor:
    """Returns the IoU, 0..1 float32, of masks (..., H, W) bool, of one shape or broadcast; 1 if both are empty."""
    union = (predicted | truth).sum(dim=(-2, -1))
    return torch.where(union > 0, (predicted & truth).sum(dim=(-2, -1)) / union.clamp(min=1), 1.0)


def stability_scores(logits: Tensor, threshold: float, offset: float) -> Tensor:
    """Returns the overlap (IoU) of each mask cut at a high threshold with the same mask cut at a low one.

    Args:
        logits: (N, H, W), in any order of rows and columns.
        threshold: logits above it belong to the mask.
        offset: the thresholds are so much above and below.

    Returns:
        (N,) float32 in 0..1; nan where no logit exceeds the low threshold.
    """
    # The smaller mask lies inside the larger one, so that their areas are intersection and union.
    return _areas(logits, threshold + offset) / _areas(logits, threshold - offset)


def _areas(logits: Tensor, threshold: float) -> Tensor:
    if logits.device.type != "cpu":
        return (logits > threshold).sum(dim=(1, 2), dtype=torch.int32)
    # numpy counts the ones of a bool array many times faster than torch does on the CPU.
    return torch.tensor([np.count_nonzero(mask > threshold) for mask in logits.numpy()], dtype=torch.int32)


def corner_boxes(codes: Sequence[Rle]) -> np.ndarray:
    """Returns the first and last pixels x0, y0, x1, y1 of masks, (N, 4) int64; zeros for an empty mask.

    ``x1`` and ``y1`` are pixels of the mask, as everything mode has always counted them, not one past it.
    """
    boxes = rle_boxes(codes)
    boxes[:, 2:] += boxes[:, :2] - 1
    boxes[rle_areas(codes) == 0] = 0
    return boxes.astype(np.int64)
