"""Simulated prompts of promptable training: objects of a batch, first prompts, correction clicks.

Every draw is keyed by (seed, step, position of the image, purpose) and the object's place among those drawn of the
image, so it does not depend on how a step is cut into micro-batches.

Letters in shapes: P objects of a batch, H and W rows and columns of the padded batch, S side of the network's input,
m side of the decoder's masks, g of their noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor
from torch.nn import functional as F

from ....utils.draws import Draws
from ....utils.structures.samples import Batch
from ...boxes import tensor_mask_boxes
from ...clicks import random_pixel
from ..config_training import Promptable

FOREGROUND, BACKGROUND, NO_POINT = 1, 0, -1
BOX_NOISE_LIMIT = 20.0  # pixels; as in the training of SAM
MASK_LOGIT = 10.0  # of a mask prompt, positive inside
NOISE_GRID = 8  # rows and columns of the random field that moves the border of a mask prompt
NOISE_STRENGTH = 0.45  # below 0.5: what is far from the border stays as it is


class First(IntEnum):
    """Kind of an object's first prompt."""

    POINT = 0
    BOX = 1
    MASK = 2


@dataclass(frozen=True)
class PromptSettings:
    """How prompts are simulated; see SAM.PROMPTABLE.

    Attributes:
        objects: most objects of an image in a step.
        point_prob: probability of a point or box first; else a mask.
        box_prob: share of boxes among those.
        box_noise: standard deviation of a box's corners, as a share of its sides.
        corrections: rounds of clicks after the first prompt.
        from_target_prob: probability of a click somewhere on the object instead of an error.
        multimask: three masks for a first point.
        min_area: pixels of the training image below which objects are left out.
    """

    objects: int = 8
    point_prob: float = 0.5
    box_prob: float = 0.5
    box_noise: float = 0.1
    corrections: int = 7
    from_target_prob: float = 0.1
    multimask: bool = True
    min_area: int = 16

    @classmethod
    def from_config(cls, keys: Promptable) -> PromptSettings:
        """Reads section SAM.PROMPTABLE."""
        return cls(
            objects=keys.OBJECTS,
            point_prob=keys.POINT_PROB,
            box_prob=keys.BOX_PROB,
            box_noise=keys.BOX_NOISE,
            corrections=keys.CORRECTIONS,
            from_target_prob=keys.FROM_TARGET_PROB,
            multimask=keys.MULTIMASK,
            min_area=keys.MIN_AREA,
        )

    def firsts(self) -> set[First]:
        """Returns the kinds of first prompts that can occur."""
        chances = {
            First.POINT: self.point_prob * (1 - self.box_prob),
            First.BOX: self.point_prob * self.box_prob,
            First.MASK: 1 - self.point_prob,
        }
        return {kind for kind, chance in chances.items() if chance > 0}


@dataclass(frozen=True)
class SimulatedObjects:
    """P objects of a batch, what they look like and the random numbers of their prompts, on one device.

    Attributes:
        masks: (P, H, W) bool.
        inside: (P, H, W) bool, pixels of the object's image, without its padding.
        targets: (P, m, m) bool, the masks at the size of the decoder's.
        image_index: (P,) int64, image of each object in the batch.
        first: (P,) int64 on the host, see :class:`First`.
        chances: (P, 1 + 2 R) in [0, 1): place of the first point, then source and place of R clicks.
        corners: (P, 4) standard normal, noise of the boxes.
        noise: (P, g, g) in [0, 1), noise of the mask prompts.
    """

    masks: Tensor
    inside: Tensor
    targets: Tensor
    image_index: Tensor
    first: Tensor
    chances: Tensor
    corners: Tensor
    noise: Tensor

    def __len__(self) -> int:
        return len(self.image_index)

    def with_first(self, kind: First) -> SimulatedObjects:
        """Returns those whose first prompt is of a kind."""
        places = (self.first == kind).nonzero()[:, 0]
        fields = {name: value[places.to(value.device)] for name, value in vars(self).items()}
        return SimulatedObjects(**fields)


def eligible(batch: Batch, settings: PromptSettings) -> list[Tensor]:
    """Returns per image the places (N,) int64, on the host, of the objects that are large enough."""
    areas = [torch.as_tensor(targets.masks).flatten(1).sum(dim=1) for targets in batch.targets or ()]
    if not areas:
        return []
    large = (torch.cat(areas) >= settings.min_area).cpu()  # all at once: a device is waited for once
    return [one.nonzero()[:, 0] for one in large.split([len(one) for one in areas])]


def count_objects(batch: Batch, settings: PromptSettings) -> int:
    """Returns the number of objects that :func:`draw_objects` draws."""
    return sum(min(len(places), settings.objects) for places in eligible(batch, settings))


def draw_objects(
    batch: Batch, settings: PromptSettings, rng: Draws, side: int, mask_side: int
) -> SimulatedObjects | None:
    """Draws objects and the random numbers of their prompts.

    Args:
        batch: images with targets.
        settings: how prompts are simulated.
        rng: source of every draw.
        side: S.
        mask_side: m.

    Returns:
        At most ``settings.objects`` of each image; None where there is no object.
    """
    positions = batch.positions or range(len(batch))
    device = batch.images.device
    parts: list[dict[str, Tensor]] = []
    for index, (places, position) in enumerate(zip(eligible(batch, settings), positions, strict=True)):
        order = rng.generator("promptable/objects", position).permutation(len(places))[: settings.objects]
        if not len(order):
            continue
        assert batch.targets is not None
        masks = batch.targets[index].masks[places[torch.from_numpy(order)].to(device)]
        height, width = batch.image_sizes[index]
        inside = torch.zeros_like(masks)
        inside[:, :height, :width] = True
        parts.append(
            {
                "masks": masks,
                "inside": inside,
                "targets": shrunk(masks, side, mask_side),
                "image_index": torch.full((len(masks),), index),
                **_numbers(settings, rng, position, len(masks)),
            }
        )
    if not parts:
        return None
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    first = joined.pop("first")
    return SimulatedObjects(first=first, **{name: value.to(device) for name, value in joined.items()})


