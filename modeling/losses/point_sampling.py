"""Masks sampled at points, and the choice of points where a prediction is uncertain (PointRend, section 3.1).

Points are (x, y) in 0..1 of the whole map: (0, 0) is the outer corner of the first pixel, not its centre. Sampling is
bilinear; beyond the outermost pixel centres it blends with zero.

Letters in shapes: N maps, C channels, Q masks, D mask width, P points, H and W rows and columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Samples maps at points.

    Args:
        maps: (N, C, H, W) float32.
        points: (N, P, 2) float32 in 0..1.

    Returns:
        (N, C, P) float32.
    """
    grid = 2 * points[:, None] - 1
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[:, :, 0]


def sample_mask_logits(mask_embed: Tensor, features: Tensor, points: Tensor) -> Tensor:
    """Returns the logits of masks at points that all of them share.

    A logit is the inner product of a mask embedding and a feature, and sampling is linear. So either the masks are
    built and sampled, or the features are sampled and multiplied: the same up to rounding, and whichever is cheaper
    is done. (Sampling costs memory traffic per channel; measured, the balance is near two pixels per point.)

    Args:
        mask_embed: (Q, D) float32.
        features: (D, H, W) float32.
        points: (P, 2) float32 in 0..1.

    Returns:
        (Q, P) float32.
    """
    depth, height, width = features.shape
    if height * width <= 2 * len(points):
        masks = (mask_embed @ features.reshape(depth, -1)).view(1, -1, height, width)
        return sample_points(masks, points[None])[0]
    return mask_embed @ sample_points(features[None], points[None])[0]


def uncertain_points(masks: Tensor, candidates: Tensor, extra: Tensor, num_uncertain: int) -> Tensor:
    """Keeps the candidates whose logit is closest to zero and appends the extra points.

    Args:
        masks: (N, H, W) float32 logits.
        candidates: (N, P', 2) float32 points to choose from.
        extra: (N, P'', 2) float32 points taken as they are.
        num_uncertain: number of candidates kept per mask, at most P'.

    Returns:
        (N, num_uncertain + P'', 2) float32; the kept candidates come in no particular order.
    """
    distance = sample_points(masks[:, None], candidates)[:, 0].abs_()
    index = distance.topk(num_uncertain, dim=1, largest=False, sorted=False).indices
    return torch.cat([candidates.gather(1, index[..., None].expand(-1, -1, 2)), extra], dim=1)
