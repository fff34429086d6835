"""The pixel decoders a configuration can name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from ....utils.registry import Registry
from ..config import SeemConfig
from .deformable import DeformablePixelDecoder
from .fpn import FPNPixelDecoder

PIXEL_DECODERS: Registry[type[nn.Module]] = Registry("pixel decoder")
PIXEL_DECODERS.register("transformer_encoder_fpn")(FPNPixelDecoder)
PIXEL_DECODERS.register("transformer_encoder_deform")(DeformablePixelDecoder)


def build_pixel_decoder(cfg: SeemConfig, input_channels: Mapping[str, int]) -> nn.Module:
    """Builds the pixel decoder named by ``MODEL.ENCODER.NAME``.

    Args:
        cfg: the configuration.
        input_channels: name of each backbone map -> channels, fine to coarse.

    Returns:
        A module that maps the backbone's maps to (mask features, transformer features, maps coarse to fine).
    """
    encoder, decoder = cfg.MODEL.ENCODER, cfg.MODEL.DECODER
    return PIXEL_DECODERS.get(encoder.NAME)(
        input_channels={name: input_channels[name] for name in encoder.IN_FEATURES},
        conv_dim=encoder.CONVS_DIM,
        mask_dim=encoder.MASK_DIM,
        norm=encoder.NORM,
        num_layers=encoder.TRANSFORMER_ENC_LAYERS,
        num_heads=decoder.NHEADS,
        feedforward_dim=decoder.DIM_FEEDFORWARD,
        dropout=decoder.DROPOUT,
        pre_norm=decoder.PRE_NORM,
        transformer_features=encoder.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES,
    )
