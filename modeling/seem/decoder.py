"""SEEM's decoder ("Segment Everything Everywhere All at Once", arXiv 2304.06718), variant v1.

Variables live in groups (``visibility.py``); every layer lets them read the image under the masks they predicted, then
each other under the visibility table, and predicts anew. This file builds the object queries; prompts add further
groups to the same loop.

Letters in shapes: B images, Q object queries, N variables, K classes without background, C channels of the decoder,
D mask width, P width of the joint text space, H and W rows and columns at stride 4, h and w those of one level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segfoundry.modeling.layers.adapters import BottleneckAdapter, MaskEmbeddingAdapter
from segfoundry.modeling.layers.conv import init_conv
from segfoundry.modeling.layers.mlp import MLP
from segfoundry.modeling.layers.position import sine_position_encoding
from segfoundry.modeling.seem.decoder_layers import CrossAttentionLayer, FFNLayer, SelfAttentionLayer
from segfoundry.modeling.seem.language import LanguageEncoder
from segfoundry.modeling.seem.outputs import DecoderOutput, LayerOutput
from segfoundry.modeling.seem.visibility import AttentionArch, Group, cross_attention_mask, self_attention_mask

NUM_LEVELS = 3


@dataclass
class ImageLevel:
    """One feature map, ready for cross-attention.

    Attributes:
        keys: (B, h * w, C) features with positions added.
        values: (B, h * w, C) features.
        mask_features: (B, D, h * w) mask features brought to this resolution, without gradient.
    """

    keys: Tensor
    values: Tensor
    mask_features: Tensor


@dataclass(frozen=True)
class AdapterOptions:
    """Adapters of the decoder.

    Attributes:
        variant: "light" or "dense".
        init: "neutral" or "reference".
        ratio: channels of the decoder over those inside a light adapter.
    """

    variant: str = "light"
    init: str = "neutral"
    ratio: int = 4


class SeemDecoder(nn.Module):
    """The decoder ``seem_v1``: object queries, with the parameters of the prompted groups.

    Args:
        lang_encoder: text encoder; gives the class logits (``similarity``) and is registered here, where published
            weights have it.
        arch: groups and visibility.
        in_channels: channels of the multi-scale maps.
        hidden_dim: C.
        mask_dim: D.
        dim_proj: P.
        num_heads: attention heads.
        dim_feedforward: inner width of the feed-forward nets.
        num_layers: layers; there is one prediction more, from the raw queries.
        num_queries: Q.
        dropout: dropout of all sub-layers.
        pre_norm: pre-norm sub-layers.
        enforce_input_proj: project the maps even if ``in_channels`` equals ``hidden_dim``.
        adapters: put adapters after the sub-layers and on the mask head; None: no adapters.
    """

    def __init__(
        self,
        lang_encoder: LanguageEncoder,
        arch: AttentionArch,
        *,
        in_channels: int = 512,
        hidden_dim: int = 512,
        mask_dim: int = 512,
        dim_proj: int = 512,
        num_heads: int = 8,
        dim_feedforward: int = 2048,
        num_layers: int = 9,
        num_queries: int = 101,
        dropout: float = 0.0,
        pre_norm: bool = False,
        enforce_input_proj: bool = False,
        adapters: AdapterOptions | None = None,
    ) -> None:
        super().__init__()
        self.lang_encoder = lang_encoder
        self.arch = arch
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers

        def layers(kind: type[nn.Module], width: int) -> nn.ModuleList:
            return nn.ModuleList(kind(hidden_dim, width, dropout, pre_norm) for _ in range(num_layers))

        self.transformer_cross_attention_layers = layers(CrossAttentionLayer, num_heads)
        self.transformer_self_attention_layers = layers(SelfAttentionLayer, num_heads)
        self.transformer_ffn_layers = layers(FFNLayer, dim_feedforward)
        self.decoder_norm = nn.LayerNorm(hidden_dim)
        self.query_feat = nn.Embedding(num_queries, hidden_dim)
        self.query_embed = nn.Embedding(num_queries, hidden_dim)
        self.level_embed = nn.Embedding(NUM_LEVELS, hidden_dim)
        self.input_proj = _input_projections(in_channels, hidden_dim, enforce_input_proj)
        self.mask_embed = MLP(hidden_dim, hidden_dim, mask_dim, 3)
        self.class_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(hidden_dim, dim_proj), std=0.02))
        self._add_prompt_parameters()
        self.has_adapters = adapters is not None
        if adapters is not None:
            self._add_adapters(adapters, mask_dim)

    @classmethod
    def from_config(cls, cfg: Any, lang_encoder: LanguageEncoder) -> SeemDecoder:
        """Builds the decoder of ``cfg.MODEL`` and ``cfg.ATTENTION_ARCH`` around a text encoder."""
        encoder, decoder = cfg.MODEL.ENCODER, cfg.MODEL.DECODER
        adapters = AdapterOptions(decoder.ADAPTER, decoder.ADAPTER_INIT, decoder.ADAPTER_RATIO)
        return cls(
            lang_encoder,
            AttentionArch.from_config(cfg.ATTENTION_ARCH),
            in_channels=encoder.CONVS_DIM,
            hidden_dim=decoder.HIDDEN_DIM,
            mask_dim=encoder.MASK_DIM,
            dim_proj=cfg.MODEL.DIM_PROJ,
            num_heads=decoder.NHEADS,
            dim_feedforward=decoder.DIM_FEEDFORWARD,
            # One of the published count's predictions comes from the raw queries.
            num_layers=decoder.DEC_LAYERS - 1,
            num_queries=decoder.NUM_OBJECT_QUERIES,
            pre_norm=decoder.PRE_NORM,
            enforce_input_proj=decoder.ENFORCE_INPUT_PROJ,
            adapters=adapters if decoder.FINE_TUNE else None,
        )

    def _add_prompt_parameters(self) -> None:
        """Parameters of strokes and memory; published weights hold them whichever prompts are in use."""
        dim = self.hidden_dim
        # "sptial" is the published spelling.
        self.mask_sptial_embed = nn.ParameterList(
            nn.Parameter(nn.init.trunc_normal_(torch.empty(dim, dim), std=0.02)) for _ in range(NUM_LEVELS)
        )
        self.spatial_featured = nn.Embedding(self.arch.num_memories, dim)
        self.spatial_embed = nn.Embedding(self.arch.num_memories, dim)
        self.pn_indicator = nn.Embedding(2, dim)

    def _add_adapters(self, options: AdapterOptions, mask_dim: int) -> None:
        dim, chosen = self.hidden_dim, (options.variant, options.init, options.ratio)

        def adapters() -> nn.ModuleList:
            return nn.ModuleList(BottleneckAdapter(dim, *chosen) for _ in range(self.num_layers))

        self.transformer_cross_attention_layers_adapters = adapters()
        self.transformer_self_attention_layers_adapters = adapters()
        self.transformer_ffn_layers_adapters = adapters()
        self.predictions_heads_mask_embs_adapters = nn.ModuleList(
            MaskEmbeddingAdapter(dim, mask_dim, *chosen) for _ in range(self.num_layers + 1)
        )

    def forward(self, features: Sequence[Tensor], mask_features: Tensor, class_embeddings: Tensor) -> DecoderOutput:
        """Decodes the object queries.

        Args:
            features: three maps (B, in_channels, h, w), coarse to fine.
            mask_features: (B, D, H, W).
            class_embeddings: (K + 1, P) unit-length text embeddings, the last one of "background".

        Returns:
            One output per layer, first that of the raw queries.
        """
        levels = [self._image_level(i, feature, mask_features) for i, feature in enumerate(features)]
        groups = {"queries_object": self._object_queries(mask_features.shape[0])}
        visibility = self_attention_mask(self.arch, groups)
        outputs = [self._predict(0, groups, class_embeddings)]
        for i in range(self.num_layers):
            level = levels[i % NUM_LEVELS]
            forbidden = self._cross_mask(outputs[-1], level)
            self._cross_attend(i, groups, level, forbidden)
            self._self_attend(i, groups, visibility)
            outputs.append(self._predict(i + 1, groups, class_embeddings))
        return DecoderOutput(outputs, mask_features)

    def _image_level(self, index: int, feature: Tensor, mask_features: Tensor) -> ImageLevel:
        size = (feature.shape[-2], feature.shape[-1])
        values = self.input_proj[index](feature).flatten(2).transpose(1, 2) + self.level_embed.weight[index]
        position = sine_position_encoding(size, self.hidden_dim, device=feature.device).flatten(2).transpose(1, 2)
        with torch.no_grad():
            # Resizing is linear: doing it to the features once equals doing it to the masks of every layer.
            resized = resize_features(mask_features.detach(), size).flatten(2)
        return ImageLevel(values + position.to(values.dtype), values, resized)

    def _object_queries(self, batch: int) -> Group:
        return Group(
            content=self.query_feat.weight.expand(batch, -1, -1), position=self.query_embed.weight.expand(batch, -1, -1)
        )

    @torch.no_grad()
    def _cross_mask(self, output: LayerOutput, level: ImageLevel) -> Tensor:
        """Returns the pixels (B, N, h * w) that the masks predicted last forbid at this level's resolution."""
        return cross_attention_mask(output.mask_embed @ level.mask_features)

    def _cross_attend(self, index: int, groups: dict[str, Group], level: ImageLevel, forbidden: Tensor) -> None:
        names = [name for name in self.arch.cross_groups if name in groups]
        x, position = _concatenate(groups, names)
        x = self.transformer_cross_attention_layers[index](x, position, level.keys, level.values, forbidden)
        if self.has_adapters:
            x = self.transformer_cross_attention_layers_adapters[index](x)
        _write_back(groups, names, x)

    def _self_attend(self, index: int, groups: dict[str, Group], forbidden: Tensor | None) -> None:
        names = [name for name in self.arch.self_groups if name in groups]
        x, position = _concatenate(groups, names)
        x = self.transformer_self_attention_layers[index](x, position, forbidden)
        if self.has_adapters:
            x = self.transformer_self_attention_layers_adapters[index](x)
        x = self.transformer_ffn_layers[index](x)
        if self.has_adapters:
            x = self.transformer_ffn_layers_adapters[index](x)
        _write_back(groups, names, x)

    def _predict(self, index: int, groups: dict[str, Group], class_embeddings: Tensor) -> LayerOutput:
        """Prediction heads, after ``index`` layers."""
        states = self.decoder_norm(groups["queries_object"].content)
        embed = states @ self.class_embed
        mask_embed = self.mask_embed(states)
        if self.has_adapters:
            mask_embed = mask_embed + self.predictions_heads_mask_embs_adapters[index](states)
        return LayerOutput(self.lang_encoder.similarity(embed, class_embeddings), mask_embed, embed)