def first_point(objects: SimulatedObjects) -> tuple[Tensor, Tensor]:
    """Returns a point of each object, (P, 1, 2) float32 as (x, y), and the labels (P, 1)."""
    point = _coordinates(random_pixel(objects.masks, objects.chances[:, 0]), objects.masks.shape[-1])
    return point[:, None], torch.full((len(objects), 1), FOREGROUND, device=point.device)


def first_box(objects: SimulatedObjects, noise: float) -> Tensor:
    """Returns the noised bounding box of each object, (P, 4) float32 as x0, y0, x1, y1 in pixels of the input.

    The corners move by normal noise, at most 20 pixels and not beyond the image.
    """
    boxes = tensor_mask_boxes(objects.masks)
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    shift = (objects.corners * noise * sides).clamp(-BOX_NOISE_LIMIT, BOX_NOISE_LIMIT)
    limits = tensor_mask_boxes(objects.inside)[:, 2:].repeat(1, 2)
    return (boxes + shift).clamp(min=0).minimum(limits)


def first_mask(objects: SimulatedObjects) -> Tensor:
    """Returns a noised mask of each object as logits (P, 1, m, m), +10 inside and -10 outside.

    The border moves in and out at random, by up to about a 28th of the image: a mask as another method may draw it.
    """
    masks = objects.targets[:, None].float()
    radius = max(1, masks.shape[-1] // 56)
    soft = F.avg_pool2d(masks, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)
    field = F.interpolate(objects.noise[:, None], masks.shape[-2:], mode="bilinear", align_corners=False)
    noised = soft + NOISE_STRENGTH * (2 * field - 1) > 0.5
    empty = ~noised.flatten(1).any(dim=1)
    noised = torch.where(empty[:, None, None, None], masks > 0, noised)
    return torch.where(noised, MASK_LOGIT, -MASK_LOGIT)


def correction(objects: SimulatedObjects, predicted: Tensor, number: int, from_target: float) -> tuple[Tensor, Tensor]:
    """Draws the next click: uniformly from the pixels that are wrong, or now and then from the object.

    Args:
        objects: P objects.
        predicted: (P, H, W) bool.
        number: of the round, from 0.
        from_target: probability of a pixel of the object.

    Returns:
        Points (P, 1, 2) float32 as (x, y); labels (P, 1): 1 on the object, 0 beside it, -1 if nothing is wrong.
    """
    source, place = objects.chances[:, 1 + 2 * number], objects.chances[:, 2 + 2 * number]
    wrong = (objects.masks ^ predicted) & objects.inside
    region = torch.where((source < from_target)[:, None, None], objects.masks, wrong)
    pixel = random_pixel(region, place)
    label = torch.where(objects.masks.flatten(1).gather(1, pixel[:, None]), FOREGROUND, BACKGROUND)
    label = torch.where(region.flatten(1).any(dim=1, keepdim=True), label, NO_POINT)
    return _coordinates(pixel, region.shape[-1])[:, None], label


def shrunk(masks: Tensor, side: int, mask_side: int) -> Tensor:
    """Brings masks to the size of the decoder's: cells that are at least half covered.

    An object that covers no cell by half keeps those that it covers most.

    Args:
        masks: (P, H, W) bool, the upper left part of the S x S input.
        side: S.
        mask_side: m.

    Returns:
        (P, m, m) bool.
    """
    padded = F.pad(masks.float(), (0, side - masks.shape[2], 0, side - masks.shape[1]))
    covered = F.adaptive_avg_pool2d(padded, mask_side)
    return covered >= covered.amax(dim=(1, 2), keepdim=True).clamp(max=0.5)


def _numbers(settings: PromptSettings, rng: Draws, position: int, count: int) -> dict[str, Tensor]:
    """Returns the random numbers of ``count`` objects of one image, on the host."""
    most = settings.objects
    kind = rng.uniform("promptable/first", (most, 2), sample=position)[:count]
    box = kind[:, 1] < settings.box_prob
    first = torch.where(box, int(First.BOX), int(First.POINT))
    corners = rng.generator("promptable/corners", position).standard_normal((most, 4), dtype="float32")
    return {
        "first": torch.where(kind[:, 0] < settings.point_prob, first, int(First.MASK)),
        "chances": rng.uniform("promptable/chances", (most, 1 + 2 * settings.corrections), sample=position)[:count],
        "corners": torch.from_numpy(corners)[:count],
        "noise": rng.uniform("promptable/noise", (most, NOISE_GRID, NOISE_GRID), sample=position)[:count],
    }


def _coordinates(pixel: Tensor, width: int) -> Tensor:
    """Returns (x, y) float32 of pixels (P,) = row * width + column, as (P, 2)."""
    return torch.stack([pixel % width, pixel // width], dim=1).float()
