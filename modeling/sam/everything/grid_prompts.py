"""Asks a predictor about a grid of points and upscales only the masks that are wanted.

Letters in shapes: P points, N chosen masks, H and W size of the image (or crop) that the predictor holds.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..network.mask_upscale import MaskUpscaler, mask_upscaler
from ..prompting.sam_predictor import SamPredictor

MASKS_PER_POINT = 3


class GridMasks(Protocol):
    """Three masks for each of P points.

    Attributes:
        predicted_iou: (3 P,) float32 on the predictor's device, the masks of a point one after the other.
    """

    predicted_iou: Tensor

    def columns_first(self, places: Tensor) -> Tensor:
        """Returns the logits (N, W, H) of the masks at some places of ``predicted_iou``."""


class GridPrompter:
    """Asks about the image that a predictor holds.

    A :class:`SamPredictor` gives small logits, of which few are upscaled; any other object with its methods is asked
    for masks at full size.

    Args:
        predictor: holds the image.
        size: (H, W) of the image.
    """

    def __init__(self, predictor: Any, size: tuple[int, int]) -> None:
        self.predictor = predictor
        self.size = size
        # A subclass that answers in its own way is asked in that way.
        self._small = getattr(type(predictor), "predict_torch", None) is SamPredictor.predict_torch

    def ask(self, points: np.ndarray) -> GridMasks:
        """Returns the masks of points (P, 2), x and y in pixels of the image."""
        coords = self.predictor.transform.apply_coords(points, self.size)
        prompts = torch.as_tensor(coords, dtype=torch.float32, device=self.predictor.device)[:, None]
        labels = torch.ones(prompts.shape[:2], dtype=torch.int64, device=prompts.device)
        if not self._small:
            masks, iou, _ = self.predictor.predict_torch(prompts, labels, multimask_output=True, return_logits=True)
            return _FullMasks(iou.flatten().float(), masks.flatten(0, 1))
        held = self.predictor
        low_res, iou = held.model.predict_masks(held.get_image_embedding(), points=prompts, labels=labels)
        upscaler = mask_upscaler(
            low_res.shape[-1], held.model.image_size, held.input_size, held.original_size, low_res.device
        )
        return _SmallMasks(iou.flatten().float(), low_res.flatten(0, 1), upscaler)


class _FullMasks:
    def __init__(self, predicted_iou: Tensor, masks: Tensor) -> None:
        self.predicted_iou = predicted_iou
        self._masks = masks

    def columns_first(self, places: Tensor) -> Tensor:
        return self._masks[places].float().transpose(1, 2)


class _SmallMasks:
    def __init__(self, predicted_iou: Tensor, low_res: Tensor, upscaler: MaskUpscaler) -> None:
        self.predicted_iou = predicted_iou
        self._low_res = low_res
        self._upscaler = upscaler

    def columns_first(self, places: Tensor) -> Tensor:
        return self._upscaler.columns_first(self._low_res[places])
