"""Weights of full-size networks that are computed from the parameters' names: recorded cases need no large files."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor, nn

_TABLES = ("rel_pos", "attention_biases", "pos_embed")
_EMBEDDINGS = ("point_embeddings", "not_a_point_embed", "no_mask_embed", "iou_token", "mask_tokens")


def formula_state(model: nn.Module) -> dict[str, Tensor]:
    """Returns a state dict for the names and shapes of a network."""
    return {name: formula_tensor(name, tensor) for name, tensor in model.state_dict().items()}


def formula_tensor(name: str, like: Tensor) -> Tensor:
    """Returns the values of one tensor: normal numbers seeded by the name, scaled by what the name says it is."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros_like(like, device="cpu")
    numbers = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(like.shape)).astype(np.float32)
    return torch.from_numpy(_scaled(name, numbers))


def _scaled(name: str, n: np.ndarray) -> np.ndarray:
    if name.endswith("running_var"):
        return np.float32(0.5) + np.abs(n)
    if name.endswith("running_mean"):
        return np.float32(0.1) * n
    if n.ndim == 1:
        return 1 + np.float32(0.1) * n if name.endswith("weight") else np.float32(0.05) * n
    if "gaussian_matrix" in name:
        return n
    if any(part in name for part in _TABLES):
        return np.float32(0.1) * n
    if any(part in name for part in _EMBEDDINGS):
        return np.float32(0.5) * n
    return (n / np.sqrt(n[0].size)).astype(np.float32)


def formula_image(height: int, width: int) -> np.ndarray:
    """Returns the image (height, width, 3) uint8 of those cases."""
    y, x, c = np.mgrid[:height, :width, :3]
    return ((((x * (3 + c) + y * (5 - c)) // 7) + 40 * ((x // 64 + y // 48) % 2) + 25 * c) % 256).astype(np.uint8)
