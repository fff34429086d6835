"""Prompts as SEEM's decoder takes them; ``modeling/seem/model.py`` makes them from strokes, texts and references.

Letters in shapes: B images, N prompted objects (the most of any image), T text tokens, C channels of the decoder, D
mask width, H and W rows and columns of the padded network input, h and w those at stride 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class SpatialPrompt:
    """Objects pointed at by strokes (points, boxes, scribbles, polygons, circles as pixels).

    Attributes:
        positive: per image, (n, H, W) bool with n <= N objects.
        negative: per image, likewise.
        num_objects: N; of a training step the most of the step's whole batch, because the queries of all objects
            compete.
        previous: (B, N, h, w) mask logits of the last round, the memory; None in the first round.
    """

    positive: Sequence[Tensor]
    negative: Sequence[Tensor]
    num_objects: int
    previous: Tensor | None = None


@dataclass
class TextPrompt:
    """Texts, the tokens of all texts of an image in one sequence.

    Attributes:
        tokens: (B, T, C) token embeddings, not normalised.
        valid: (B, T) bool, False at padding.
    """

    tokens: Tensor
    valid: Tensor


@dataclass
class DecoderPrompts:
    """All prompts of one pass.

    Attributes:
        spatial: strokes, or None.
        text: texts, or None.
        reference: what strokes showed on other images, of the demo variant, or None.
        texts_explain_strokes: spatial queries see the text tokens (STROKE_SAMPLER.EVAL.GROUNDING).
        strokes_explain_texts: grounding queries see the stroke tokens (REF.INPUT.SPATIAL).
        objects: decode the object queries too; prompted queries do not see them, so that a click need not pay for them
            (the demo variant always does).
        positions: per image, place in the step's whole batch, the key of its random draws; empty: 0..B-1.
    """

    spatial: SpatialPrompt | None = None
    text: TextPrompt | None = None
    reference: Any = None
    texts_explain_strokes: bool = False
    strokes_explain_texts: bool = False
    objects: bool = True
    positions: Sequence[int] = field(default_factory=tuple)
