"""Everything mode: masks of all that can be told apart in an image, from a grid of points (arXiv 2304.02643, D).

``SamAutomaticMaskGenerator(model).generate(image)``, with the published names and defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from ....utils.masks import encode_masks
from ..config import Amg
from ..network.input_frame import check_image
from ..network.sam import Sam
from ..prompting.sam_predictor import SamPredictor
from .crops import Box, crop_boxes, cut_off, layer_grids, place_masks
from .found_masks import OUTPUT_MODES, FoundMasks
from .grid_prompts import MASKS_PER_POINT, GridMasks, GridPrompter
from .mask_quality import corner_boxes, stability_scores

# Bytes of logits at the size of the image that are looked at together: on a CPU so few that they stay in its caches.
_CHUNK_BYTES = {"cpu": 8 << 20}
_CHUNK_BYTES_ELSEWHERE = 1 << 30


@dataclass(frozen=True, eq=False)
class EverythingSettings:
    """What everything mode searches and keeps; the names are those of the published generator.

    Attributes:
        points_per_side: points along each side of the grid; None: ``point_grids``.
        points_per_batch: points that are answered at once.
        pred_iou_thresh: masks whose predicted IoU is not above it are dropped; 0 or less: none.
        stability_score_thresh: masks less stable are dropped; 0 or less: none.
        stability_score_offset: shift of the threshold of the logits that stability is measured with.
        box_nms_thresh: of masks of one crop whose boxes overlap more (IoU), the best is kept.
        crop_n_layers: layers of crops searched beside the image.
        crop_nms_thresh: as ``box_nms_thresh``, between crops; the smaller crop wins.
        crop_overlap_ratio: overlap of crops in layer 1 as a share of the short side.
        crop_n_points_downscale_factor: layer i has points_per_side / this^i points along each side, at least 1.
        point_grids: for the image and each layer of crops, points (G, 2) as x, y in 0..1; instead of points_per_side.
        min_mask_region_area: holes and islands with fewer pixels are removed; 0: none.

    Raises:
        ValueError: names the settings that are wrong or contradict each other.
    """

    points_per_side: int | None = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Sequence[np.ndarray] | None = None
    min_mask_region_area: int = 0

    def __post_init__(self) -> None:
        """Checks the values."""
        if (self.points_per_side is None) == (self.point_grids is None):
            given = "both are" if self.points_per_side is not None else "neither is"
            raise ValueError(f"give either points_per_side or point_grids; {given} given")
        least = {"points_per_batch": 1, "crop_n_points_downscale_factor": 1, "crop_n_layers": 0}
        least |= {"points_per_side": 1} if self.points_per_side is not None else {}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ValueError(f"{name} is {getattr(self, name)}, expected {minimum} or more")
        if not 0 <= self.crop_overlap_ratio <= 1:
            raise ValueError(f"crop_overlap_ratio is {self.crop_overlap_ratio:g}, expected 0..1")
        for layer, grid in enumerate(self.point_grids or ()):
            if np.ndim(grid) != 2 or np.shape(grid)[1] != 2:
                raise ValueError(f"point_grids[{layer}] has the shape {np.shape(grid)}, expected (points, 2)")
        if self.point_grids is not None and len(self.point_grids) <= self.crop_n_layers:
            raise ValueError(
                f"point_grids has {len(self.point_grids)} grids, expected {self.crop_n_layers + 1}: one for the image "
                f"and one for each layer of crops (crop_n_layers {self.crop_n_layers})"
            )

    @classmethod
    def from_config(cls, amg: Amg) -> EverythingSettings:
        """Returns the settings that SAM.AMG holds under the same names in capitals."""
        return cls(**{field.name.lower(): getattr(amg, field.name) for field in fields(Amg)})

    def grids(self) -> Sequence[np.ndarray]:
        """Returns the points of the image and of each layer of crops, (G, 2) x, y in 0..1."""
        if self.point_grids is not None:
            return self.point_grids
        assert self.points_per_side is not None
        return layer_grids(self.points_per_side, self.crop_n_layers, self.crop_n_points_downscale_factor)


class SamAutomaticMaskGenerator:
    """Finds masks of everything in an image; the arguments are explained in :class:`EverythingSettings`.

    Attributes:
        predictor: answers the points; may be replaced by any object with the methods of :class:`SamPredictor`.
        settings: what is searched and kept.
        output_mode: form of the masks.

    Args:
        model: the network in eval mode; or a predictor.
        output_mode: "binary_mask" (arrays), "uncompressed_rle" or "coco_rle" (dicts for JSON).

    Raises:
        ValueError: names the settings that are wrong or contradict each other.
    """

    def __init__(
        self,
        model: Any,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[np.ndarray] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
    ) -> None:
        if output_mode not in OUTPUT_MODES:
            raise ValueError(f"output_mode is {output_mode!r}, expected one of {', '.join(OUTPUT_MODES)}")
        self.settings = EverythingSettings(
            points_per_side=points_per_side,
            points_per_batch=points_per_batch,
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            stability_score_offset=stability_score_offset,
            box_nms_thresh=box_nms_thresh,
            crop_n_layers=crop_n_layers,
            crop_nms_thresh=crop_nms_thresh,
            crop_overlap_ratio=crop_overlap_ratio,
            crop_n_points_downscale_factor=crop_n_points_downscale_factor,
            point_grids=point_grids,
            min_mask_region_area=min_mask_region_area,
        )
        self.predictor = model if hasattr(model, "predict_torch") else SamPredictor(model)
        self.output_mode = output_mode

    def generate(self, image: np.ndarray) -> list[dict[str, Any]]:
        """Finds masks.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            Records as :meth:`FoundMasks.records` describes them, best predicted IoU first (with crops: smaller crops
            first); none when no mask is good enough.

        Raises:
            ValueError: if the image is of another type or shape.
        """
        check_image(image)
        return find_masks(self.predictor, image, self.settings).records(self.output_mode)


def find_everything(model: Sam, image: np.ndarray, settings: EverythingSettings) -> list[dict[str, Any]]:
    """Returns the records of all masks of an image (H, W, 3) uint8 RGB, ``segmentation`` as COCO run-length code.

    The best predicted IoU comes first, whatever crop it was found in.
    """
    records = find_masks(SamPredictor(model), image, settings).records("coco_rle")
    return sorted(records, key=lambda record: -record["predicted_iou"])


@torch.no_grad()
def find_masks(predictor: Any, image: np.ndarray, settings: EverythingSettings) -> FoundMasks:
    """Finds masks in an image (H, W, 3) uint8 RGB, crop by crop, without duplicates."""
    size, grids = (image.shape[0], image.shape[1]), settings.grids()
    crops = crop_boxes(size, settings.crop_n_layers, settings.crop_overlap_ratio)
    found = FoundMasks.join([_search_crop(predictor, image, crop, grids[layer], settings) for crop, layer in crops])
    if len(crops) > 1:
        sides = found.crops[:, 2:] - found.crops[:, :2]
        found = found.distinct(1 / sides.prod(axis=1), settings.crop_nms_thresh)
    if settings.min_mask_region_area > 0:
        threshold = max(settings.box_nms_thresh, settings.crop_nms_thresh)
        found = found.without_small_regions(settings.min_mask_region_area, threshold)
    return found


def _search_crop(
    predictor: Any, image: np.ndarray, crop: Box, grid: np.ndarray, settings: EverythingSettings
) -> FoundMasks:
    """Returns the distinct masks of one crop, in pixels of the image."""
    x0, y0, x1, y1 = crop
    predictor.set_image(np.ascontiguousarray(image[y0:y1, x0:x1]))
    prompter = GridPrompter(predictor, (y1 - y0, x1 - x0))
    points = np.asarray(grid, np.float64) * (x1 - x0, y1 - y0)
    parts = [_nothing()]
    for start in range(0, len(points), settings.points_per_batch):
        some = points[start : start + settings.points_per_batch]
        answers = prompter.ask(some)
        parts += _keep_good(predictor, answers, some, crop, (image.shape[0], image.shape[1]), settings)
    predictor.reset_image()
    found = FoundMasks.join(parts)
    return found.distinct(found.predicted_iou, settings.box_nms_thresh)


def _keep_good(
    predictor: Any,
    answers: GridMasks,
    points: np.ndarray,
    crop: Box,
    size: tuple[int, int],
    settings: EverythingSettings,
) -> Iterator[FoundMasks]:
    """Yields the masks that pass the filters, a few at a time: masks at full size are never held all together."""
    threshold = float(predictor.model.mask_threshold)
    iou = answers.predicted_iou
    wanted = torch.arange(len(iou), device=iou.device)
    if settings.pred_iou_thresh > 0:
        wanted = wanted[iou > settings.pred_iou_thresh]
    pixels = (crop[2] - crop[0]) * (crop[3] - crop[1])
    for places in wanted.split(_chunk(pixels, iou.device)):
        logits = answers.columns_first(places)
        stability = stability_scores(logits, threshold, settings.stability_score_offset)
        if settings.stability_score_thresh > 0:
            stable = stability >= settings.stability_score_thresh
            logits, stability, places = logits[stable], stability[stable], places[stable]
        host = places.cpu().numpy()
        figures = (iou[places].cpu().numpy(), stability.cpu().numpy(), points[host // MASKS_PER_POINT])
        yield _encode((logits > threshold).cpu().numpy(), *figures, crop, size)


def _encode(
    columns: np.ndarray,
    predicted_iou: np.ndarray,
    stability: np.ndarray,
    points: np.ndarray,
    crop: Box,
    size: tuple[int, int],
) -> FoundMasks:
    """Encodes masks of a crop, (N, w, h) bool, leaving out those that it cuts off; points are in its pixels."""
    masks = columns.transpose(0, 2, 1)
    codes = encode_masks(masks)
    boxes = corner_boxes(codes)
    whole = np.flatnonzero(~cut_off(boxes, crop, size))
    if crop != (0, 0, size[1], size[0]):
        codes = encode_masks(place_masks(masks[whole], crop, size))
    else:
        codes = [codes[i] for i in whole]
    corner = np.array(crop[:2])
    crops = np.tile(crop, (len(whole), 1))
    boxes = boxes[whole] + np.tile(corner, 2)
    return FoundMasks(codes, boxes, predicted_iou[whole], stability[whole], points[whole] + corner, crops)


def _nothing() -> FoundMasks:
    boxes, figures = np.zeros((0, 4), np.int64), np.zeros(0, np.float32)
    return FoundMasks([], boxes, figures, figures, np.zeros((0, 2)), boxes)


def _chunk(pixels: int, device: torch.device) -> int:
    """Returns how many masks are looked at together."""
    return max(1, _CHUNK_BYTES.get(device.type, _CHUNK_BYTES_ELSEWHERE) // (4 * pixels))
