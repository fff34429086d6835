"""Weights of a FocalNet alone: the published layout, that of transformers, and networks of another shape."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

# transformers' name of a FocalNet's part -> the published one; applied in this order.
_TRANSFORMERS = (
    (r"^focalnet\.", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^encoder\.stages\.(\d+)\.layers\.", r"layers.\1.blocks."),
    (r"^encoder\.stages\.(\d+)\.downsample\.projection\.", r"layers.\1.downsample.proj."),
    (r"^encoder\.stages\.(\d+)\.downsample\.norm\.", r"layers.\1.downsample.norm."),
    (r"\.modulation\.projection_in\.", ".modulation.f."),
    (r"\.modulation\.projection_context\.", ".modulation.h."),
    (r"\.modulation\.projection_out\.", ".modulation.proj."),
    (r"\.modulation\.layernorm\.", ".modulation.ln."),
    (r"^layernorm\.", "norm3."),  # after the last stage
)


def published_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translates the names of transformers' FocalNet classes; other names stay as they are."""
    translated = {}
    for name, tensor in state.items():
        for pattern, replacement in _TRANSFORMERS:
            name = re.sub(pattern, replacement, name)
        translated[name] = tensor
    return translated


def fit_focal_weights(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fits focal kernels and projections of other sizes; everything else is handed on as it is.

    Kernels are padded with zeros around the centre, or cropped to it. A projection ``modulation.f`` with fewer levels
    fills the rows of query, context and the first gates; its last (global) gate becomes the last.

    Args:
        state: the file's tensors.
        own: the network's tensors.
    """
    fitted = dict(state)
    for name, tensor in state.items():
        target = own.get(name)
        if target is None or tensor.shape == target.shape:
            continue
        if re.search(r"modulation\.focal_layers\.\d+\.0\.weight$", name) and tensor.shape[:2] == target.shape[:2]:
            fitted[name] = _centre(tensor, target.shape[-1])
        elif re.search(r"modulation\.f\.(weight|bias)$", name) and tensor.shape[1:] == target.shape[1:]:
            if tensor.shape[0] < target.shape[0]:
                fitted[name] = torch.cat((tensor[:-1], target[tensor.shape[0] - 1 : -1], tensor[-1:]))
    return fitted


def _centre(kernel: Tensor, size: int) -> Tensor:
    """Pads or crops a kernel (C, 1, k, k) around its centre to (C, 1, size, size)."""
    margin = (size - kernel.shape[-1]) // 2
    return torch.nn.functional.pad(kernel, (margin,) * 4)
