"""Position codes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sine_position_encoding(
    size: tuple[int, int], dim: int, *, temperature: float = 10000.0, device: torch.device | str | None = None
) -> Tensor:
    """Encodes the cells of a grid by sines and cosines (DETR, arXiv 2005.12872, appendix A.4).

    Rows are numbered 1..H and scaled to (0, 2 pi], columns likewise. The first ``dim / 2`` channels encode the row,
    the others the column; even channels are sines, odd ones cosines.

    Args:
        size: (H, W) of the grid.
        dim: number of channels, divisible by 4.
        temperature: ratio of the longest to the shortest wavelength.
        device: where the result lies.

    Returns:
        (1, dim, H, W) float32.
    """
    half = dim // 2
    channel = torch.arange(half, dtype=torch.float32, device=device)
    frequency = temperature ** (2 * torch.div(channel, 2, rounding_mode="floor") / half)

    def encode(length: int) -> Tensor:
        place = torch.arange(1, length + 1, dtype=torch.float32, device=device)
        angle = (place / (length + 1e-6) * (2 * math.pi))[:, None] / frequency
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)

    height, width = size
    rows = encode(height)[:, None].expand(height, width, half)
    columns = encode(width)[None].expand(height, width, half)
    return torch.cat((rows, columns), dim=2).permute(2, 0, 1)[None].contiguous()
