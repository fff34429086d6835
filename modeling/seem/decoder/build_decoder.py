"""Decoders by name (MODEL.DECODER.NAME)."""

from __future__ import annotations

from ....utils.errors import ConfigError, did_you_mean
from ..config import SeemConfig
from ..text.text_towers import TextEncoder
from .decoder_demo import SeemDecoderDemo
from .decoder_v0 import SeemDecoderV0
from .decoder_v1 import SeemDecoder
from .query_decoder import QueryDecoder

DECODERS: dict[str, type[QueryDecoder]] = {
    "seem_v1": SeemDecoder,
    "seem_v0": SeemDecoderV0,
    "seem_demo": SeemDecoderDemo,
}


def build_decoder(cfg: SeemConfig, lang_encoder: TextEncoder) -> QueryDecoder:
    """Builds the decoder that the configuration names around a text encoder.

    Raises:
        ConfigError: an unknown name, or a section that does not fit the decoder.
    """
    name = cfg.MODEL.DECODER.NAME
    if name not in DECODERS:
        hint = did_you_mean(name, DECODERS) or "."
        raise ConfigError(f"MODEL.DECODER.NAME {name!r} is unknown{hint} Known: {', '.join(DECODERS)}.")
    return DECODERS[name].from_config(cfg, lang_encoder)
