"""What SEEM's decoder returns; the criterion and the post-processing read it.

Letters in shapes: B images, Q object queries, G grounding queries, S spatial queries, N prompted objects, K categories
(without background), D mask width, P width of the joint text space, H and W rows and columns at stride 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...layers.full_precision import full_precision


@dataclass
class PromptedOutput:
    """Prediction of the queries that answer a prompt (grounding or spatial).

    Attributes:
        mask_embed: (B, G or S, D) mask embeddings.
        embed: (B, G or S, P) class embeddings before normalisation, compared with text embeddings.
    """

    mask_embed: Tensor
    embed: Tensor


@dataclass
class LayerOutput:
    """Prediction after one decoder layer (or from the raw queries).

    Masks are kept as embeddings: a mask logit is linear in the mask features, so that a consumer that needs the logits
    at a few points samples the features there and never builds full masks (:func:`mask_logits` does).

    Attributes:
        logits: (B, Q, K + 1) class logits of the object queries; the last class is "background". Q is 0 when the pass
            left the object queries out (``DecoderPrompts.objects``).
        mask_embed: (B, Q, D) mask embeddings of the object queries.
        embed: (B, Q, P) class embeddings of the object queries before normalisation.
        grounding: queries that answer texts, or None when there is no text prompt.
        spatial: queries that answer strokes, or None when there is no visual prompt. Those of object n are the rows
            n * S / N ... (n + 1) * S / N - 1.
    """

    logits: Tensor
    mask_embed: Tensor
    embed: Tensor | None = None
    grounding: PromptedOutput | None = None
    spatial: PromptedOutput | None = None


@dataclass
class DecoderOutput:
    """Result of one decoder pass.

    Attributes:
        layers: one entry per supervised output; first the raw queries, last the final layer.
        mask_features: (B, D, H, W) features at stride 4.
        positive_means: (B, N, D) mean mask feature under the positive strokes of each object; None without strokes.
        negative_means: (B, N, D) likewise for the negative strokes.
        reference_means: (B, M, D) mean mask feature under the strokes on reference images; None without references.
    """

    layers: list[LayerOutput]
    mask_features: Tensor
    positive_means: Tensor | None = None
    negative_means: Tensor | None = None
    reference_means: Tensor | None = None

    @property
    def final(self) -> LayerOutput:
        """The output of the last layer."""
        return self.layers[-1]

    def masks(self, layer: int = -1) -> Tensor:
        """Returns the object queries' mask logits (B, Q, H, W) of one output at stride 4."""
        return mask_logits(self.layers[layer].mask_embed, self.mask_features)


def mask_logits(mask_embed: Tensor, features: Tensor) -> Tensor:
    """Returns the inner products (B, Q, H, W), float32, of embeddings (B, Q, D) and features (B, D, H, W)."""
    with full_precision(features.device.type):
        return torch.einsum("bqd,bdhw->bqhw", mask_embed.float(), features.float())
