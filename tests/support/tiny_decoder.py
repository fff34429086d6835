"""A small SEEM decoder with random weights, and inputs for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segfoundry.modeling.seem.decoder.decoder_prompts import SpatialPrompt, TextPrompt
from segfoundry.modeling.seem.decoder.decoder_v1 import SeemDecoder
from segfoundry.modeling.seem.decoder.query_decoder import QueryDecoder
from segfoundry.modeling.seem.decoder.visibility import AttentionArch
from segfoundry.modeling.seem.text.text_towers import LanguageEncoder, normalize
from segfoundry.utils.config.engine import load_mapping

ARCH = AttentionArch.from_config(load_mapping({"MODEL.NAME": "seem_model_v1"}).cfg.ATTENTION_ARCH)
_PROMPT_TOKENS = ("tokens_grounding", "tokens_spatial", "tokens_visual", "tokens_audio")
DEMO_ARCH = AttentionArch(
    cross_groups=("queries_object",),
    self_groups=("queries_object", *_PROMPT_TOKENS),
    visible={
        "queries_object": ("queries_object", *_PROMPT_TOKENS),
        "tokens_grounding": ("queries_object", "tokens_grounding"),
        "tokens_spatial": ("tokens_spatial",),
        "tokens_visual": ("tokens_visual",),
        "tokens_audio": ("queries_object", "tokens_audio"),
    },
    masked=_PROMPT_TOKENS,
    num_memories=32,
    queries_per_object=3,
)
SIZES = ((2, 3), (4, 6), (8, 12), (16, 24))
INPUT_SIZE = (64, 96)


def make(kind: type[QueryDecoder] = SeemDecoder, arch: AttentionArch = ARCH, **options: Any) -> QueryDecoder:
    """Builds a decoder in eval mode; equal arguments give equal weights."""
    torch.manual_seed(0)
    widths = {"in_channels": 32, "hidden_dim": 32, "mask_dim": 16, "dim_proj": 24} | options
    lang_encoder = LanguageEncoder(10, 4, 8, 1, 2, widths["dim_proj"])
    small = {"num_heads": 4, "dim_feedforward": 48, "num_layers": 4, "num_queries": 7}
    return kind(lang_encoder, arch, **small, **widths).eval()


def inputs(batch: int = 2, channels: int = 32) -> tuple[list[Tensor], Tensor, Tensor]:
    """Returns three maps, mask features and class embeddings."""
    generator = torch.Generator().manual_seed(1)
    maps = [torch.randn(batch, channels, *size, generator=generator) for size in SIZES[:3]]
    features = torch.randn(batch, 16, *SIZES[3], generator=generator)
    return maps, features, normalize(torch.randn(5, 24, generator=generator))


def squares(*corners: tuple[int, int], size: int = 3) -> Tensor:
    """Returns one stroke (N, 64, 96) per corner (row, column): a square; corner (-1, -1) gives an empty stroke."""
    masks = torch.zeros(len(corners), *INPUT_SIZE, dtype=torch.bool)
    for mask, (row, column) in zip(masks, corners, strict=True):
        if row >= 0:
            mask[row : row + size, column : column + size] = True
    return masks


def strokes(*positive: Tensor, num_objects: int | None = None, previous: Tensor | None = None) -> SpatialPrompt:
    """Returns a prompt of positive strokes, one entry (n, H, W) per image, with a negative point for each object."""
    negative = [torch.zeros_like(masks) for masks in positive]
    for masks in negative:
        masks[:, 60, 90] = True
    most = max(len(masks) for masks in positive)
    return SpatialPrompt(list(positive), negative, most if num_objects is None else num_objects, previous)


def texts(*lengths: int, seed: int = 2) -> TextPrompt:
    """Returns random text tokens, as many as said for each image."""
    tokens = torch.randn(len(lengths), max(lengths), 32, generator=torch.Generator().manual_seed(seed))
    return TextPrompt(tokens, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])
