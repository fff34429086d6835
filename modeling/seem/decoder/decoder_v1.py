"""SEEM's decoder, variant v1: any number of stroked objects and texts per image, each with queries of its own.

Letters in shapes: B images, N prompted objects, S spatial queries, C channels of the decoder.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from .decoder_prompts import DecoderPrompts, SpatialPrompt
from .image_levels import DecoderFeatures
from .memory_slots import Memory, deal_slot_owners, draw_slot_owners
from .pass_draws import PassDraws
from .query_decoder import QueryDecoder
from .stroke_points import StrokePixels, stroke_means
from .variables import Variables
from .visibility import AttentionArch, Group


class SeemDecoder(QueryDecoder):
    """The decoder ``seem_v1``; arguments as in :class:`QueryDecoder`.

    Texts are answered by copies of the object queries, each stroked object by a few of them drawn at random. What is
    decoded for one prompt does not depend on the others of its image (unless they are told to explain each other), and
    the object queries see no prompt.

    Draws of a pass, each with the prefix ``DecoderPrompts.draws``:

    - ``spatial_queries`` (integers below Q, shared by the step's batch): rows of the learned queries that each object's
      queries start from, ``queries_per_object`` of each object in turn.
    - ``memory/{layer}`` (integers below N, shared): object of each memory slot, before sorting. Without a source of
      draws, the slots of each image are dealt out evenly instead.
    - ``stroke/{positive,negative}/{mean,0,1,2}`` (uniform numbers, one per stroke pixel, by image): which pixels are
      taken for the mean and for each level; drawn only where there are more than ``max_spatial_len``.
    """

    groups: ClassVar[tuple[str, ...]] = (
        *("queries_object", "queries_grounding", "queries_spatial"),
        *("tokens_grounding", "tokens_spatial", "memories_spatial"),
    )

    def _start(self, image: DecoderFeatures, prompts: DecoderPrompts, draws: PassDraws) -> Variables:
        objects = self._learned_queries(len(image.mask_features))
        variables = Variables(_visibility(self.arch, prompts), {})
        if prompts.objects:
            variables.groups["queries_object"] = objects
        if prompts.text is not None:
            variables.groups["queries_grounding"] = Group(objects.content, objects.position)
            variables.groups["tokens_grounding"] = Group.of_tokens(prompts.text.tokens, valid=prompts.text.valid)
        if prompts.spatial is not None:
            self._add_strokes(variables, image, prompts.spatial, draws)
        return variables

    def _add_strokes(
        self, variables: Variables, image: DecoderFeatures, prompt: SpatialPrompt, draws: PassDraws
    ) -> None:
        batch, device = len(image.mask_features), image.mask_features.device
        pixels = StrokePixels(prompt, draws)
        variables.means = stroke_means(pixels, image.mask_features, self.max_spatial_len[-1], empty=-1.0)
        variables.groups["queries_spatial"] = self._spatial_queries(prompt.num_objects, batch, draws)
        variables.level_tokens["tokens_spatial"] = [
            Group.of_tokens(content, owner=owner) for content, owner in self._stroke_tokens(image, pixels)
        ]
        if prompt.previous is None or not prompt.num_objects:
            return
        slots = self.arch.num_memories
        if draws.is_fixed:
            owners = deal_slot_owners([len(masks) for masks in prompt.positive], self.num_layers, slots, device)
        else:
            owners = draw_slot_owners(draws, self.num_layers, slots, prompt.num_objects, device)
        variables.memory = Memory.build(prompt.previous, image.levels, owners)
        variables.groups["memories_spatial"] = self._memory_slots(batch)

    def _spatial_queries(self, num_objects: int, batch: int, draws: PassDraws) -> Group:
        each, device = self.arch.queries_per_object, self.query_feat.weight.device
        rows = draws.integers("spatial_queries", self.query_feat.num_embeddings, num_objects * each, device)
        owner = torch.arange(num_objects, device=device).repeat_interleave(each)[None]
        content, position = self.query_feat(rows), self.query_embed(rows)
        return Group(content.expand(batch, -1, -1), position.expand(batch, -1, -1), owner)


def _visibility(arch: AttentionArch, prompts: DecoderPrompts) -> AttentionArch:
    """Returns the table with what the prompts open for this pass."""
    if prompts.texts_explain_strokes:
        arch = arch.opened("queries_spatial", "tokens_grounding")
    if prompts.strokes_explain_texts:
        arch = arch.opened("queries_grounding", "tokens_spatial")
    return arch
