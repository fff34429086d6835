"""Multi-scale deformable attention (Deformable DETR, arXiv 2010.04159, equation 3) in plain torch.

Letters in shapes: B batch, Q queries, S cells of all levels, h heads, d channels per head, L levels, P points, C = h d.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .linear import Linear


def multi_scale_deformable_attention(
    value: Tensor, sizes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Samples every level bilinearly (zero outside, pixel centres at +0.5) and sums with the attention weights.

    All levels, points and bilinear corners of a query and head are gathered as one weighted bag of rows: faster than
    sampling level by level, and nothing of size (Q, P, d) is stored.

    Args:
        value: (B, S, h, d), levels one after the other.
        sizes: (H, W) of each level.
        locations: (B, Q, h, L, P, 2), x and y in 0..1 of the level.
        weights: (B, Q, h, L, P).

    Returns:
        (B, Q, C).
    """
    if torch.compiler.is_exporting():
        return _level_by_level(value, sizes, locations, weights)
    batch, cells, heads, channels = value.shape
    queries = locations.shape[1]
    rows, row_weights = _corners(sizes, locations, weights)
    # Row (b, s, head) of the flattened table is (b S + s) h + head.
    head_of = torch.arange(heads, device=value.device)
    first = torch.arange(batch, device=value.device)[:, None] * (cells * heads) + head_of
    rows = rows * heads + first[:, None, :, None, None, None]
    sampled = F.embedding_bag(
        rows.flatten(3).flatten(0, 2),
        value.reshape(-1, channels),
        per_sample_weights=row_weights.flatten(3).flatten(0, 2),
        mode="sum",
    )
    return sampled.view(batch, queries, heads * channels)


def _level_by_level(value: Tensor, sizes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """As above by ``grid_sample``, which other programs know; weighted bags have no counterpart in ONNX."""
    maps = value.transpose(1, 2).split([height * width for height, width in sizes], dim=2)  # (B, h, H W, d)
    total = value.new_zeros(())
    for level, (height, width) in enumerate(sizes):
        image = maps[level].transpose(2, 3).flatten(0, 1).unflatten(-1, (height, width))
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)  # (B h, Q, P, 2)
        sampled = F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        shares = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]  # (B h, 1, Q, P)
        total = total + (sampled * shares).sum(dim=-1)  # (B h, d, Q)
    return total.unflatten(0, (value.shape[0], -1)).flatten(1, 2).transpose(1, 2)


def _corners(sizes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the four cells around each location: number within S and weight, both (B, Q, h, L, P, 4)."""
    device = locations.device
    size = torch.tensor([(w, h) for h, w in sizes], device=device)[:, None]
    start = [0]
    for rows, columns in sizes[:-1]:
        start.append(start[-1] + rows * columns)
    start_of_level = torch.tensor(start, device=device)[:, None]
    place = locations * size - 0.5
    corner = place.detach().floor()
    fraction = place - corner
    corner = corner.long()
    cells, shares = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = corner[..., 0] + dx, corner[..., 1] + dy
            width, height = size[..., 0], size[..., 1]
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            share_x = fraction[..., 0] if dx else 1 - fraction[..., 0]
            share_y = fraction[..., 1] if dy else 1 - fraction[..., 1]
            cells.append(torch.where(inside, start_of_level + y * width + x, 0))
            shares.append(share_x * share_y * weights * inside)
    return torch.stack(cells, dim=-1), torch.stack(shares, dim=-1)


class MSDeformAttn(nn.Module):
    """Deformable attention over several feature levels.

    Args:
        dim: channels C.
        num_heads: heads h; ``dim`` is divisible by it.
        num_levels: levels L.
        num_points: sampled points P per query, head and level.
    """

    def __init__(self, dim: int, num_heads: int = 8, num_levels: int = 3, num_points: int = 4) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not divisible by num_heads {num_heads}")
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        self.sampling_offsets = Linear(dim, num_heads * num_levels * num_points * 2)
        self.attention_weights = Linear(dim, num_heads * num_levels * num_points)
        self.value_proj = Linear(dim, dim)
        self.output_proj = Linear(dim, dim)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Points start on rays in the heads' directions, point p at distance p + 1; all weights equal."""
        angle = torch.arange(self.num_heads, dtype=torch.float32) * (2 * math.pi / self.num_heads)
        ray = torch.stack((angle.cos(), angle.sin()), dim=-1)
        ray = ray / ray.abs().amax(dim=-1, keepdim=True)
        distance = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        bias = ray[:, None, None] * distance[:, None]
        bias = bias.expand(self.num_heads, self.num_levels, self.num_points, 2).flatten()
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(bias)
        for parameter in (self.sampling_offsets.weight, *self.attention_weights.parameters()):
            nn.init.zeros_(parameter)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        query: Tensor,
        reference_points: Tensor,
        value: Tensor,
        sizes: Sequence[tuple[int, int]],
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Attends.

        Args:
            query: (B, Q, C).
            reference_points: (B, Q, L, 2), x and y in 0..1.
            value: (B, S, C), levels one after the other.
            sizes: (H, W) of each level; the products add up to S.
            padding_mask: (B, S) bool, True = counts as zero.

        Returns:
            (B, Q, C).
        """
        values = self.value_proj(value)
        if padding_mask is not None:
            values = values.masked_fill(padding_mask[..., None], 0.0)
        shape = (self.num_heads, self.num_levels, self.num_points)
        offsets = self.sampling_offsets(query).unflatten(-1, (*shape, 2))
        weights = self.attention_weights(query).unflatten(-1, (self.num_heads, -1)).softmax(-1)
        scale = torch.tensor([(w, h) for h, w in sizes], dtype=query.dtype, device=query.device)
        locations = reference_points[:, :, None, :, None] + offsets / scale[:, None]
        values = values.unflatten(-1, (self.num_heads, -1))
        attended = multi_scale_deformable_attention(values, sizes, locations, weights.unflatten(-1, shape[1:]))
        return self.output_proj(attended)
