"""Prompts as SEEM's decoder takes them; ``modeling/seem/model.py`` makes them from strokes, texts and references.

Letters in shapes: B images, N prompted objects (the most of any image), T text tokens, P stroke points, C channels of
the decoder, D mask width, H and W rows and columns of the padded network input, h and w those at stride 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


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
class ReferencePrompt:
    """What strokes show on images, to be looked for in other images (demo variant).

    Attributes:
        tokens: per level, coarse to fine, (B, P, C) features under the strokes.
        valid: per level, (B, P) bool, False at padding.
        positive_means: (B, N, D) float32 mean mask feature under the positive strokes.
        negative_means: (B, N, D) float32, under the negative ones.
    """

    tokens: Sequence[Tensor]
    valid: Sequence[Tensor]
    positive_means: Tensor
    negative_means: Tensor

    @classmethod
    def stack(cls, references: Sequence[ReferencePrompt]) -> ReferencePrompt:
        """Joins references of one image and one object each into those of a batch."""
        levels = range(len(references[0].tokens))

        def joined(name: str, level: int) -> Tensor:
            return pad_sequence([getattr(one, name)[level][0] for one in references], batch_first=True)

        return cls(
            [joined("tokens", level) for level in levels],
            [joined("valid", level) for level in levels],
            torch.cat([one.positive_means for one in references]),
            torch.cat([one.negative_means for one in references]),
        )


@dataclass
class DecoderPrompts:
    """All prompts of one pass.

    Attributes:
        spatial: strokes, or None.
        text: texts, or None.
        audio: speech as tokens in the space of the texts, of the demo variant, or None.
        reference: what strokes showed on other images, of the demo variant, or None.
        texts_explain_strokes: spatial queries see the text tokens (STROKE_SAMPLER.EVAL.GROUNDING).
        strokes_explain_texts: grounding queries see the stroke tokens (REF.INPUT.SPATIAL).
        objects: decode the object queries too; prompted queries do not see them, so that a click need not pay for them
            (the demo variant always does).
        positions: per image, place in the step's whole batch, the key of its random draws; empty: 0..B-1.
        draws: prefix of the purposes of the pass's random draws; the passes of one training step differ in it.
    """

    spatial: SpatialPrompt | None = None
    text: TextPrompt | None = None
    audio: TextPrompt | None = None
    reference: ReferencePrompt | None = None
    texts_explain_strokes: bool = False
    strokes_explain_texts: bool = False
    objects: bool = True
    positions: Sequence[int] = field(default_factory=tuple)
    draws: str = ""
