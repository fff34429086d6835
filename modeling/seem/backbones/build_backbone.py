"""The backbones a configuration can name."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from typing import Protocol, cast, runtime_checkable

from torch import Tensor, nn

from ....utils.errors import ConfigError, did_you_mean
from ...weights.load_state import LoadReport, load_state
from ...weights.weight_files import read_state_dict
from ...weights.weight_places import find_weights
from ..config import SeemConfig

log = logging.getLogger(__name__)

# Name -> module and class; imported when chosen, because timm is slow to import. A class has ``from_config(cfg)`` and
# is a Backbone in fact; it may have ``key_map`` (see modeling/weights/load_state.py).
BACKBONES = {
    "focal": ("focalnet", "FocalNet"),
    "focal_dw": ("focalnet", "FocalNet"),
    "davit": ("davit", "DaViTBackbone"),
    "vit": ("vit", "ViTBackbone"),
    "timm": ("timm_backbone", "TimmBackbone"),
}


class Backbone(nn.Module):
    """Type of the backbones: images (B, 3, H, W) to {"res2": (B, C, H / 4, W / 4), ... "res5"}, strides 4, 8, 16, 32.

    Attributes:
        output_channels: name of each map -> its channels.
    """

    output_channels: dict[str, int]


@runtime_checkable
class FitsWeights(Protocol):
    """A backbone that can translate or resize the tensors of a file before they are loaded."""

    def fit_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns tensors under this backbone's names and, where it can, in its shapes."""


def build_backbone(cfg: SeemConfig) -> Backbone:
    """Builds the backbone named by ``MODEL.BACKBONE.NAME``, with ``MODEL.BACKBONE.PRETRAINED`` if that is to be loaded.

    Raises:
        ConfigError: if the name is unknown, or a key does not fit the backbone.
        CheckpointError: if the backbone's weights cannot be loaded.
    """
    c = cfg.MODEL.BACKBONE
    if c.NAME not in BACKBONES:
        raise ConfigError(
            f"unknown backbone {c.NAME!r}{did_you_mean(c.NAME, BACKBONES) or '.'} Known: {list(BACKBONES)}"
        )
    module, class_name = BACKBONES[c.NAME]
    backbone = getattr(importlib.import_module(f".{module}", __package__), class_name).from_config(cfg)
    if c.LOAD_PRETRAINED and c.PRETRAINED:
        log.info("%s", load_backbone_weights(backbone, c.PRETRAINED).text())
    return cast(Backbone, backbone)


def load_backbone_weights(backbone: nn.Module, path: str) -> LoadReport:
    """Loads weights of a backbone alone (``MODEL.BACKBONE.PRETRAINED``).

    Args:
        backbone: the network; its ``fit_weights``, if any, translates and resizes the file's tensors.
        path: weight file or folder; names may carry the prefix "backbone.".

    Raises:
        CheckpointError: if the file cannot be read or nothing fits.
    """
    state = read_state_dict(find_weights(path, "MODEL.BACKBONE.PRETRAINED"))
    own = {name.removeprefix("backbone."): t for name, t in state.items() if name.startswith("backbone.")}
    state = own or state
    if isinstance(backbone, FitsWeights):
        state = backbone.fit_weights(state)
    return load_state(backbone, state, source=path)
