"""Which queries answer the prompts.

The queries that a prompt brought in compete for it; a variant without such queries lets the object queries compete.

Letters in shapes: B images, N prompted objects, T texts, S queries that compete, D mask width, P width of the joint
text space, H and W rows and columns at stride 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..text.text_towers import normalize
from .decoder_output import DecoderOutput, LayerOutput, PromptedOutput, mask_logits


def stroke_scores(layer: LayerOutput, means: Tensor) -> Tensor:
    """Scores the queries that compete for each stroked object.

    Args:
        layer: one output of the decoder.
        means: (B, N, D) mean mask features under the positive strokes.

    Returns:
        (B, S, N) float32 inner products; minus infinity where a query belongs to another object.
    """
    scores = _products(_competing(layer.spatial, layer).mask_embed, means)
    if layer.spatial is None or means.shape[1] <= 1:
        return scores
    objects = torch.arange(means.shape[1], device=scores.device)
    owner = objects.repeat_interleave(scores.shape[1] // len(objects))
    return scores.masked_fill(owner[:, None] != objects, -torch.inf)


def stroke_masks(output: DecoderOutput) -> Tensor:
    """Returns the mask logits (B, N, H, W), float32, of the query that fits each stroked object best.

    Raises:
        ValueError: the pass had no strokes.
    """
    if output.positive_means is None:
        raise ValueError("the decoder was not given strokes")
    scores = stroke_scores(output.final, output.positive_means)
    return _best_masks(_competing(output.final.spatial, output.final), scores, output.mask_features)


def reference_masks(output: DecoderOutput) -> Tensor:
    """Returns the mask logits (B, M, H, W), float32, of the object query that fits each reference best.

    Raises:
        ValueError: the pass had no reference.
    """
    if output.reference_means is None:
        raise ValueError("the decoder was not given references")
    objects = _competing(None, output.final)
    return _best_masks(objects, _products(objects.mask_embed, output.reference_means), output.mask_features)


def text_masks(output: DecoderOutput, texts: Tensor) -> Tensor:
    """Returns the mask logits (B, T, H, W), float32, of the query most similar to each text.

    Args:
        output: of a pass with texts.
        texts: (B, T, P) text embeddings.
    """
    queries = _competing(output.final.grounding, output.final)
    scores = _products(normalize(queries.embed.float()), normalize(texts.float()))
    return _best_masks(queries, scores, output.mask_features)


def _competing(prompted: PromptedOutput | None, layer: LayerOutput) -> PromptedOutput:
    if prompted is not None:
        return prompted
    if layer.embed is None:
        raise ValueError("the output holds no class embeddings")
    return PromptedOutput(layer.mask_embed, layer.embed)


def _products(queries: Tensor, targets: Tensor) -> Tensor:
    with torch.autocast(queries.device.type, enabled=False):
        return queries.float() @ targets.float().transpose(1, 2)


def _best_masks(queries: PromptedOutput, scores: Tensor, mask_features: Tensor) -> Tensor:
    """Builds the masks of the best query (B, S, N scores) of each target, and no others."""
    batch, _, targets = scores.shape
    if not targets:
        return mask_features.new_zeros(batch, 0, *mask_features.shape[-2:], dtype=torch.float32)
    best = scores.argmax(dim=1)
    embeds = queries.mask_embed.gather(1, best[..., None].expand(-1, -1, queries.mask_embed.shape[2]))
    return mask_logits(embeds, mask_features)
