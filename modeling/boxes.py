"""Bounding boxes of masks, on the device of the masks and without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor


def tensor_mask_boxes(masks: Tensor) -> Tensor:
    """Returns the smallest boxes (N, 4) float32 x0, y0, x1, y1, end exclusive, of masks (N, H, W) bool; else zeros."""
    sides = []
    # The largest byte says whether any is set; on a CPU a hundred times faster than asking for `any`.
    for occupied in (
        masks.view(torch.uint8).amax(dim=1) > 0,
        masks.view(torch.uint8).amax(dim=2) > 0,
    ):  # (N, W), (N, H)
        length = occupied.shape[1]
        first = occupied.int().argmax(dim=1)
        last = length - occupied.flip(1).int().argmax(dim=1)
        sides += [first, torch.where(occupied.any(dim=1), last, first)]
    x0, x1, y0, y1 = sides
    return torch.stack([x0, y0, x1, y1], dim=1).float()
