"""Training of SAM on objects of any data set with simulated prompts (arXiv 2304.02643, appendix A; arXiv 2408.00714).

An object's first prompt is a point, a box or its noised mask; then clicks on what is wrong correct the answer, each
together with all earlier points and the last answer, through which no gradient flows. Every round is trained. Losses
are taken at the resolution of the decoder's masks (a quarter of the image for patches of 16 pixels), clicks at the
image's. Letters in shapes: P objects, M masks of a prompt, m side of the decoder's masks, B images, H and W rows and
columns of the padded batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....utils.draws import Draws
from ....utils.structures.results import Prediction
from ....utils.structures.samples import Batch
from ...base import MetaArch
from ...losses.cl_dice import mask_cl_dice
from ...losses.dice import mask_dice
from ...losses.focal import mask_focal
from ..config import SamConfig
from ..everything.mask_quality import overlaps
from ..network.sam import Sam
from ..prompting.encoded import Encoded
from .loss_settings import LossSettings
from .simulated_prompts import (
    First,
    PromptSettings,
    SimulatedObjects,
    correction,
    count_objects,
    draw_objects,
    first_box,
    first_mask,
    first_point,
)


class MaskLosses(LossSettings):
    """The losses of prompted objects. Dice is that of each object."""

    def names(self) -> list[str]:
        """Returns the names of the losses."""
        optional = {"loss_iou": self.iou_weight, "loss_cldice": self.cl_dice_weight}
        return ["loss_focal", "loss_dice", *(name for name, weight in optional.items() if weight)]

    def __call__(self, logits: Tensor, iou: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Returns the weighted losses, summed over the objects.

        Of several masks the one with the least focal and dice loss is trained, the IoU of all.

        Args:
            logits: (P, M, m, m) float32.
            iou: predicted IoUs (P, M) float32.
            targets: (P, m, m) bool.
        """
        count, masks = iou.shape
        flat = logits.flatten(0, 1).flatten(1)
        truth = targets.flatten(1).repeat_interleave(masks, dim=0)
        focal = mask_focal(flat, truth, self.focal_alpha, self.focal_gamma).view(count, masks)
        dice = mask_dice(flat.sigmoid(), truth.float()).view(count, masks)
        focal, dice = self.focal_weight * focal, self.dice_weight * dice
        best = (focal + dice).detach().argmin(dim=1, keepdim=True)
        losses = {"loss_focal": focal.gather(1, best).sum(), "loss_dice": dice.gather(1, best).sum()}
        if self.iou_weight:
            error = (iou - overlaps(logits > 0, targets[:, None])).square()
            losses["loss_iou"] = self.iou_weight * error.mean(dim=1).sum()
        if self.cl_dice_weight:
            chosen = logits[torch.arange(count, device=logits.device), best[:, 0]]
            thin = mask_cl_dice(chosen.sigmoid(), targets.float(), self.cl_dice_iterations)
            losses["loss_cldice"] = self.cl_dice_weight * thin.sum()
        return losses


