"""Semantic, panoptic and instance results from class and mask logits (Mask2Former, section 3; MaskFormer, section 3.3).

Letters in shapes: B images, Q queries, K categories, N kept queries or instances, h and w rows and columns at the
network's stride, H and W at the output size.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ....utils.structures.results import InstanceResult, PanopticResult, Prediction, Segment
from ...boxes import tensor_mask_boxes
from ...layers.linear import linear
from .mask_resize import MaskResizer


@dataclass(frozen=True)
class PostProcessor:
    """Turns logits into results at the original image size.

    Masks are resized before scores are formed; only queries that can appear in a result are resized, and large images
    are worked through in bands of rows.

    Attributes:
        object_mask_threshold: queries whose best class scores at most this stay out of the panoptic map, 0..1.
        overlap_threshold: a panoptic segment must win at least this share of its own mask's pixels.
        max_detections: instances per image.
        resize_first: semantic scores are formed at the output size; False: formed at the input size and then resized.
        instances_of_things_only: drop instances of stuff categories.
    """

    object_mask_threshold: float = 0.8
    overlap_threshold: float = 0.8
    max_detections: int = 100
    resize_first: bool = True
    instances_of_things_only: bool = True

    @torch.no_grad()
    def __call__(
        self,
        logits: Tensor,
        mask_logits: Tensor,
        padded_size: tuple[int, int],
        image_sizes: Sequence[tuple[int, int]],
        output_sizes: Sequence[tuple[int, int]],
        isthing: Sequence[bool],
        tasks: Collection[str],
    ) -> list[Prediction]:
        """Returns one prediction per image.

        Args:
            logits: (B, Q, K + 1) class logits, background last.
            mask_logits: (B, Q, h, w) mask logits.
            padded_size: (height, width) of the network's input.
            image_sizes: (height, width) of each image without padding.
            output_sizes: (height, width) of each result.
            isthing: per category, whether it is countable.
            tasks: any of "semantic", "panoptic", "instance".
        """
        with torch.autocast(logits.device.type, enabled=False):
            sizes = zip(image_sizes, output_sizes, strict=True)
            images = zip(logits.float(), mask_logits.float(), sizes, strict=True)
            return [self._image(c, m, padded_size, *size, isthing, tasks) for c, m, size in images]

    def _image(
        self,
        logits: Tensor,
        mask_logits: Tensor,
        padded_size: tuple[int, int],
        image_size: tuple[int, int],
        output_size: tuple[int, int],
        isthing: Sequence[bool],
        tasks: Collection[str],
    ) -> Prediction:
        size = (mask_logits.shape[1], mask_logits.shape[2])
        resizer = MaskResizer(size, padded_size, image_size, output_size, logits.device)
        prediction = Prediction()
        if "semantic" in tasks:
            if self.resize_first:
                prediction.semantic = semantic_map(logits, mask_logits, resizer)
            else:
                prediction.semantic = late_semantic_map(logits, mask_logits, padded_size, image_size, output_size)
        if "panoptic" in tasks:
            thresholds = (self.object_mask_threshold, self.overlap_threshold)
            prediction.panoptic = panoptic_map(logits, mask_logits, resizer, isthing, *thresholds)
        if "instance" in tasks:
            things = isthing if self.instances_of_things_only else None
            prediction.instances = instances(logits, mask_logits, resizer, self.max_detections, things)
        return prediction


def class_probabilities(logits: Tensor) -> Tensor:
    """Returns the probabilities (Q, K) of the categories, without background, from logits (Q, K + 1)."""
    return logits.softmax(dim=-1)[:, :-1]


def category_scores(probabilities: Tensor, mask_logits: Tensor) -> Tensor:
    """Returns sum_q probability[q, k] * sigmoid(mask[q]) as (K, H, W) from (Q, K) and (Q, H, W)."""
    return torch.einsum("qk,qhw->khw", probabilities, mask_logits.sigmoid())


def semantic_map(logits: Tensor, mask_logits: Tensor, resizer: MaskResizer) -> np.ndarray:
    """Returns the best category per pixel, (H, W) int64, of masks resized before scoring."""
    probabilities = class_probabilities(logits)
    categories = probabilities.T.contiguous()
    best = []
    for rows in resizer.bands(sum(probabilities.shape)):
        masks = resizer(mask_logits, rows).sigmoid_()
        # The category_scores, categories last: the best one of a pixel is then found in neighbouring memory.
        best.append(linear(masks.permute(1, 2, 0).contiguous(), categories).argmax(dim=-1))
    return torch.cat(best).cpu().numpy()


def late_category_scores(
    logits: Tensor, mask_logits: Tensor, padded_size: tuple[int, int], image_size: tuple[int, int]
) -> Tensor:
    """Returns semantic scores (K, height, width) at the unpadded input size."""
    size = (mask_logits.shape[1], mask_logits.shape[2])
    to_input = MaskResizer(size, padded_size, image_size, image_size, logits.device)
    probabilities = class_probabilities(logits)
    bands = to_input.bands(sum(probabilities.shape))
    return torch.cat([category_scores(probabilities, to_input(mask_logits, rows)) for rows in bands], dim=1)


def late_semantic_map(
    logits: Tensor,
    mask_logits: Tensor,
    padded_size: tuple[int, int],
    image_size: tuple[int, int],
    output_size: tuple[int, int],
) -> np.ndarray:
    """Returns the best category per pixel, (H, W) int64, of scores formed at the input size and then resized."""
    scores = late_category_scores(logits, mask_logits, padded_size, image_size)
    to_output = MaskResizer(image_size, image_size, image_size, output_size, logits.device)
    best = [to_output(scores, rows).argmax(dim=0) for rows in to_output.bands(len(scores))]
    return torch.cat(best).cpu().numpy()


def panoptic_map(
    logits: Tensor,
    mask_logits: Tensor,
    resizer: MaskResizer,
    isthing: Sequence[bool],
    object_mask_threshold: float,
    overlap_threshold: float,
) -> PanopticResult:
    """Gives each pixel to the kept query with the largest score * sigmoid(mask), and drops queries that lost too much.

    A query is dropped if no pixel it won has sigmoid(mask) >= 0.5, or if the pixels it won are fewer than
    ``overlap_threshold`` times the pixels where sigmoid(mask) >= 0.5. Stuff of one category shares one segment.
    """
    height, width = resizer.output_size
    scores, categories = logits.softmax(dim=-1).max(dim=-1)
    kept = ((categories < logits.shape[-1] - 1) & (scores > object_mask_threshold)).nonzero()[:, 0]
    if len(kept) == 0:
        return PanopticResult(np.zeros((height, width), np.int32), [])
    scores, categories, masks = scores[kept], categories[kept], mask_logits[kept]

    owners, clear = [], []  # per band: the winning query of each pixel, and whether its mask is above one half there
    mask_area = torch.zeros(len(kept), dtype=torch.int64, device=logits.device)
    for rows in resizer.bands(2 * len(kept)):
        probability = resizer(masks, rows).sigmoid_()
        inside = probability >= 0.5
        # Queries last: the best one of a pixel is then found in neighbouring memory.
        owner = probability.permute(1, 2, 0).contiguous().mul_(scores).argmax(dim=-1)
        mask_area += mask_areas(inside)
        owners.append(owner)
        clear.append(inside.gather(0, owner[None])[0])
    owner, inside = torch.cat(owners), torch.cat(clear)
    won = torch.bincount(owner.flatten(), minlength=len(kept))
    visible = torch.bincount(owner[inside], minlength=len(kept))
    won, mask_area, visible, kinds = torch.stack([won, mask_area, visible, categories]).tolist()
    ids, segments = _segments(won, mask_area, visible, kinds, scores.tolist(), isthing, overlap_threshold)
    table = torch.tensor(ids, dtype=torch.int32, device=logits.device)
    return PanopticResult((table[owner] * inside).cpu().numpy(), segments)


def _segments(
    won: Sequence[int],
    mask_area: Sequence[int],
    visible: Sequence[int],
    categories: Sequence[int],
    scores: Sequence[float],
    isthing: Sequence[bool],
    overlap_threshold: float,
) -> tuple[list[int], list[Segment]]:
    """Returns the segment id of each kept query (0: dropped) and the segments, ids 1, 2, ... in query order."""
    ids: list[int] = []
    segments: list[Segment] = []
    stuff: dict[int, Segment] = {}
    for query, category in enumerate(categories):
        if visible[query] == 0 or won[query] / mask_area[query] < overlap_threshold:
            ids.append(0)
            continue
        segment = stuff.get(category)
        if segment is None:
            segment = Segment(len(segments) + 1, category, bool(isthing[category]), area=0, score=0.0)
            segments.append(segment)
            if not segment.isthing:
                stuff[category] = segment
        segment.area += visible[query]
        segment.score = max(segment.score or 0.0, scores[query])
        ids.append(segment.id)
    return ids, segments


def instances(
    logits: Tensor,
    mask_logits: Tensor,
    resizer: MaskResizer,
    max_detections: int,
    isthing: Sequence[bool] | None = None,
) -> InstanceResult:
    """Returns the best (query, category) pairs as scored masks, best first.

    The score is the class probability times the mean of sigmoid(mask) inside the mask (mask logit > 0).

    Args:
        logits: (Q, K + 1) class logits.
        mask_logits: (Q, h, w) mask logits.
        resizer: brings masks to the output size.
        max_detections: pairs taken, before stuff is dropped; fewer where Q * K is smaller.
        isthing: per category; categories that are not countable are dropped. None: all stay.
    """
    probabilities = class_probabilities(logits)
    num_categories = probabilities.shape[1]
    scores, pairs = probabilities.flatten().topk(min(max_detections, probabilities.numel()))
    categories = pairs % num_categories
    if isthing is not None:
        countable = torch.tensor(isthing, dtype=torch.bool, device=logits.device)[categories]
        scores, pairs, categories = scores[countable], pairs[countable], categories[countable]
    queries, slot = (pairs // num_categories).unique(return_inverse=True)
    masks = torch.empty((len(queries), *resizer.output_size), dtype=torch.bool, device=logits.device)
    inside = torch.zeros(len(queries), device=logits.device)
    for rows in resizer.bands(2 * len(queries)):
        band = resizer(mask_logits[queries], rows)
        mask = band > 0
        masks[:, rows] = mask
        inside += band.sigmoid_().mul_(mask).sum(dim=(1, 2))
    quality = inside / (mask_areas(masks) + 1e-6)
    scores, order = (scores * quality[slot]).sort(descending=True, stable=True)
    slot = slot[order]
    boxes = tensor_mask_boxes(masks)[slot]
    return InstanceResult(
        masks.cpu().numpy()[slot.cpu().numpy()],
        categories[order].cpu().numpy(),
        scores.cpu().numpy(),
        boxes.cpu().numpy(),
    )


def mask_areas(masks: Tensor) -> Tensor:
    """Returns the number of pixels (N,) int64 in masks (N, H, W) bool."""
    if masks.device.type != "cpu":
        return masks.sum(dim=(1, 2))
    # The framework's sum of booleans takes fifty times as long.
    return torch.tensor([np.count_nonzero(mask) for mask in masks.numpy()], dtype=torch.int64)


def boxes_to_output(
    boxes: Tensor, padded_size: tuple[int, int], image_size: tuple[int, int], output_size: tuple[int, int]
) -> Tensor:
    """Converts predicted boxes to pixels of the output.

    Args:
        boxes: (N, 4) logits of centre x, centre y, width, height as shares of the padded input.
        padded_size: (height, width) of the network's input.
        image_size: (height, width) of the image without padding.
        output_size: (height, width) of the result; boxes are cut to it.

    Returns:
        (N, 4) float32 x0, y0, x1, y1.
    """
    centre, extent = boxes.float().sigmoid().split(2, dim=1)
    limit = boxes.new_tensor([output_size[1], output_size[0]] * 2)
    scale = (
        limit
        * boxes.new_tensor([padded_size[1], padded_size[0]] * 2)
        / boxes.new_tensor([image_size[1], image_size[0]] * 2)
    )
    pixels = torch.cat([centre - extent / 2, centre + extent / 2], dim=1) * scale
    return torch.minimum(pixels.clamp(min=0), limit)
