"""The three families of SEEM's losses: object masks, masks answering strokes, masks answering texts.

A family says what is matched with what, and holds its class term; the mask terms are the same for all three
(:mod:`segfoundry.modeling.seem.losses.criterion`).

Letters in shapes: L supervised outputs (the final one first), B images, Q queries of the family, K categories (without
background), M masks of one image, n matched pairs of one image and output, D mask width, P text width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ....utils.structures.samples import Targets
from ..decoder.decoder_output import LayerOutput, PromptedOutput

MAX_LOGIT_SCALE = 100.0


@dataclass
class GroundingTargets:
    """Texts of one image and the masks they name.

    Attributes:
        masks: (M, H, W) bool, padded like the images.
        text_embed: (M, P) float32 class embedding of each text.
        groups: (M,) int64, equal for texts that mean the same (a stable hash of the text).
        kind: "text" for expressions, "class" for category names; decides the weight.
    """

    masks: Tensor
    text_embed: Tensor
    groups: Tensor
    kind: str = "text"


@dataclass
class MatchedPairs:
    """Matched pairs of one image, the same number n for each output.

    Attributes:
        queries: (L, n) int64 query indices, in increasing order within an output.
        targets: (L, n) int64 target indices.
    """

    queries: Tensor
    targets: Tensor


@dataclass
class Assignment:
    """Result of matching one image.

    Attributes:
        outputs: per supervised output, (2, min(Q, M)) int64: query indices in increasing order, and their targets.
        occupied: (M,) bool, targets with at least one pixel.
    """

    outputs: list[np.ndarray]
    occupied: np.ndarray

    def pairs(self, device: torch.device) -> MatchedPairs:
        """Returns the pairs whose target has a pixel, on the device."""
        kept = torch.from_numpy(np.stack([indices[:, self.occupied[indices[1]]] for indices in self.outputs]))
        queries, targets = kept.to(device, non_blocking=True).unbind(1)
        return MatchedPairs(queries, targets)


class LossFamily(ABC):
    """One family of losses.

    Attributes:
        name: "mask", "spatial" or "grounding": the middle part of the losses' names.
        mask_embed: (L, B, Q, D) float32.
        masks: per image, (M, H, W) target masks.
    """

    name: str

    def __init__(self, mask_embed: Tensor, masks: Sequence[Tensor]) -> None:
        self.mask_embed = mask_embed
        self.masks = masks

    @abstractmethod
    def class_cost(self, image: int) -> Tensor:
        """Returns the class term (L, Q, M) of the matching cost of one image."""

    @abstractmethod
    def class_loss(self, pairs: Sequence[MatchedPairs], totals: dict[str, float]) -> Tensor:
        """Returns the class loss (L,) summed over images and divided by the normaliser of the whole step."""

    def forbidden(self, image: int) -> Tensor | None:
        """Returns the pairs (Q, M) that must not be matched, or None."""
        return None

    @property
    def mask_normalizer(self) -> str:
        """Name of the normaliser that the mask losses are divided by."""
        return "masks"

    def enabled(self, totals: dict[str, float]) -> bool:
        """Tells whether the family counts in this step; otherwise its losses are zero."""
        return True


class ObjectLosses(LossFamily):
    """Object queries against the image's segments: K categories and background."""

    name = "mask"

    def __init__(self, layers: Sequence[LayerOutput], targets: Sequence[Targets], class_weights: Tensor) -> None:
        super().__init__(torch.stack([o.mask_embed.float() for o in layers]), [t.masks for t in targets])
        self.labels = [t.labels for t in targets]
        self.labelled = [t.labelled for t in targets]
        self.logits = torch.stack([o.logits.float() for o in layers])  # (L, B, Q, K + 1)
        self.class_weights = class_weights

    def class_cost(self, image: int) -> Tensor:
        """Returns minus the probability of each target's label."""
        return -self.logits[:, image].softmax(dim=-1)[..., self.labels[image]]

    def class_loss(self, pairs: Sequence[MatchedPairs], totals: dict[str, float]) -> Tensor:
        """Returns the weighted cross-entropy over K + 1 classes; unmatched queries belong to background.

        Images whose categories nobody marked do not count.
        """
        background = self.logits.shape[-1] - 1
        classes = self.logits.new_full(self.logits.shape[:-1], background, dtype=torch.int64)
        for image, (labels, pair) in enumerate(zip(self.labels, pairs, strict=True)):
            classes[:, image].scatter_(1, pair.queries, labels[pair.targets])
        loss = F.cross_entropy(self.logits.flatten(0, 2), classes.flatten(), self.class_weights, reduction="none")
        loss = loss.view(classes.shape)
        if not all(self.labelled):
            loss = loss * loss.new_tensor(self.labelled)[None, :, None]
        return loss.flatten(1).sum(dim=1) / max(totals["class_weight"], 1e-6)


