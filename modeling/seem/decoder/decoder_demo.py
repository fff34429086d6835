"""SEEM's decoder, demo variant: the object queries themselves see all prompts, among them objects of other images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ....utils.draws import Draws
from .decoder_prompts import DecoderPrompts, ReferencePrompt, SpatialPrompt
from .image_levels import DecoderFeatures
from .pass_draws import PassDraws
from .query_decoder import QueryDecoder
from .stroke_points import StrokePixels, stroke_means
from .variables import StrokeMeans, Variables
from .visibility import Group


class SeemDecoderDemo(QueryDecoder):
    """The decoder ``seem_demo``; arguments as in :class:`QueryDecoder`.

    No prompt brings in queries or memory: masks of the last round are not used, and the answer to a prompt is one of
    the object queries. ``DecoderPrompts.objects`` and the switches about what explains what have no meaning here.

    Of the draws of v1 it makes those of stroke pixels of the levels.
    """

    objects_at_once: ClassVar[int | None] = 1
    groups: ClassVar[tuple[str, ...]] = (
        *("queries_object", "tokens_grounding", "tokens_spatial"),
        *("tokens_visual", "tokens_audio"),
    )

    def _start(self, image: DecoderFeatures, prompts: DecoderPrompts, draws: PassDraws) -> Variables:
        variables = Variables(self.arch, {"queries_object": self._learned_queries(len(image.mask_features))})
        for name, texts in (("tokens_grounding", prompts.text), ("tokens_audio", prompts.audio)):
            if texts is not None:
                variables.groups[name] = Group.of_tokens(texts.tokens, valid=texts.valid)
        if prompts.spatial is not None:
            shown = self._show(image, prompts.spatial, draws)
            variables.level_tokens["tokens_spatial"] = _groups(shown)
            variables.means = StrokeMeans(shown.positive_means, shown.negative_means)
        if prompts.reference is not None:
            variables.level_tokens["tokens_visual"] = _groups(prompts.reference)
            variables.reference_means = prompts.reference.positive_means
        return variables

    def reference(
        self, image: DecoderFeatures, prompt: SpatialPrompt, rng: Draws | None = None, positions: Sequence[int] = ()
    ) -> ReferencePrompt:
        """Returns what strokes show on prepared images, for ``DecoderPrompts.reference`` of other images.

        Args:
            image: the images with the strokes (``prepare``).
            prompt: strokes of one object per image.
            rng: source of the draws; None: fixed ones.
            positions: as in ``DecoderPrompts``.
        """
        return self._show(image, prompt, PassDraws(rng, positions or range(len(image.mask_features))))

    def _show(self, image: DecoderFeatures, prompt: SpatialPrompt, draws: PassDraws) -> ReferencePrompt:
        pixels = StrokePixels(prompt, draws)
        means = stroke_means(pixels, image.mask_features, limit=None, empty=0.0)
        tokens = self._stroke_tokens(image, pixels)
        return ReferencePrompt(
            [content for content, _ in tokens], [owner >= 0 for _, owner in tokens], means.positive, means.negative
        )


def _groups(shown: ReferencePrompt) -> list[Group]:
    """Returns the tokens of each level."""
    return [Group.of_tokens(tokens, valid=valid) for tokens, valid in zip(shown.tokens, shown.valid, strict=True)]
