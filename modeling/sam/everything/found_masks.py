"""What everything mode collects: run-length codes of masks and figures about each. N is the number of masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from ....utils.masks import Rle, decode_masks, encode_masks, rle_areas, rle_counts
from .mask_quality import corner_boxes
from .small_regions import remove_small_regions

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")


@dataclass(frozen=True, eq=False)
class FoundMasks:
    """Masks of an image, in its pixels.

    Attributes:
        codes: N run-length codes.
        boxes: (N, 4) int64, first and last pixels x0, y0, x1, y1.
        predicted_iou: (N,) float32.
        stability: (N,) float32.
        points: (N, 2) float64, the x, y that each was prompted with.
        crops: (N, 4) int64 x0, y0, x1, y1 of the crop each was found in.
    """

    codes: list[Rle]
    boxes: np.ndarray
    predicted_iou: np.ndarray
    stability: np.ndarray
    points: np.ndarray
    crops: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def join(cls, parts: Sequence[FoundMasks]) -> FoundMasks:
        """Returns the masks of all parts, of which there is at least one."""
        arrays = [f.name for f in fields(cls)[1:]]
        codes = [code for part in parts for code in part.codes]
        return cls(codes, *(np.concatenate([getattr(part, name) for part in parts]) for name in arrays))

    def take(self, places: np.ndarray) -> FoundMasks:
        """Returns the masks at some places, in their order."""
        arrays = [getattr(self, f.name)[places] for f in fields(self)[1:]]
        return FoundMasks([self.codes[place] for place in places], *arrays)

    def distinct(self, scores: np.ndarray, iou_threshold: float) -> FoundMasks:
        """Returns the masks by falling score, without those whose box overlaps a better one more than the threshold.

        Args:
            scores: (N,) real.
            iou_threshold: 0..1.
        """
        from torchvision.ops import nms  # takes a second to import, and only everything mode needs it

        boxes = torch.from_numpy(self.boxes).float()
        return self.take(nms(boxes, torch.from_numpy(scores.astype(np.float32)), iou_threshold).numpy())

    def without_small_regions(self, min_area: int, iou_threshold: float) -> FoundMasks:
        """Returns the masks without holes and islands of fewer than ``min_area`` pixels.

        Masks that have become alike are reduced to one, preferably to one that had none.
        """
        codes, clean = list(self.codes), np.ones(len(self))
        for place, code in enumerate(self.codes):
            mask, had_holes = remove_small_regions(decode_masks([code], code["size"])[0], min_area, "holes")
            mask, had_islands = remove_small_regions(mask, min_area, "islands")
            if had_holes or had_islands:
                codes[place], clean[place] = encode_masks(mask[None])[0], 0
        rest = (self.predicted_iou, self.stability, self.points, self.crops)
        return FoundMasks(codes, corner_boxes(codes), *rest).distinct(clean, iou_threshold)

    def records(self, output_mode: str) -> list[dict[str, Any]]:
        """Returns a record of each mask, with the published keys.

        Args:
            output_mode: form of ``segmentation``: "binary_mask" (H, W) bool, "uncompressed_rle" or "coco_rle".

        Returns:
            ``segmentation``, ``area`` in pixels, ``bbox`` and ``crop_box`` as x, y, width, height, ``predicted_iou``,
            ``point_coords`` [[x, y]], ``stability_score``.
        """
        boxes, crops = (np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1) for b in (self.boxes, self.crops))
        areas = rle_areas(self.codes)
        return [
            {
                "segmentation": _segmentation(code, output_mode),
                "area": int(areas[i]),
                "bbox": boxes[i].tolist(),
                "predicted_iou": float(self.predicted_iou[i]),
                "point_coords": [self.points[i].tolist()],
                "stability_score": float(self.stability[i]),
                "crop_box": crops[i].tolist(),
            }
            for i, code in enumerate(self.codes)
        ]


def _segmentation(code: Rle, output_mode: str) -> Any:
    if output_mode == "binary_mask":
        return decode_masks([code], code["size"])[0]
    return code if output_mode == "coco_rle" else {"size": code["size"], "counts": rle_counts(code)}