class SpatialLosses(LossFamily):
    """Spatial queries against the prompted objects.

    The class term compares a query's mask embedding with the mean feature under an object's strokes. Objects without
    a pixel take part in matching and are then left out of the losses.
    """

    name = "spatial"

    def __init__(self, layers: Sequence[LayerOutput], masks: Sequence[Tensor], stroke_means: Tensor) -> None:
        super().__init__(_mask_embed([o.spatial for o in layers]), masks)
        self.num_objects = stroke_means.shape[1]
        self.logits = torch.einsum("lbqd,bnd->lbqn", self.mask_embed, stroke_means.float())

    def class_cost(self, image: int) -> Tensor:
        """Returns minus the share of each query among the queries of the same object."""
        own = self.logits[:, image].masked_fill(self._foreign(), -torch.inf)
        return -own.softmax(dim=1)[..., : len(self.masks[image])]

    def forbidden(self, image: int) -> Tensor:
        """Returns True (Q, M) where the query belongs to another object."""
        return self._foreign()[:, : len(self.masks[image])]

    def class_loss(self, pairs: Sequence[MatchedPairs], totals: dict[str, float]) -> Tensor:
        """Returns minus the log share of the matched query among all queries."""
        total = self.logits.new_zeros(len(self.logits))
        for image, pair in enumerate(pairs):
            log_share = self.logits[:, image].log_softmax(dim=1)
            output = torch.arange(len(total), device=total.device)[:, None]
            total = total - log_share[output, pair.queries, pair.targets].sum(dim=1)
        return total / max(totals["spatial_masks"], 1.0)

    @property
    def mask_normalizer(self) -> str:
        """Objects with at least one pixel."""
        return "spatial_masks"

    def _foreign(self) -> Tensor:
        """Returns (Q, N) bool: the query belongs to another object."""
        num_queries = self.mask_embed.shape[2]
        owner = torch.arange(num_queries, device=self.logits.device) // (num_queries // self.num_objects)
        return owner[:, None] != torch.arange(self.num_objects, device=self.logits.device)


class GroundingLosses(LossFamily):
    """Grounding queries against the masks named by texts; the class term compares query and text embeddings."""

    name = "grounding"

    def __init__(
        self,
        layers: Sequence[LayerOutput],
        targets: Sequence[GroundingTargets],
        logit_scale: Tensor,
        kind_weights: dict[str, float],
    ) -> None:
        super().__init__(_mask_embed([o.grounding for o in layers]), [t.masks for t in targets])
        self.targets = targets
        self.kind_weights = kind_weights
        queries = _normalize(torch.stack([o.grounding.embed.float() for o in layers if o.grounding is not None]))
        scale = logit_scale.float().exp().clamp(max=MAX_LOGIT_SCALE)
        texts = [_normalize(t.text_embed.float()) for t in targets]
        self.logits = [scale * queries[:, b] @ text.T for b, text in enumerate(texts)]  # (L, Q, M) per image

    def class_cost(self, image: int) -> Tensor:
        """Returns minus the share of each query for each text."""
        return -self.logits[image].softmax(dim=1)

    def class_loss(self, pairs: Sequence[MatchedPairs], totals: dict[str, float]) -> Tensor:
        """Returns the cross-entropy over queries; texts of one group share the queries matched to them."""
        total = self.mask_embed.new_zeros(len(self.mask_embed))
        for target, logits, pair in zip(self.targets, self.logits, pairs, strict=True):
            if len(target.masks) == 0:
                continue
            same = (target.groups[:, None] == target.groups).float()
            share = same / same.sum(dim=1, keepdim=True)  # (M, M): a text's weight on the matches of its group
            matched = torch.zeros_like(logits.mT)  # (L, M, Q)
            matched[torch.arange(len(total), device=total.device)[:, None], pair.targets, pair.queries] = 1
            loss = -((share @ matched) * logits.log_softmax(dim=1).mT).sum(dim=2).mean(dim=1)
            total = total + self.kind_weights[target.kind] * loss
        return total / max(totals["images"], 1.0)

    @property
    def mask_normalizer(self) -> str:
        """Masks named by texts."""
        return "grounding_masks"

    def enabled(self, totals: dict[str, float]) -> bool:
        """An image without a text zeroes the family for the whole step, as in the published training."""
        return totals["grounding_images"] >= totals["images"]


def _normalize(x: Tensor) -> Tensor:
    return x / (x.norm(dim=-1, keepdim=True) + 1e-7)


def _mask_embed(prompted: Sequence[PromptedOutput | None]) -> Tensor:
    """Stacks the mask embeddings (L, B, Q, D) of the outputs that answer a prompt; float32."""
    return torch.stack([output.mask_embed.float() for output in prompted if output is not None])