class PromptableTask:
    """Training with simulated prompts.

    Args:
        settings: how prompts are simulated.
        losses: weights of the losses.
    """

    result_kinds: frozenset[str] = frozenset()

    def __init__(self, settings: PromptSettings, losses: MaskLosses) -> None:
        self.settings = settings
        self.weights = losses

    @classmethod
    def from_config(cls, cfg: SamConfig) -> PromptableTask:
        """Reads sections SAM.PROMPTABLE and SAM.LOSS."""
        return cls(PromptSettings.from_config(cfg.SAM.PROMPTABLE), MaskLosses.from_config(cfg.SAM.LOSS))

    def losses(self, model: Sam, batch: Batch, embeddings: Tensor, rng: Draws) -> dict[str, Tensor]:
        """Returns the weighted losses: means over the objects of the step and over the rounds of an object.

        Args:
            model: the network; the ``monitors`` of a meta-architecture get the mean IoU of first and last answers.
            batch: images with the masks of their objects.
            embeddings: (B, C, g, g).
            rng: source of every draw.
        """
        # Every parameter takes part in every step, also in one without boxes, say: processes wait for each other's.
        nothing = 0.0 * (embeddings.sum() + sum(p.sum() for p in _trained(model)))
        losses = dict.fromkeys(self.weights.names(), nothing.float())
        side, mask_side = model.image_size, model.prompt_encoder.mask_input_size
        objects = draw_objects(batch, self.settings, rng, side, mask_side)
        if objects is None:
            return losses
        totals = self.normalizers(batch) if batch.totals is None else batch.totals
        share = 1 / (totals["objects"] * (1 + self.settings.corrections))
        quality = []
        for kind in First:
            group = objects.with_first(kind)
            if not len(group):
                continue
            terms, ious = self._rounds(model, embeddings, group, kind)
            losses = {name: value + share * terms[name] for name, value in losses.items()}
            quality.append(ious)
        first, last = torch.cat(quality, dim=1).mean(dim=1)
        if isinstance(model, MetaArch):
            model.monitors = {"iou_first_prompt": first, "iou_last_prompt": last}
        return losses

    def normalizers(self, batch: Batch) -> dict[str, float]:
        """Returns this batch's share of the step's objects."""
        return {"objects": float(count_objects(batch, self.settings))}

    def predict(self, model: Sam, encoded: Encoded) -> list[Prediction]:
        """Returns nothing for each image: masks need prompts."""
        return [Prediction() for _ in range(len(encoded))]

    def compile_parts(self, model: Sam) -> list[nn.Module]:
        """Returns the image encoder: simulated prompts change their numbers from step to step."""
        return [model.image_encoder]

    def unreached(self, name: str) -> bool:
        """Tells whether no loss ever depends on the parameter of this name."""
        firsts, clicks = self.settings.firsts(), self.settings.corrections > 0
        ambiguous = self.settings.multimask and First.POINT in firsts
        clear = clicks or not ambiguous or firsts != {First.POINT}
        reached = {
            "prompt_encoder.point_embeddings.0.": clicks,
            "prompt_encoder.point_embeddings.1.": clicks or First.POINT in firsts,
            "prompt_encoder.point_embeddings.2.": First.BOX in firsts,
            "prompt_encoder.point_embeddings.3.": First.BOX in firsts,
            "prompt_encoder.not_a_point_embed.": clicks or First.POINT in firsts,
            "prompt_encoder.mask_downscaling.": clicks or First.MASK in firsts,
            "prompt_encoder.no_mask_embed.": firsts != {First.MASK},
            "mask_decoder.iou_prediction_head.": self.weights.iou_weight > 0,
            "mask_decoder.output_hypernetworks_mlps.0.": clear,
            "mask_decoder.output_hypernetworks_mlps.": ambiguous,
        }
        return not next((yes for prefix, yes in reached.items() if name.startswith(prefix)), True)

    def _rounds(
        self, model: Sam, embeddings: Tensor, objects: SimulatedObjects, kind: First
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Answers a first prompt and the corrections of objects whose first prompts are of one kind.

        Returns:
            The losses, summed over objects and rounds; the IoUs (2, P) of the first and the last answers.
        """
        points = labels = boxes = masks = None
        if kind == First.POINT:
            points, labels = first_point(objects)
        elif kind == First.BOX:
            boxes = first_box(objects, self.settings.box_noise)
        else:
            masks = first_mask(objects)
        terms: dict[str, Tensor] = {}
        ious = []
        for number in range(self.settings.corrections + 1):
            low_res, iou = model.predict_masks(
                embeddings,
                points=points,
                labels=labels,
                boxes=boxes,
                masks=masks,
                image_index=objects.image_index,
                multimask=number == 0 and kind == First.POINT and self.settings.multimask,
            )
            logits, iou = low_res.float(), iou.float()
            for name, value in self.weights(logits, iou, objects.targets).items():
                terms[name] = terms.get(name, 0.0) + value
            masks = logits.detach()[torch.arange(len(objects), device=iou.device), iou.argmax(dim=1)][:, None]
            ious.append(overlaps(masks > 0, objects.targets[:, None])[:, 0])
            if number < self.settings.corrections:
                predicted = _full_size(masks, model.image_size, objects.masks.shape[1:])
                click, label = correction(objects, predicted, number, self.settings.from_target_prob)
                points = click if points is None else torch.cat([points, click], dim=1)
                labels = label if labels is None else torch.cat([labels, label], dim=1)
        return terms, torch.stack([ious[0], ious[-1]])


def _full_size(logits: Tensor, side: int, size: torch.Size) -> Tensor:
    """Brings logits (P, 1, m, m) to the padded batch, as masks (P, H, W) bool."""
    full = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
    return full[:, 0, : size[0], : size[1]] > 0


def _trained(model: Sam) -> list[Tensor]:
    """Returns the parameters of prompt encoder and mask decoder that train."""
    parts = (model.prompt_encoder, model.mask_decoder)
    return [parameter for part in parts for parameter in part.parameters() if parameter.requires_grad]
