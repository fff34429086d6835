"""The published distance to a region's border, computed as its source describes it; slow."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def soft_distance(outside: Tensor, h: float = 0.35) -> Tensor:
    """Returns the distances (B, 1, H, W) of the pixels where ``outside`` (B, 1, H, W) is 0 to those where it is 1.

    Ring by ring: each pixel beside the known ones gets the soft minimum over its 3 x 3 surroundings, plus an offset per
    ring.
    """
    axis = torch.arange(3) - 1.0
    kernel = torch.exp(-torch.hypot(axis[:, None], axis[None]) / h)[None, None].to(outside.dtype)
    distance, known = torch.zeros_like(outside), outside
    for ring in range(max(outside.shape[-2:])):
        near = -h * F.conv2d(F.pad(known, (1, 1, 1, 1), mode="replicate"), kernel).log()
        near = near.nan_to_num(posinf=0.0).clamp(min=0)
        found = near > 0
        if not found.any():
            break
        distance = distance + torch.where(found, near + 3 * ring // 2, 0.0)
        known = torch.where(found, 1.0, known)
    return distance
