"""The text encoder and tokenizer that a configuration names."""

from __future__ import annotations

from ....utils.array_cache import ArrayCache, cache_folder
from ..config import SeemConfig
from .text_towers import LanguageEncoder, TextEncoder
from .tokenizer import ClipTokenizer, Tokenizer


def build_text(cfg: SeemConfig, tokenizer: Tokenizer | None = None) -> tuple[TextEncoder, Tokenizer]:
    """Builds the text tower of ``MODEL.TEXT.ARCH`` with the tokenizer that belongs to it.

    Args:
        cfg: the configuration.
        tokenizer: replaces UniCL's, whose vocabulary then has its size.

    Returns:
        The encoder, and a tokenizer that makes its ids.

    Raises:
        ConfigError: MODEL.TEXT.OPEN_CLIP names no model, or something that is not on this machine.
        CheckpointError: its weight file is damaged or of another model.
    """
    text, dim_proj = cfg.MODEL.TEXT, cfg.MODEL.DIM_PROJ
    if text.ARCH == "open_clip":
        # Loads the whole package, which takes seconds.
        from .open_clip_text import build_open_clip

        return build_open_clip(text.OPEN_CLIP.NAME, text.OPEN_CLIP.PRETRAINED, dim_proj, text.OPEN_CLIP.DOWNLOAD)
    tokenizer = tokenizer or ClipTokenizer(text.CONTEXT_LENGTH)
    encoder = LanguageEncoder(
        tokenizer.vocabulary_size,
        text.CONTEXT_LENGTH,
        text.WIDTH,
        text.LAYERS,
        text.HEADS,
        dim_proj,
        text.AUTOGRESSIVE,
    )
    return encoder, tokenizer


def text_cache(cfg: SeemConfig) -> ArrayCache | None:
    """Returns the folder of text embeddings that all runs of this user share, or None where MODEL.TEXT.CACHE is off."""
    return ArrayCache(cache_folder("text")) if cfg.MODEL.TEXT.CACHE else None
