"""The backbones a configuration can name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from segfoundry.modeling.seem.focalnet import FocalNet
from segfoundry.modeling.seem.focalnet_weights import load_backbone_weights
from segfoundry.utils.registry import Registry

# A backbone maps images (B, 3, H, W) to {"res2": (B, C, H / 4, W / 4), ... "res5"} and has ``output_channels``.
BACKBONES: Registry[Callable[[Any], FocalNet]] = Registry("backbone")
BACKBONES.register("focal")(FocalNet.from_config)
BACKBONES.register("focal_dw")(FocalNet.from_config)


def build_backbone(cfg: Any) -> FocalNet:
    """Builds the backbone named by ``MODEL.BACKBONE.NAME``, with ``MODEL.BACKBONE.PRETRAINED`` if that is to be loaded.

    Raises:
        ConfigError: if the name is unknown.
        CheckpointError: if the backbone's weights cannot be loaded.
    """
    c = cfg.MODEL.BACKBONE
    backbone = BACKBONES.get(c.NAME)(cfg)
    if c.LOAD_PRETRAINED and c.PRETRAINED:
        load_backbone_weights(backbone, c.PRETRAINED)
    return backbone