def resize_features(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes (B, D, H, W) to (B, D, h, w), bilinear without antialiasing, half-pixel centres.

    Shrinking by an even factor averages the four pixels around each centre, which strided slices do faster than the
    general kernel.
    """
    factor = x.shape[-1] // size[-1]
    if factor % 2 or (size[0] * factor, size[1] * factor) != tuple(x.shape[-2:]):
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
    first = factor // 2 - 1
    x = x[..., first::factor, :] + x[..., first + 1 :: factor, :]
    return (x[..., first::factor] + x[..., first + 1 :: factor]) * 0.25


def _input_projections(in_channels: int, dim: int, enforce: bool) -> nn.ModuleList:
    if in_channels == dim and not enforce:
        return nn.ModuleList(nn.Identity() for _ in range(NUM_LEVELS))
    projections = [nn.Conv2d(in_channels, dim, 1) for _ in range(NUM_LEVELS)]
    for projection in projections:
        init_conv(projection)
    return nn.ModuleList(projections)


def _concatenate(groups: dict[str, Group], names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Returns content and position (B, N, C) of the named groups, one after the other."""
    content = torch.cat([groups[name].content for name in names], dim=1)
    return content, torch.cat([groups[name].position for name in names], dim=1)


def _write_back(groups: dict[str, Group], names: Sequence[str], x: Tensor) -> None:
    """Splits (B, N, C) into the contents of the named groups."""
    parts = x.split([groups[name].content.shape[1] for name in names], dim=1)
    for name, part in zip(names, parts, strict=True):
        groups[name].content = part
