"""Backbone-only weights for a FocalNet of another shape."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from segfoundry.modeling.checkpoint import LoadReport, load_state, read_state_dict
from segfoundry.modeling.seem.focalnet import FocalNet
from segfoundry.modeling.weight_files import find_weights


def load_backbone_weights(backbone: FocalNet, path: str) -> LoadReport:
    """Loads weights of a backbone alone (``MODEL.BACKBONE.PRETRAINED``), fitted by :func:`fit_focal_weights`.

    Args:
        backbone: the network.
        path: weight file; names may carry the prefix "backbone.".

    Raises:
        CheckpointError: if the file cannot be read or nothing fits.
    """
    state = read_state_dict(find_weights(path))
    own = {name.removeprefix("backbone."): t for name, t in state.items() if name.startswith("backbone.")}
    return load_state(backbone, fit_focal_weights(own or state, backbone.state_dict()), source=path)


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
