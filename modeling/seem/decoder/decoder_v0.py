"""SEEM's decoder, variant v0: one stroked object per image, answered by a copy of all object queries."""

from __future__ import annotations

from typing import ClassVar

import torch

from .decoder_prompts import SpatialPrompt
from .decoder_v1 import SeemDecoder
from .image_levels import DecoderFeatures
from .memory_slots import Memory
from .pass_draws import PassDraws
from .stroke_points import StrokePixels, stroke_means
from .variables import Variables
from .visibility import Group


class SeemDecoderV0(SeemDecoder):
    """The decoder ``seem_v0``; arguments as in :class:`QueryDecoder`.

    Texts are answered as in v1. An object's mean is taken over all points of its stroke, and is zero without any. Of
    the draws of v1 it makes those of stroke pixels of the levels.
    """

    objects_at_once: ClassVar[int | None] = 1

    def _add_strokes(
        self, variables: Variables, image: DecoderFeatures, prompt: SpatialPrompt, draws: PassDraws
    ) -> None:
        batch = len(image.mask_features)
        pixels = StrokePixels(prompt, draws)
        variables.means = stroke_means(pixels, image.mask_features, limit=None, empty=0.0)
        variables.groups["queries_spatial"] = self._learned_queries(batch)
        variables.level_tokens["tokens_spatial"] = [
            Group.of_tokens(content, valid=owner >= 0) for content, owner in self._stroke_tokens(image, pixels)
        ]
        if prompt.previous is None or not prompt.num_objects:
            return
        # Every slot remembers the one object, and nothing else is there to be told apart from.
        owner = torch.zeros(1, self.arch.num_memories, dtype=torch.int64, device=image.mask_features.device)
        variables.memory = Memory.build(prompt.previous, image.levels, [owner] * self.num_layers)
        variables.owned_memory = False
        variables.groups["memories_spatial"] = self._memory_slots(batch)
