"""SEEM's training losses: every supervised output is matched anew, and masks are compared at sampled points.

Letters in shapes: L supervised outputs, B images, K categories, M masks of one image, n matched pairs of one image and
output, P points, H and W rows and columns of the padded images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ....utils.draws import Draws
from ....utils.structures.samples import Targets, TextTargets
from ...losses.bce import mask_bce
from ...losses.dice import mask_dice
from ...losses.matcher import HungarianMatcher, MatchProblem, assign, to_host
from ...losses.point_sampling import sample_points, uncertain_points
from ..config import SeemConfig
from ..decoder.decoder_output import DecoderOutput
from .loss_families import (
    Assignment,
    GroundingLosses,
    GroundingTargets,
    LossFamily,
    MatchedPairs,
    ObjectLosses,
    SpatialLosses,
)

FAMILIES = ("mask", "spatial", "grounding")
TERMS = ("ce", "bce", "dice")
NO_PAIRS = np.empty((2, 0), dtype=np.int64)


class SetCriterion(nn.Module):
    """Matches queries with targets and returns the weighted losses of all supervised outputs.

    Losses are called ``loss_{family}_{term}_{i}`` with family mask, spatial or grounding, term ce, bce or dice, and i
    counted from the final output (0) back to the raw queries. Everything is computed in float32.

    Args:
        num_classes: K, without background.
        weights: ``"{family}_{term}"`` -> factor; a loss that is not listed is dropped.
        matcher: matching cost, with the number of points P at which masks are compared.
        no_object_weight: class weight of background in the cross-entropy.
        oversample_ratio: candidates per point of the mask losses.
        importance_sample_ratio: share of the points chosen where the prediction is most uncertain.
        top_layers: family -> number of outputs, counted from the final one, that it supervises; absent: all.
        deep_supervision: supervise the outputs before the final one too.
        kind_weights: weight of the grounding class loss for "text" and "class" grounding.
    """

    empty_weight: Tensor

    def __init__(
        self,
        num_classes: int,
        weights: Mapping[str, float],
        matcher: HungarianMatcher,
        *,
        no_object_weight: float = 0.1,
        oversample_ratio: float = 3.0,
        importance_sample_ratio: float = 0.75,
        top_layers: Mapping[str, int] | None = None,
        deep_supervision: bool = True,
        kind_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.weights = dict(weights)
        self.matcher = matcher
        self.num_candidates = int(matcher.num_points * oversample_ratio)
        self.num_uncertain = int(importance_sample_ratio * matcher.num_points)
        self.top_layers = dict(top_layers or {})
        self.deep_supervision = deep_supervision
        self.kind_weights = dict(kind_weights or {"text": 2.0, "class": 0.5})
        self.no_object_weight = no_object_weight
        empty_weight = torch.ones(num_classes + 1)
        empty_weight[-1] = no_object_weight
        self.register_buffer("empty_weight", empty_weight)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """Loads, but keeps the class weights: they are configuration, whatever a file was trained with."""
        own = self.empty_weight.clone()
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.empty_weight.copy_(own)

    @classmethod
    def from_config(cls, cfg: SeemConfig, num_classes: int) -> SetCriterion:
        """Builds the criterion of ``cfg.MODEL.DECODER`` for ``num_classes`` categories."""
        d = cfg.MODEL.DECODER
        keys = {"mask": "", "spatial": "S", "grounding": "G"}
        keys = {f: k for f, k in keys.items() if getattr(d, f.upper()).ENABLED}
        terms = {"ce": "CLASS", "bce": "MASK", "dice": "DICE"}
        return cls(
            num_classes,
            {f"{f}_{term}": getattr(d, f"{k}{name}_WEIGHT") for f, k in keys.items() for term, name in terms.items()},
            # The published spatial matching uses these costs too, whatever COST_SPATIAL says.
            HungarianMatcher(d.CLASS_WEIGHT, d.MASK_WEIGHT, d.DICE_WEIGHT, d.TRAIN_NUM_POINTS),
            no_object_weight=d.NO_OBJECT_WEIGHT,
            oversample_ratio=d.OVERSAMPLE_RATIO,
            importance_sample_ratio=d.IMPORTANCE_SAMPLE_RATIO,
            top_layers={f: getattr(d, f"TOP_{f.upper()}_LAYERS") for f in keys},
            deep_supervision=d.DEEP_SUPERVISION,
            kind_weights={"text": d.GROUNDING.TEXT_WEIGHT, "class": d.GROUNDING.CLASS_WEIGHT},
        )

    def normalizers(
        self,
        targets: Sequence[Targets],
        num_queries: int,
        *,
        spatial_masks: Sequence[Tensor] | None = None,
        grounding: Sequence[GroundingTargets | TextTargets] | None = None,
    ) -> dict[str, float]:
        """Returns what the losses are divided by; sums over micro-batches and processes are valid normalisers too.

        Args:
            targets: targets of the object queries, per image.
            num_queries: number of object queries.
            spatial_masks: per image, (N, H, W) masks of the prompted objects, or None without visual prompts.
            grounding: per image, texts and masks, or None without text prompts.
        """
        matched = [min(len(t.labels), num_queries) for t in targets if t.labelled]
        totals = {
            "images": float(len(targets)),
            "masks": float(sum(len(t.labels) for t in targets)),
            "class_weight": sum(m + self.no_object_weight * (num_queries - m) for m in matched),
        }
        if spatial_masks is not None:
            totals["spatial_masks"] = float(sum(int(m.flatten(1).any(dim=1).sum()) for m in spatial_masks))
        if grounding is not None:
            totals["grounding_masks"] = float(sum(len(t.masks) for t in grounding))
            totals["grounding_images"] = float(sum(len(t.masks) > 0 for t in grounding))
        return totals

    def forward(
        self,
        output: DecoderOutput,
        targets: Sequence[Targets],
        rng: Draws,
        positions: Sequence[int],
        *,
        totals: Mapping[str, float] | None = None,
        spatial_masks: Sequence[Tensor] | None = None,
        grounding: Sequence[GroundingTargets] | None = None,
        logit_scale: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Returns the weighted losses, float32 scalars; their sum is the objective.

        Args:
            output: what the decoder returned.
            targets: per image, masks (M, H, W) bool at the padded size of the network's input and labels (M,).
            rng: random draws of this step.
            positions: position of each image in the step's whole batch, the key of its draws.
            totals: ``normalizers`` summed over the whole step; None: this batch is the whole step.
            spatial_masks: per image, (N, H, W) bool masks of the prompted objects at the padded size.
            grounding: per image, texts and masks.
            logit_scale: logarithm of the factor on the similarity of queries and texts; needed with ``grounding``.
        """
        with torch.autocast(output.mask_features.device.type, enabled=False):
            families = self._families(output, targets, spatial_masks, grounding, logit_scale)
            if totals is None:
                num_queries = output.final.logits.shape[1]
                totals = self.normalizers(targets, num_queries, spatial_masks=spatial_masks, grounding=grounding)
            features = output.mask_features.float()
            masks = {family.name: [m.float() for m in family.masks] for family in families}
            matched = self.match(families, features, masks, rng, positions)
            pairs = {name: [a.pairs(features.device) for a in images] for name, images in matched.items()}
            losses = self.zeros(len(output.layers), features.device)
            for family in families:
                terms = self._terms(
                    family, features, masks[family.name], pairs[family.name], rng, positions, dict(totals)
                )
                for i in range(len(family.mask_embed)):
                    losses |= {f"loss_{family.name}_{term}_{i}": value[i] for term, value in terms.items()}
        return losses

    def zeros(self, num_outputs: int, device: torch.device) -> dict[str, Tensor]:
        """Returns every loss with the value zero: families that have nothing to learn from in a batch keep it.

        Args:
            num_outputs: outputs of the decoder, that of the raw queries included.
            device: where to.
        """
        return {
            f"loss_{family}_{term}_{i}": torch.zeros((), device=device)
            for family in FAMILIES
            for i in range(self._supervised(family, num_outputs))
            for term in TERMS
            if f"{family}_{term}" in self.weights
        }

    def _supervised(self, family: str, num_outputs: int) -> int:
        """Returns how many outputs, counted from the final one, a family supervises."""
        return min(self.top_layers.get(family, num_outputs), num_outputs if self.deep_supervision else 1)

    def _families(
        self,
        output: DecoderOutput,
        targets: Sequence[Targets],
        spatial_masks: Sequence[Tensor] | None,
        grounding: Sequence[GroundingTargets] | None,
        logit_scale: Tensor | None,
    ) -> list[LossFamily]:
        """Returns the families that have targets, a weight and at least one supervised output."""
        layers = {f: output.layers[::-1][: self._supervised(f, len(output.layers))] for f in FAMILIES}
        wanted = {name.partition("_")[0] for name in self.weights}
        wanted = {family for family in wanted if layers[family]}
        families: list[LossFamily] = []
        if "mask" in wanted:
            families.append(ObjectLosses(layers["mask"], targets, self.empty_weight))
        if "spatial" in wanted and spatial_masks is not None and output.positive_means is not None:
            families.append(SpatialLosses(layers["spatial"], spatial_masks, output.positive_means))
        if "grounding" in wanted and grounding is not None and logit_scale is not None:
            families.append(GroundingLosses(layers["grounding"], grounding, logit_scale, self.kind_weights))
        return families

    @torch.no_grad()
    def match(
        self,
        families: Sequence[LossFamily],
        features: Tensor,
        masks: Mapping[str, Sequence[Tensor]],
        rng: Draws,
        positions: Sequence[int],
    ) -> dict[str, list[Assignment]]:
        """Matches all families, images and outputs, each at its own points, with one wait for the device.

        Args:
            families: the families.
            features: (B, D, H/4, W/4) float32 mask features.
            masks: per family and image, (M, H, W) float32 target masks.
            rng: draws "match/{family}/{output}" of shape (P, 2) per image.
            positions: keys of the images' draws.

        Returns:
            Per family and image, which query stands for which target.
        """
        costs = []
        shape = (self.matcher.num_points, 2)
        for family in families:
            for b, targets in enumerate(masks[family.name]):
                if len(targets) == 0:
                    continue
                class_cost, forbidden = family.class_cost(b), family.forbidden(b)
                for i, embed in enumerate(family.mask_embed[:, b]):
                    points = rng.uniform(f"match/{family.name}/{i}", shape, sample=positions[b], device=features.device)
                    problem = MatchProblem(embed, features[b], targets, class_cost[i], points, forbidden)
                    costs.append(self.matcher.cost(problem))
        occupied = [m.flatten(1).any(dim=1).float() for family in families for m in masks[family.name]]
        host = to_host(costs + occupied)
        host_costs, host_occupied = iter(host[: len(costs)]), iter(host[len(costs) :])
        return {
            family.name: [
                Assignment(
                    [assign(next(host_costs)) if len(m) else NO_PAIRS for _ in family.mask_embed],
                    next(host_occupied) > 0,
                )
                for m in masks[family.name]
            ]
            for family in families
        }

    def _terms(
        self,
        family: LossFamily,
        features: Tensor,
        masks: Sequence[Tensor],
        pairs: Sequence[MatchedPairs],
        rng: Draws,
        positions: Sequence[int],
        totals: dict[str, float],
    ) -> dict[str, Tensor]:
        """Returns the weighted terms of one family, (L,) each; terms without a weight are left out."""
        names = {term: f"{family.name}_{term}" for term in TERMS}
        weights = {term: self.weights[name] for term, name in names.items() if name in self.weights}
        # Zero that keeps every parameter of the family in the graph when nothing is matched.
        zero = 0 * (family.mask_embed.sum() + features.sum()) if not any(p.queries.numel() for p in pairs) else 0.0
        terms = {}
        if "ce" in weights:
            terms["ce"] = family.class_loss(pairs, totals) + zero
        if "bce" in weights or "dice" in weights:
            bce, dice = self._mask_losses(family, features, masks, pairs, rng, positions)
            normalizer = max(totals[family.mask_normalizer], 1.0)
            terms["bce"], terms["dice"] = bce / normalizer + zero, dice / normalizer + zero
        factor = float(family.enabled(totals))
        return {term: weight * factor * terms[term] for term, weight in weights.items()}

    def _mask_losses(
        self,
        family: LossFamily,
        features: Tensor,
        masks: Sequence[Tensor],
        pairs: Sequence[MatchedPairs],
        rng: Draws,
        positions: Sequence[int],
    ) -> tuple[Tensor, Tensor]:
        """Returns binary cross-entropy and dice (L,), summed over the matched pairs of all images."""
        num_outputs = len(family.mask_embed)
        bce = dice = family.mask_embed.new_zeros(num_outputs)
        for b, pair in enumerate(pairs):
            count = pair.queries.shape[1]
            if count == 0:
                continue
            output = torch.arange(num_outputs, device=features.device)[:, None]
            embed = family.mask_embed[:, b][output, pair.queries].flatten(0, 1)
            logits = (embed @ features[b].flatten(1)).unflatten(1, features.shape[2:])  # (L n, H/4, W/4)
            sums = []
            # One output at a time: points and float copies of the targets of all outputs would take much memory.
            for i, (maps, index) in enumerate(zip(logits.split(count), pair.targets, strict=True)):
                points = self.loss_points(f"points/{family.name}/{i}", maps.detach(), rng, positions[b])
                target = sample_points(masks[b][index, None], points)[:, 0]
                sampled = sample_points(maps[:, None], points)[:, 0]
                sums += [mask_bce(sampled, target).sum(), mask_dice(sampled.sigmoid(), target).sum()]
            bce, dice = bce + torch.stack(sums[::2]), dice + torch.stack(sums[1::2])
        return bce, dice

    @torch.no_grad()
    def loss_points(self, purpose: str, logits: Tensor, rng: Draws, position: int) -> Tensor:
        """Chooses the points at which the matched masks of one image and output are compared.

        Args:
            purpose: name of the draw of candidates (n, 3 P, 2); "{purpose}/extra" are the points taken as they are.
            logits: (n, H/4, W/4) float32 mask logits.
            rng: random draws of this step.
            position: key of the image's draws.

        Returns:
            (n, P, 2) float32 points in 0..1.
        """
        count, num_extra = len(logits), self.matcher.num_points - self.num_uncertain
        candidates = rng.uniform(purpose, (count, self.num_candidates, 2), sample=position, device=logits.device)
        extra = rng.uniform(f"{purpose}/extra", (count, num_extra, 2), sample=position, device=logits.device)
        return uncertain_points(logits, candidates, extra, self.num_uncertain)
