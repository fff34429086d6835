"""Answers to a user's prompts on encoded images: any number of objects, prompts of one form together.

Letters in shapes: B images, N objects of an image, P prompts of one form, K points of a prompt, g rows and columns of
the image embedding, H and W rows and columns of the original image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ....utils.structures.requests import PromptedMasks, Prompts
from ..network.sam import Sam
from .encoded import Encoded
from .object_prompts import ObjectPrompt, object_prompts

# Most prompts that are answered at once: the image embeddings are copied for each.
TOGETHER = 64

# Logit and score where nothing points at an object.
NOTHING = -32.0


@dataclass(frozen=True)
class _ObjectRequest:
    """One object: the place of its image, what is said about it, and the logits (4 g, 4 g) of its last answer."""

    image: int
    prompt: ObjectPrompt
    previous: Tensor | None

    @property
    def form(self) -> tuple[int, bool, bool]:
        """Number of points, whether there is a box, and whether there is an answer to go on from."""
        return (*self.prompt.form, self.previous is not None)


def answer_prompts(
    model: Sam,
    encoded: Encoded,
    prompts: Sequence[Prompts],
    previous: Sequence[Tensor | None] | None = None,
) -> list[PromptedMasks]:
    """Returns the masks of the prompted objects of each image (``Promptable.prompted``).

    A single point may mean several things: of three masks the one with the best predicted IoU is the answer. Later
    rounds, boxes and several points get one mask; the logits of the round before go in as a mask prompt. Scores are
    predicted IoUs. An object that nothing points at has an empty mask.

    Args:
        model: the network.
        encoded: B images.
        prompts: of each image.
        previous: of each image the logits (N, 4 g, 4 g) of the round before, or None.

    Raises:
        ValueError: if there are texts or references among the prompts.
    """
    requests: list[_ObjectRequest] = []
    counts = []
    for place, one in enumerate(prompts):
        if one.texts or one.reference is not None:
            raise ValueError("SAM takes points, boxes and other strokes, no texts and no objects of other images")
        objects = object_prompts(one)
        before = None if previous is None else previous[place]
        requests += [
            _ObjectRequest(place, prompt, None if before is None else before[n]) for n, prompt in enumerate(objects)
        ]
        counts.append(len(objects))
    side = model.prompt_encoder.mask_input_size
    logits = encoded.embeddings.new_full((len(requests), side, side), NOTHING)
    scores = encoded.embeddings.new_zeros(len(requests))
    for form, places in _by_form(requests).items():
        for start in range(0, len(places) if any(form[:2]) else 0, TOGETHER):
            part = places[start : start + TOGETHER]
            logits[part], scores[part] = _answer(model, encoded, [requests[place] for place in part])
    return [PromptedMasks(*parts) for parts in zip(logits.split(counts), scores.split(counts), strict=True)]


def answered_masks(model: Sam, encoded: Encoded, answers: Sequence[PromptedMasks]) -> list[Tensor]:
    """Returns the answers' masks (N, H, W) bool at each image's original size."""
    return [
        model.binary_masks(answer.logits[:, None].float(), inside, size)[:, 0]
        for answer, inside, size in zip(answers, encoded.input_sizes, encoded.output_sizes, strict=True)
    ]


def _by_form(requests: Sequence[_ObjectRequest]) -> dict[tuple[int, bool, bool], list[int]]:
    groups: dict[tuple[int, bool, bool], list[int]] = defaultdict(list)
    for place, request in enumerate(requests):
        groups[request.form].append(place)
    return groups


def _answer(model: Sam, encoded: Encoded, requests: Sequence[_ObjectRequest]) -> tuple[Tensor, Tensor]:
    """Returns logits (P, 4 g, 4 g) and scores (P,) of prompts of one form."""
    points, boxed, remembered = requests[0].form
    device = encoded.embeddings.device
    ambiguous = (points, boxed, remembered) == (1, False, False)
    low_res, iou = model.predict_masks(
        encoded.embeddings,
        points=_floats([request.prompt.points for request in requests], device) if points else None,
        labels=torch.tensor([request.prompt.labels for request in requests], device=device) if points else None,
        boxes=_floats([request.prompt.box for request in requests], device) if boxed else None,
        masks=torch.stack([request.previous for request in requests if request.previous is not None])[:, None]
        if remembered
        else None,
        image_index=torch.tensor([request.image for request in requests], device=device),
        multimask=ambiguous,
    )
    best = iou.argmax(dim=1)
    rows = torch.arange(len(requests), device=device)
    return low_res[rows, best].float(), iou[rows, best].float().clamp(0, 1)


def _floats(values: Sequence[object], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)
