"""Answers prompts about one image at a time, with the names and conventions of the published SamPredictor.

Letters in shapes: N points of a prompt, P prompts, C masks of a prompt, H and W size of the image, h and w size of the
resized image, g rows and columns of the image embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..network.input_frame import ResizeLongestSide, check_image
from ..network.prompt_encoder import BOX_CORNER, IGNORED
from ..network.sam import Sam


class SamPredictor:
    """Encodes an image once and then answers any number of prompts about it.

    Attributes:
        model: the network.
        transform: resizes images and prompts.
        is_image_set: whether there is an image to ask about.
        original_size: (H, W) of the image.
        input_size: (h, w) of the resized image.
        features: image embedding (1, 256, g, g).

    Args:
        sam_model: the network, in eval mode.
    """

    features: Tensor | None

    def __init__(self, sam_model: Sam) -> None:
        self.model = sam_model
        self.transform = ResizeLongestSide(sam_model.image_size)
        self.reset_image()

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return self.model.device

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        """Encodes an image.

        Args:
            image: (H, W, 3) uint8.
            image_format: order of its channels, RGB or BGR.

        Raises:
            ValueError: if the image is of another type or shape, or the order is unknown.
        """
        if image_format not in ("RGB", "BGR"):
            raise ValueError(f"image_format is {image_format!r}, expected 'RGB' or 'BGR'")
        check_image(image)
        if image_format != self.model.image_format:
            image = np.ascontiguousarray(image[..., ::-1])
        resized = torch.from_numpy(self.transform.apply_image(image)).to(self.device)
        self.set_torch_image(resized.permute(2, 0, 1)[None], image.shape[:2])

    @torch.no_grad()
    def set_torch_image(self, transformed_image: Tensor, original_image_size: Sequence[int]) -> None:
        """Encodes an image that is resized already.

        Args:
            transformed_image: RGB 0..255, (1, 3, h, w), the long side that of the network's input.
            original_image_size: (H, W) before.

        Raises:
            ValueError: if its shape is another one.
        """
        shape, side = tuple(transformed_image.shape), self.model.image_size
        if len(shape) != 4 or shape[:2] != (1, 3) or max(shape[2:]) != side:
            raise ValueError(f"the image has the shape {shape}, expected (1, 3, h, w) with a long side of {side}")
        self.reset_image()
        self.features = self.model.embed(self.model.preprocess(transformed_image))
        self.original_size = (int(original_image_size[0]), int(original_image_size[1]))
        self.input_size = (shape[2], shape[3])
        self.is_image_set = True

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Answers one prompt; points and box in pixels of the image as it was set.

        Args:
            point_coords: points as (x, y), (N, 2).
            point_labels: of each point 1 (foreground) or 0 (background), (N,).
            box: x0, y0, x1, y1; several at once: :meth:`predict_torch`.
            mask_input: logits of a mask, (1, 4 g, 4 g): one of the third results of an earlier call.
            multimask_output: three masks, for an ambiguous prompt such as a single point; else one.
            return_logits: logits instead of masks.

        Returns:
            Masks (C, H, W) bool or logits float32; predicted IoUs (C,); logits (C, 4 g, 4 g).

        Raises:
            RuntimeError: if no image is set.
            ValueError: if points and labels do not belong together, a label is unknown, or there is not one box.
        """
        self._require_image()
        _require_labels(point_coords, point_labels)
        points = labels = boxes = masks = None
        if point_coords is not None and point_labels is not None:
            points = self._tensor(self.transform.apply_coords(point_coords, self.original_size))[None]
            if not np.isin(point_labels, range(IGNORED, BOX_CORNER + 2)).all():
                raise ValueError(f"point_labels are {point_labels}, expected 1 (foreground) or 0 (background)")
            labels = torch.as_tensor(point_labels, dtype=torch.int64, device=self.device)[None]
        if box is not None:
            if np.size(box) != 4:
                raise ValueError(f"box has the shape {np.shape(box)}, expected the four numbers x0, y0, x1, y1")
            boxes = self._tensor(self.transform.apply_boxes(box, self.original_size))
        if mask_input is not None:
            masks = self._tensor(mask_input)[None]
        answer = self.predict_torch(points, labels, boxes, masks, multimask_output, return_logits)
        full, iou, low_res = (x[0].cpu().numpy() for x in answer)
        return full, iou, low_res

    @torch.no_grad()
    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Answers P prompts, in pixels of the resized image; ``transform`` brings them there.

        Args:
            point_coords: (P, N, 2).
            point_labels: (P, N): 1 foreground, 0 background, -1 no point.
            boxes: (P, 4).
            mask_input: logits (P, 1, 4 g, 4 g).
            multimask_output: three masks per prompt; else one.
            return_logits: logits instead of masks.

        Returns:
            Masks (P, C, H, W) bool or logits; predicted IoUs (P, C); logits (P, C, 4 g, 4 g).

        Raises:
            RuntimeError: if no image is set.
            ValueError: if there are points without labels or labels without points.
        """
        features = self._require_image()
        _require_labels(point_coords, point_labels)
        low_res, iou = self.model.predict_masks(
            features,
            points=point_coords,
            labels=point_labels,
            boxes=boxes,
            masks=mask_input,
            multimask=multimask_output,
        )
        bring = self.model.upscale if return_logits else self.model.binary_masks
        return bring(low_res, self.input_size, self.original_size), iou, low_res

    def get_image_embedding(self) -> Tensor:
        """Returns the image embedding (1, 256, g, g).

        Raises:
            RuntimeError: if no image is set.
        """
        return self._require_image()

    def reset_image(self) -> None:
        """Forgets the image."""
        self.is_image_set = False
        self.features = None
        self.original_size = self.input_size = (0, 0)

    def _require_image(self) -> Tensor:
        if self.features is None:
            raise RuntimeError("no image is set: call set_image(...) first")
        return self.features

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.device)


def _require_labels(points: object, labels: object) -> None:
    if (points is None) != (labels is None):
        raise ValueError("point_coords and point_labels come together: one label for each point")
