"""Prompts of a training step: strokes and texts from the mapper's targets, and rounds of simulated clicks.

Letters in shapes: B images, N prompted objects (the most of any image of the whole step), n those of one image, H and W
rows and columns of the padded network input, h and w those at stride 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....utils.draws import Draws
from ....utils.structures.requests import Strokes
from ....utils.structures.samples import SpatialTargets, Targets, TextTargets
from ...clicks import next_click
from ..decoder.decoder_prompts import DecoderPrompts, SpatialPrompt, TextPrompt
from ..decoder.image_levels import DecoderFeatures
from ..decoder.query_decoder import QueryDecoder
from ..decoder.query_masks import stroke_masks
from ..losses.loss_families import GroundingTargets
from ..text.class_embeddings import ClassEmbeddings
from ..text.phrases import encode_phrases, text_groups


@dataclass(frozen=True)
class TrainingSwitches:
    """What is trained.

    Attributes:
        mask: object queries find the image's segments.
        spatial: strokes point at objects.
        grounding: texts name masks.
        max_rounds: most rounds of simulated clicks before the losses.
        click_side: side of a click in pixels of the network's input.
    """

    mask: bool = True
    spatial: bool = True
    grounding: bool = True
    max_rounds: int = 1
    click_side: int = 3


@dataclass
class StrokedObjects:
    """Objects of a micro-batch that are prompted by strokes.

    Attributes:
        prompt: the strokes, and the masks of the last round.
        masks: per image, (n, H, W) bool.
    """

    prompt: SpatialPrompt
    masks: list[Tensor]


@dataclass
class NamedMasks:
    """Texts of a micro-batch and what they name.

    Attributes:
        prompt: tokens.
        targets: per image.
    """

    prompt: TextPrompt
    targets: list[GroundingTargets]


def spatial_targets(target: Targets) -> SpatialTargets:
    """Returns the objects prompted by strokes, none if the mapper made none."""
    none = target.masks[:0]
    return target.spatial or SpatialTargets(none, none)


def text_targets(target: Targets) -> TextTargets:
    """Returns the texts and their masks, none if the mapper made none."""
    return target.texts or TextTargets([], target.masks[:0])


def stroked_objects(targets: Sequence[Targets], num_objects: int) -> StrokedObjects | None:
    """Returns the prompted objects, or None if these images have none.

    Args:
        targets: at the padded size.
        num_objects: N.
    """
    spatial = [spatial_targets(target) for target in targets]
    if not any(len(one.masks) for one in spatial):
        return None
    strokes = [one.strokes for one in spatial]
    prompt = SpatialPrompt(strokes, [torch.zeros_like(stroke) for stroke in strokes], num_objects)
    return StrokedObjects(prompt, [one.masks for one in spatial])


def named_masks(targets: Sequence[Targets], encoder: ClassEmbeddings) -> NamedMasks | None:
    """Returns the texts, or None if these images have none.

    Args:
        targets: at the padded size.
        encoder: runs the text tower.
    """
    texts = [text_targets(target) for target in targets]
    if not any(one.texts for one in texts):
        return None
    phrases = encode_phrases(encoder, [one.texts for one in texts], once=True)
    grounding = [
        GroundingTargets(one.masks, embed, text_groups(one.texts, embed.device), one.kind)
        for one, embed in zip(texts, phrases.embeds, strict=True)
    ]
    return NamedMasks(phrases.prompt, grounding)


@torch.no_grad()
def click_rounds(
    decoder: QueryDecoder,
    features: DecoderFeatures,
    class_embeddings: Tensor,
    objects: StrokedObjects,
    rounds: int,
    dilation: int,
    rng: Draws,
    positions: Sequence[int],
) -> SpatialPrompt:
    """Lets a simulated user correct the present network's masks by clicks.

    Args:
        decoder: answers the strokes.
        features: of the images.
        class_embeddings: as the decoder takes them.
        objects: prompted objects with their first strokes.
        rounds: how many clicks.
        dilation: side of a click in pixels.
        rng: draws of the decoder, prefixed "round{i}/".
        positions: keys of the images' draws.

    Returns:
        The strokes with the clicks, and the masks of the last round.
    """
    prompt = objects.prompt
    size = objects.masks[0].shape[-2:]
    counts = [len(masks) for masks in objects.masks]
    truth = torch.cat(objects.masks)
    for number in range(rounds):
        asked = DecoderPrompts(prompt, objects=False, positions=positions, draws=f"round{number}/")
        previous = stroke_masks(decoder(features, None, class_embeddings, asked, rng))
        logits = torch.cat([masks[:count] for masks, count in zip(previous, counts, strict=True)])
        predicted = F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0] > 0
        drawn = Strokes(torch.cat(list(prompt.positive)), torch.cat(list(prompt.negative)))
        clicked = next_click(truth, predicted, drawn, dilation=dilation)
        positive, negative = clicked.positive.split(counts), clicked.negative.split(counts)
        prompt = replace(prompt, positive=positive, negative=negative, previous=previous)
    return prompt


def with_zero_of(losses: dict[str, Tensor], *modules: nn.Module) -> dict[str, Tensor]:
    """Adds zero times the parameters to the objective.

    Other micro-batches of the step may use them: each process must have a gradient for them.
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    if parameters:
        name = next(iter(losses))
        losses[name] = losses[name] + 0 * torch.stack([p.flatten()[0].float() for p in parameters]).sum()
    return losses
