"""Segment Anything (SAM, arXiv 2304.02643): an image is encoded once, prompts are answered from its embedding.

Letters in shapes: B images, P prompts, K points of a prompt, S side of the padded input in pixels, C channels, g rows
and columns of the image embedding, M masks, h and w size of a resized image, H and W of the original one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .mask_decoder import MaskDecoder
from .mask_upscale import mask_upscaler
from .prompt_encoder import PromptEncoder

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


class Sam(nn.Module):
    """Image encoder, prompt encoder and mask decoder; the state dict has the names of the published files.

    Attributes:
        image_size: side S of the padded input in pixels.
        mask_threshold: logits above it belong to a mask.
        image_format: order of the channels.
        has_base: the weights of a whole SAM were loaded, so that a file with the decoder alone can follow.

    Args:
        image_encoder: maps normalised images (B, 3, S, S) to embeddings (B, C, g, g).
        prompt_encoder: embeds points, boxes and masks; knows S and g.
        mask_decoder: predicts masks from embeddings.
    """

    mask_threshold: float = 0.0
    image_format: str = "RGB"
    has_base: bool = False
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, image_encoder: nn.Module, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.image_size = prompt_encoder.input_image_size
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(3, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return self.pixel_mean.device

    def preprocess(self, images: Tensor, sizes: Sequence[tuple[int, int]] | None = None) -> Tensor:
        """Normalises images and pads them with zeros to S x S.

        Args:
            images: RGB 0..255, uint8 or float, (B, 3, h, w), resized so that the long side is S; they may be padded to
                a common size already.
            sizes: (h, w) of each without that padding; None: there is none.

        Returns:
            (B, 3, S, S).

        Raises:
            ValueError: if an image is larger than S.
        """
        height, width = images.shape[-2:]
        if max(height, width) > self.image_size:
            raise ValueError(
                f"images of {height} x {width} pixels do not fit into {self.image_size} x {self.image_size}; resize "
                "them first, e.g. with ResizeLongestSide"
            )
        pixels = (images - self.pixel_mean) / self.pixel_std
        for image, (rows, columns) in zip(pixels, sizes or (), strict=bool(sizes)):
            image[:, rows:] = 0
            image[:, :, columns:] = 0
        return F.pad(pixels, (0, self.image_size - width, 0, self.image_size - height))

    def embed(self, pixels: Tensor) -> Tensor:
        """Maps the result of :meth:`preprocess`, (B, 3, S, S), to image embeddings (B, C, g, g)."""
        return self.image_encoder(pixels)

    def predict_masks(
        self,
        embeddings: Tensor,
        *,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        image_index: Tensor | None = None,
        multimask: bool | None = True,
    ) -> tuple[Tensor, Tensor]:
        """Answers prompts; differentiable.

        Each kind of prompt is given for all P prompts or for none; without any, each image gets one answer.
        Coordinates are (x, y) in pixels of the padded S x S input.

        Args:
            embeddings: image embeddings (B, C, g, g).
            points: (P, K, 2).
            labels: (P, K): 1 foreground, 0 background, -1 no point, 2 and 3 corners of a box.
            boxes: (P, 4) as x0, y0, x1, y1.
            masks: logits of masks, (P, 1, 4 g, 4 g), e.g. of an answer before.
            image_index: image of each prompt, (P,) int64; None: B is P, prompt by prompt, or 1.
            multimask: True: three masks for an ambiguous prompt; False: one for a clear prompt; None: all four, that
                one first.

        Returns:
            Logits (P, M, 4 g, 4 g) and predicted IoUs (P, M).

        Raises:
            ValueError: if the numbers of prompts and images disagree.
        """
        sparse, dense = self.prompt_encoder(points, labels, boxes, masks)
        given = [len(x) for x in (points, boxes, masks, image_index) if x is not None]
        count = given[0] if given else len(embeddings)
        if image_index is not None and len(embeddings) > 1:
            embeddings = embeddings[image_index]
        if any(other != count for other in given) or len(embeddings) not in (1, count):
            raise ValueError(f"{len(embeddings)} image embeddings for prompts of {given}; give image_index")
        if sparse is None and len(embeddings) != count:
            embeddings = embeddings.expand(count, -1, -1, -1)
        return self.mask_decoder(embeddings, self.prompt_encoder.dense_pe(), sparse, dense, multimask)

    def upscale(self, low_res: Tensor, input_size: tuple[int, int], original_size: tuple[int, int]) -> Tensor:
        """Brings masks of one image to its size: bilinear to S x S, without the padding, bilinear to H x W.

        Args:
            low_res: logits (P, M, 4 g, 4 g).
            input_size: (h, w) of the resized image.
            original_size: (H, W).

        Returns:
            Logits (P, M, H, W).
        """
        side = self.image_size
        if low_res.device.type == "cpu" and not (torch.is_grad_enabled() and low_res.requires_grad):
            upscaler = mask_upscaler(low_res.shape[-1], side, tuple(input_size), tuple(original_size), low_res.device)
            full = upscaler.rows_first(low_res.flatten(0, 1)).to(low_res.dtype)
            return full.view(*low_res.shape[:2], *full.shape[1:])
        masks = F.interpolate(low_res, (side, side), mode="bilinear", align_corners=False)
        masks = masks[..., : input_size[0], : input_size[1]]
        return F.interpolate(masks, tuple(original_size), mode="bilinear", align_corners=False)

    def binary_masks(self, low_res: Tensor, input_size: tuple[int, int], original_size: tuple[int, int]) -> Tensor:
        """Returns :meth:`upscale` above the threshold, (P, M, H, W) bool; few logits of full size exist at a time."""
        parts = [self.upscale(part, input_size, original_size) > self.mask_threshold for part in low_res.split(8)]
        return torch.cat(parts)

    @torch.no_grad()
    def forward(self, batched_input: Sequence[dict[str, Any]], multimask_output: bool) -> list[dict[str, Tensor]]:
        """Answers the prompts of several images, as the published class does.

        Args:
            batched_input: of each image ``image`` (3, h, w), RGB 0..255, long side S; ``original_size`` (H, W); and any
                of ``point_coords`` (P, K, 2) with ``point_labels`` (P, K), ``boxes`` (P, 4), ``mask_inputs``
                (P, 1, 4 g, 4 g), in pixels of the resized image.
            multimask_output: three masks per prompt or one.

        Returns:
            Of each image ``masks`` (P, M, H, W) bool, ``iou_predictions`` (P, M), ``low_res_logits`` (P, M, 4 g, 4 g).
        """
        pixels = torch.cat([self.preprocess(record["image"][None]) for record in batched_input])
        answers = []
        for record, embedding in zip(batched_input, self.embed(pixels), strict=True):
            low_res, iou = self.predict_masks(
                embedding[None],
                points=record.get("point_coords"),
                labels=record.get("point_labels"),
                boxes=record.get("boxes"),
                masks=record.get("mask_inputs"),
                multimask=multimask_output,
            )
            masks = self.binary_masks(low_res, record["image"].shape[-2:], record["original_size"])
            answers.append({"masks": masks, "iou_predictions": iou, "low_res_logits": low_res})
        return answers
