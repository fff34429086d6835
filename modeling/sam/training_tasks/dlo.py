"""Foreground against background by SAM, without a user's prompts: deformable linear objects (cables).

The network gets the same prompt in training and afterwards. With an inverted target it learns the background; what
leaves this module is about the foreground all the same. Letters in shapes: B images, C channels, g rows and columns of
the image embedding, S side of the padded input in pixels, H and W rows and columns of the ground truth or the result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ....utils.draws import Draws
from ....utils.structures.results import ForegroundResult, Prediction
from ....utils.structures.samples import Batch
from ...boxes import tensor_mask_boxes
from ...losses.cl_dice import mask_cl_dice
from ...losses.dice import mask_dice
from ...losses.focal import mask_focal
from ..config import SamConfig
from ..everything.mask_quality import overlaps
from ..network.sam import Sam
from ..prompting.encoded import Encoded
from .loss_settings import LossSettings

DICE_SMOOTH = 1e-5

Size = tuple[int, int]


class DloTask:
    """Training and prediction of the foreground.

    Args:
        losses: weights of the losses.
        dice_per_image: dice loss of each image, not of all pixels of the micro-batch.
        invert_target: the network's mask is the background.
        prompt: "full_box", "image_box", "none" or "mask_box", see SAM.DLO.PROMPT.
    """

    result_kinds = frozenset({"foreground"})

    def __init__(
        self,
        losses: LossSettings,
        dice_per_image: bool = False,
        invert_target: bool = True,
        prompt: str = "full_box",
    ) -> None:
        self.weights = losses
        self.dice_per_image = dice_per_image
        self.invert_target = invert_target
        self.prompt = prompt

    @classmethod
    def from_config(cls, cfg: SamConfig) -> DloTask:
        """Reads sections SAM.DLO and SAM.LOSS."""
        loss, dlo = cfg.SAM.LOSS, cfg.SAM.DLO
        return cls(LossSettings.from_config(loss), loss.DICE_PER_IMAGE, dlo.INVERT_TARGET, dlo.PROMPT)

    def unreached(self, name: str) -> bool:
        """Tells whether no loss depends on the parameter of this name."""
        if name.startswith("prompt_encoder."):
            return not name.startswith(self._prompted_by())
        if name.startswith("mask_decoder.iou_prediction_head."):
            return self.weights.iou_weight == 0
        # The mask of a clear prompt is the first; the others are for ambiguous ones.
        hypernetworks = "mask_decoder.output_hypernetworks_mlps."
        return name.startswith(hypernetworks) and not name.startswith(f"{hypernetworks}0.")

    def losses(self, model: Sam, batch: Batch, embeddings: Tensor, rng: Draws) -> dict[str, Tensor]:
        """Returns the weighted losses of a micro-batch, as shares of the step's (``MetaArch.losses``).

        The focal loss is a mean over all pixels of the step. Dice over the pixels of a micro-batch counts by the
        micro-batch's share of the step's images, every other loss is a mean over the step's images.

        Args:
            model: the network.
            batch: images whose targets have a foreground.
            embeddings: (B, C, g, g).
            rng: not needed, nothing is drawn.
        """
        targets, weights = foregrounds(batch), self.weights
        totals = self.normalizers(batch) if batch.totals is None else batch.totals
        low_res, iou = self._answer(model, embeddings, batch.image_sizes, targets)
        logits = upscaled(model, low_res, batch.image_sizes, [_size(target) for target in targets])
        pairs = [(one, target[0] != self.invert_target) for one, target in zip(logits, targets, strict=True)]
        focal = torch.stack([self._focal(*pair) * pair[1].numel() for pair in pairs]).sum() / totals["pixels"]
        losses = {"loss_focal": weights.focal_weight * focal}
        per_image = {"loss_dice": weights.dice_weight * self._dice(pairs)}
        if weights.iou_weight:
            actual = torch.stack([overlaps(one > 0, truth) for one, truth in pairs])
            per_image["loss_iou"] = weights.iou_weight * (iou.float()[:, 0] - actual).square().sum()
        if weights.cl_dice_weight:
            per_image["loss_cldice"] = weights.cl_dice_weight * self._cl_dice(logits, targets)
        return losses | {name: value / totals["images"] for name, value in per_image.items()}

    def normalizers(self, batch: Batch) -> dict[str, float]:
        """Returns this batch's share of the step's images and pixels of ground truth."""
        pixels = sum(target.numel() for target in foregrounds(batch))
        return {"images": float(len(batch)), "pixels": float(pixels)}

    def predict(self, model: Sam, encoded: Encoded) -> list[Prediction]:
        """Returns the foreground of encoded images at their output sizes, with the loss where the truth is known."""
        low_res, _ = self._answer(model, encoded.embeddings, encoded.input_sizes)
        logits = upscaled(model, low_res, encoded.input_sizes, encoded.output_sizes)
        results = [self._result(one, truth) for one, truth in zip(logits, encoded.truths, strict=True)]
        return [Prediction(foreground=result) for result in results]

    def compile_parts(self, model: Sam) -> list[nn.Module]:
        """Returns image encoder and mask decoder: each image has one prompt of the same form."""
        return [model.image_encoder, model.mask_decoder]

    def boxes(self, side: int, sizes: Sequence[Size], targets: Sequence[Tensor] | None = None) -> Tensor:
        """Returns the box x0, y0, x1, y1 that each image is prompted with, (B, 4) float32 pixels of the padded input.

        Args:
            side: S.
            sizes: (h, w) of each image in the input, without padding.
            targets: foreground (1, H, W) bool of each image in training.
        """
        if self.prompt == "mask_box" and targets is not None:
            return torch.stack([_around(target, size) for target, size in zip(targets, sizes, strict=True)])
        shown = [(side, side)] * len(sizes) if self.prompt == "full_box" else sizes
        return torch.tensor([[0.0, 0.0, width, height] for height, width in shown])

    def _answer(
        self, model: Sam, embeddings: Tensor, sizes: Sequence[Size], targets: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the logits (B, 1, 4 g, 4 g) float32 of the trained polarity, and the predicted IoUs (B, 1)."""
        boxes = None
        if self.prompt != "none":
            boxes = self.boxes(model.image_size, sizes, targets).to(embeddings.device)
        low_res, iou = model.predict_masks(embeddings, boxes=boxes, multimask=False)
        return low_res.float(), iou

    def _result(self, logits: Tensor, truth: np.ndarray | None) -> ForegroundResult:
        """Returns what logits (H, W) of the trained polarity say about the foreground."""
        mask = (logits > 0) != self.invert_target
        probability = (-logits if self.invert_target else logits).sigmoid()
        loss = None
        if truth is not None:
            target = torch.as_tensor(truth, device=logits.device) != self.invert_target
            dice = self._dice([(logits, target)])
            loss = float(self.weights.focal_weight * self._focal(logits, target) + self.weights.dice_weight * dice)
        return ForegroundResult(mask.cpu().numpy(), probability.cpu().numpy(), loss)

    def _focal(self, logits: Tensor, target: Tensor) -> Tensor:
        """Returns the mean focal loss of logits and a target of the trained polarity, of one shape."""
        alpha = 1 - self.weights.focal_alpha if self.invert_target else self.weights.focal_alpha
        return mask_focal(logits.reshape(1, -1), target.reshape(1, -1), alpha, self.weights.focal_gamma)[0]

    def _dice(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Returns the dice loss of logits and targets, summed over images: all as one, or one by one."""
        probabilities = [logits.sigmoid().flatten() for logits, _ in pairs]
        targets = [target.flatten().to(torch.float32) for _, target in pairs]
        if not self.dice_per_image:
            whole = mask_dice(torch.cat(probabilities)[None], torch.cat(targets)[None], DICE_SMOOTH)
            return len(pairs) * whole[0]
        each = [mask_dice(p[None], t[None], DICE_SMOOTH) for p, t in zip(probabilities, targets, strict=True)]
        return torch.cat(each).sum()

    def _cl_dice(self, logits: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        """Returns the centre-line dice loss of the foreground, summed over images: only it is thin."""
        terms = []
        for one, target in zip(logits, targets, strict=True):
            probability = (-one if self.invert_target else one).sigmoid()[None]
            terms.append(mask_cl_dice(probability, target.to(torch.float32), self.weights.cl_dice_iterations))
        return torch.cat(terms).sum()

    def _prompted_by(self) -> tuple[str, ...]:
        """Returns the beginnings of the names of the prompt encoder's parameters that the prompt uses."""
        corners = () if self.prompt == "none" else ("point_embeddings.2.", "point_embeddings.3.")
        return tuple(f"prompt_encoder.{name}" for name in ("no_mask_embed.", *corners))


def foregrounds(batch: Batch) -> list[Tensor]:
    """Returns the foreground (1, H, W) bool of each training image.

    Raises:
        ValueError: if an image has none.
    """
    found = [target.foreground for target in batch.targets or ()]
    if len(found) != len(batch) or any(foreground is None for foreground in found):
        raise ValueError("training on foregrounds needs Targets.foreground of every image; which mapper made these?")
    return found


def upscaled(model: Sam, low_res: Tensor, input_sizes: Sequence[Size], output_sizes: Sequence[Size]) -> list[Tensor]:
    """Brings the first mask of each image to its size; images of equal sizes together.

    Args:
        model: the network.
        low_res: logits (B, 1, 4 g, 4 g).
        input_sizes: (h, w) of each image in the input.
        output_sizes: (H, W) of each result.

    Returns:
        B tensors of logits (H, W).
    """
    groups: dict[tuple[Size, Size], list[int]] = defaultdict(list)
    for place, sizes in enumerate(zip(input_sizes, output_sizes, strict=True)):
        groups[sizes].append(place)
    found: dict[int, Tensor] = {}
    for sizes, places in groups.items():
        logits = model.upscale(low_res if len(places) == len(low_res) else low_res[places], *sizes)
        found.update(zip(places, logits[:, 0], strict=True))
    return [found[place] for place in range(len(found))]


def _around(target: Tensor, size: Size) -> Tensor:
    """Returns the box (4,) around a foreground (1, H, W) in pixels of the input, where its image has (h, w) of them.

    Without foreground it is the whole image. Nothing here waits for the device.
    """
    height, width = _size(target)
    scale = torch.tensor([size[1] / width, size[0] / height] * 2, device=target.device)
    whole = torch.tensor([0.0, 0.0, width, height], device=target.device)
    return scale * torch.where(target.any(), tensor_mask_boxes(target)[0], whole)


def _size(target: Tensor) -> Size:
    return target.shape[-2], target.shape[-1]
