"""The loop that SEEM's decoders share ("Segment Everything Everywhere All at Once", arXiv 2304.06718).

Variables live in groups (``visibility.py``); every layer lets them read the image under the masks they predicted, then
each other under the visibility table, and predicts anew. A variant says which groups the prompts bring in.

Letters in shapes: B images, Q object queries, N variables, K classes without background, C channels of the decoder,
D mask width, P width of the joint text space, H and W rows and columns at stride 4, h and w those of one level.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from ....utils.draws import Draws
from ....utils.errors import ConfigError
from ...layers.adapters import BottleneckAdapter, MaskEmbeddingAdapter
from ...layers.conv import init_conv
from ...layers.mlp import MLP
from ..config import SeemConfig
from ..text.text_towers import TextEncoder
from .decoder_layers import CrossAttentionLayer, FFNLayer, SelfAttentionLayer
from .decoder_output import DecoderOutput, LayerOutput, PromptedOutput
from .decoder_prompts import DecoderPrompts
from .image_levels import NUM_LEVELS, DecoderFeatures, ImageLevel, image_level
from .memory_slots import Memory
from .pass_draws import PassDraws
from .stroke_points import StrokePixels
from .variables import Variables
from .visibility import AttentionArch, Group, cross_attention_mask, self_attention_mask


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


class QueryDecoder(nn.Module, ABC):
    """Decoder of learned queries and prompts; all variants have the same parameters.

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
        max_spatial_len: most stroke points of each sign in an image: of each level, and of the means.
        adapters: put adapters after the sub-layers and on the mask head; None: no adapters.

    Attributes:
        objects_at_once: most objects of an image that one pass can be asked for by strokes; None: any number.
        groups: groups that the variant works with; its section ATTENTION_ARCH must have them.
    """

    objects_at_once: ClassVar[int | None] = None
    groups: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        lang_encoder: TextEncoder,
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
        max_spatial_len: Sequence[int] = (512,) * (NUM_LEVELS + 1),
        adapters: AdapterOptions | None = None,
    ) -> None:
        super().__init__()
        self.lang_encoder = lang_encoder
        self.arch = arch
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.max_spatial_len = tuple(max_spatial_len)

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
    def from_config(cls, cfg: SeemConfig, lang_encoder: TextEncoder) -> Self:
        """Builds the decoder of ``cfg.MODEL`` and ``cfg.ATTENTION_ARCH`` around a text encoder.

        Raises:
            ConfigError: a section that does not fit the decoder.
        """
        encoder, decoder = cfg.MODEL.ENCODER, cfg.MODEL.DECODER
        if len(decoder.MAX_SPATIAL_LEN) != NUM_LEVELS + 1:
            raise ConfigError(
                f"MODEL.DECODER.MAX_SPATIAL_LEN {list(decoder.MAX_SPATIAL_LEN)}: expected {NUM_LEVELS + 1} numbers, "
                "one for each level and one for the means"
            )
        arch = AttentionArch.from_config(cfg.ATTENTION_ARCH)
        if missing := [group for group in cls.groups if group not in arch.self_groups]:
            raise ConfigError(
                f"ATTENTION_ARCH has no {', '.join(missing)} (VARIABLE, SELF_ATTENTION), but MODEL.DECODER.NAME "
                f"{decoder.NAME} needs it: take the section of a shipped file for this decoder"
            )
        adapters = AdapterOptions(decoder.ADAPTER, decoder.ADAPTER_INIT, decoder.ADAPTER_RATIO)
        return cls(
            lang_encoder,
            arch,
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
            max_spatial_len=decoder.MAX_SPATIAL_LEN,
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

    def prepare(
        self, features: Sequence[Tensor], mask_features: Tensor, *, for_rounds: bool = False
    ) -> DecoderFeatures:
        """Computes what no prompt changes; ``forward`` takes it for any number of rounds on the same images.

        Args:
            features: three maps (B, in_channels, h, w), coarse to fine.
            mask_features: (B, D, H, W).
            for_rounds: project keys and values of all layers, too. A round then costs a fraction; they take 2 C numbers
                per layer and pixel of its level (66 MB per image of 512 x 512 with the published sizes).
        """
        levels = []
        for i, feature in enumerate(features):
            values = self.input_proj[i](feature).flatten(2).transpose(1, 2) + self.level_embed.weight[i]
            levels.append(image_level(values, mask_features, (feature.shape[-2], feature.shape[-1])))
        image = DecoderFeatures(levels, mask_features)
        if for_rounds:
            image.projected = [self._project(i, image) for i in range(self.num_layers)]
        return image

    def _project(self, index: int, image: DecoderFeatures) -> tuple[Tensor, Tensor]:
        """Returns keys and values of one layer's cross-attention."""
        if image.projected is not None:
            return image.projected[index]
        level = image.levels[index % NUM_LEVELS]
        layer = self.transformer_cross_attention_layers[index]
        assert isinstance(layer, CrossAttentionLayer)
        return layer.project(level.keys, level.values)

    def forward(
        self,
        features: Sequence[Tensor] | DecoderFeatures,
        mask_features: Tensor | None,
        class_embeddings: Tensor,
        prompts: DecoderPrompts | None = None,
        rng: Draws | None = None,
    ) -> DecoderOutput:
        """Decodes the object queries and the prompts.

        Args:
            features: three maps (B, in_channels, h, w), coarse to fine, or what ``prepare`` made of them.
            mask_features: (B, D, H, W); None with prepared features.
            class_embeddings: (K + 1, P) unit-length text embeddings, the last one of "background".
            prompts: what is asked for; None: the object queries alone.
            rng: source of the draws that the variant documents; None: fixed ones.

        Returns:
            One output per layer, first that of the raw queries.
        """
        if not isinstance(features, DecoderFeatures):
            if mask_features is None:
                raise ValueError("mask_features may be None only with prepared features")
            features = self.prepare(features, mask_features)
        if prompts is None:
            groups = {"queries_object": self._learned_queries(len(features.mask_features))}
            return self._decode(features, class_embeddings, Variables(self.arch, groups))
        return self._decode_prompted(features, class_embeddings, prompts, rng)

    @torch.compiler.disable
    def _decode_prompted(
        self, image: DecoderFeatures, class_embeddings: Tensor, prompts: DecoderPrompts, rng: Draws | None
    ) -> DecoderOutput:
        """Decodes with prompts, eagerly: the numbers of their variables differ from call to call."""
        most = self.objects_at_once
        if most is not None and prompts.spatial is not None and prompts.spatial.num_objects > most:
            raise ValueError(f"{type(self).__name__} takes strokes of {most} object per image at once")
        positions = prompts.positions or range(len(image.mask_features))
        variables = self._start(image, prompts, PassDraws(rng, positions, prompts.draws))
        return self._decode(image, class_embeddings, variables)

    @abstractmethod
    def _start(self, image: DecoderFeatures, prompts: DecoderPrompts, draws: PassDraws) -> Variables:
        """Returns the variables that the prompts call for."""

    def _learned_queries(self, batch: int) -> Group:
        return Group(
            content=self.query_feat.weight.expand(batch, -1, -1), position=self.query_embed.weight.expand(batch, -1, -1)
        )

    def _memory_slots(self, batch: int) -> Group:
        return Group(
            content=self.spatial_featured.weight.expand(batch, -1, -1),
            position=self.spatial_embed.weight.expand(batch, -1, -1),
        )

    def _stroke_tokens(self, image: DecoderFeatures, pixels: StrokePixels) -> list[tuple[Tensor, Tensor]]:
        """Returns, per level, features (B, P, C) under the strokes and the object (B, P) of each, -1 at padding."""
        tokens = []
        for i, level in enumerate(image.levels):
            points = pixels.points(str(i), self.max_spatial_len[i])
            features = points.features(level.map())
            # Sampling is linear: the few points are projected instead of the map.
            signs = self.pn_indicator(points.sign).masked_fill(points.owner[..., None] < 0, 0.0)
            content = features @ self.mask_sptial_embed[i] + signs
            tokens.append((content, points.owner))
        return tokens

    def _decode(self, image: DecoderFeatures, class_embeddings: Tensor, variables: Variables) -> DecoderOutput:
        prediction, mask_embed = self._predict(0, variables, class_embeddings)
        outputs = [prediction]
        for i in range(self.num_layers):
            level = image.levels[i % NUM_LEVELS]
            variables.enter_layer(i)
            forbidden = self._cross_mask(i, mask_embed, level, variables.memory)
            self._cross_attend(i, variables, self._project(i, image), forbidden)
            self._self_attend(i, variables)
            prediction, mask_embed = self._predict(i + 1, variables, class_embeddings)
            outputs.append(prediction)
        output = DecoderOutput(outputs, image.mask_features, reference_means=variables.reference_means)
        if variables.means is not None:
            output.positive_means, output.negative_means = variables.means.positive, variables.means.negative
        return output

    @torch.no_grad()
    def _cross_mask(self, index: int, mask_embed: Tensor, level: ImageLevel, memory: Memory | None) -> Tensor:
        """Returns the pixels (B, N, h * w) that last predictions and memory forbid at this level's resolution."""
        logits = mask_embed @ level.mask_features
        if memory is not None:
            logits = torch.cat([logits, memory.slot_logits(index)], dim=1)
        return cross_attention_mask(logits)

    def _cross_attend(
        self, index: int, variables: Variables, projected: tuple[Tensor, Tensor], forbidden: Tensor
    ) -> None:
        names = variables.present(variables.arch.cross_groups)
        x, position = variables.joined(names)
        x = self.transformer_cross_attention_layers[index](x, position, projected, forbidden)
        if self.has_adapters:
            x = self.transformer_cross_attention_layers_adapters[index](x)
        variables.write(names, x)

    def _self_attend(self, index: int, variables: Variables) -> None:
        present = variables.present(variables.arch.self_groups)
        names = [name for name in present if name not in variables.level_tokens]
        passing = [name for name in present if name in variables.level_tokens]
        forbidden = self_attention_mask(variables.arch, variables.groups, names, names + passing)
        x, position = variables.joined(names)
        tokens = variables.joined(passing) if passing else None
        x = self.transformer_self_attention_layers[index](x, position, forbidden, tokens)
        if self.has_adapters:
            x = self.transformer_self_attention_layers_adapters[index](x)
        x = self.transformer_ffn_layers[index](x)
        if self.has_adapters:
            x = self.transformer_ffn_layers_adapters[index](x)
        variables.write(names, x)

    def _predict(self, index: int, variables: Variables, class_embeddings: Tensor) -> tuple[LayerOutput, Tensor]:
        """Prediction heads, after ``index`` layers.

        Returns:
            The output, and the mask embeddings (B, N, D) of all groups of queries, one after the other.
        """
        names = variables.present(variables.arch.query_groups)
        states = self.decoder_norm(variables.joined(names)[0])
        embed = states @ self.class_embed
        mask_embed = self.mask_embed(states)
        if self.has_adapters:
            mask_embed = mask_embed + self.predictions_heads_mask_embs_adapters[index](states)
        counts = variables.counts(names)
        split = zip(mask_embed.split(counts, dim=1), embed.split(counts, dim=1), strict=True)
        parts = {name: PromptedOutput(*part) for name, part in zip(names, split, strict=True)}
        objects = parts.get("queries_object") or PromptedOutput(mask_embed[:, :0], embed[:, :0])
        logits = self.lang_encoder.similarity(objects.embed, class_embeddings)
        grounding, spatial = parts.get("queries_grounding"), parts.get("queries_spatial")
        return LayerOutput(logits, objects.mask_embed, objects.embed, grounding, spatial), mask_embed


def _input_projections(in_channels: int, dim: int, enforce: bool) -> nn.ModuleList:
    if in_channels == dim and not enforce:
        return nn.ModuleList(nn.Identity() for _ in range(NUM_LEVELS))
    projections = [nn.Conv2d(in_channels, dim, 1) for _ in range(NUM_LEVELS)]
    for projection in projections:
        init_conv(projection)
    return nn.ModuleList(projections)
