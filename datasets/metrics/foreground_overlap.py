"""Figures of foreground masks (cables, say): overlap, boundary and centre line. Fractions 0..1; foreground = positive.

Where neither the truth nor the prediction has foreground every figure is 1; where only one of them has, overlaps are 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .semantic_iou import boundary_only
from .skeleton import skeleton

SUMMED = ("iou", "dice", "precision", "recall", "accuracy")
"""Figures of the pixels of all images together."""
MEAN_OF = {"mean_iou": "iou", "mean_dice": "dice", "boundary_iou": "boundary_iou", "cldice": "cldice"}
"""Figure -> the figure of single images that it is the mean of."""
CONVENTIONS = {
    "positive": "foreground",
    "iou, dice, precision, recall, accuracy": "from the pixels of all images together",
    "mean_iou, mean_dice, boundary_iou, cldice": "means over the images",
    "boundary_iou": "boundaries 2 % of the image diagonal wide (arXiv 2103.16562)",
    "cldice": "skeletons by Guo and Hall (arXiv 2003.07760, equations 1 and 2)",
    "neither has foreground": 1,
}


def confusion(prediction: np.ndarray, truth: np.ndarray) -> dict[str, int]:
    """Counts the pixels of two masks (H, W) bool: ``tp``, ``fp``, ``fn``, ``tn``.

    Raises:
        ValueError: they differ in size.
    """
    if prediction.shape != truth.shape:
        raise ValueError(
            f"the prediction is {prediction.shape[1]} x {prediction.shape[0]}, "
            f"the ground truth {truth.shape[1]} x {truth.shape[0]} (width x height)"
        )
    tp = int(np.count_nonzero(prediction & truth))
    fp, fn = int(np.count_nonzero(prediction)) - tp, int(np.count_nonzero(truth)) - tp
    return {"tp": tp, "fp": fp, "fn": fn, "tn": truth.size - tp - fp - fn}


def count_scores(counts: Mapping[str, int]) -> dict[str, float]:
    """Returns the figures :data:`SUMMED` of pixel counts.

    Precision without predicted and recall without true foreground are 0, unless both are absent.
    """
    tp, fp, fn, tn = (counts[name] for name in ("tp", "fp", "fn", "tn"))
    if tp + fp + fn == 0:
        return dict.fromkeys(SUMMED, 1.0)
    return {
        "iou": tp / (tp + fp + fn),
        "dice": 2 * tp / (2 * tp + fp + fn),
        "precision": tp / max(tp + fp, 1),
        "recall": tp / max(tp + fn, 1),
        "accuracy": (tp + tn) / (tp + fp + fn + tn),
    }


def boundary_iou(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Returns the boundary IoU of two masks (H, W) bool (B. Cheng et al., arXiv 2103.16562).

    A pixel belongs to the boundary of a mask when it lies in the mask, at most 2 % of the image diagonal (rounded, at
    least 1 pixel, by 3 x 3 erosions) from its edge; the image's own border is an edge, as in the authors' program.
    """
    near_prediction, near_truth = (boundary_only(mask.astype(np.uint8)) == 1 for mask in (prediction, truth))
    union = np.count_nonzero(near_prediction | near_truth)
    return float(np.count_nonzero(near_prediction & near_truth) / union) if union else 1.0


def cl_dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Returns the centre-line dice of two masks (H, W) bool (S. Shit et al., arXiv 2003.07760, equations 1 and 2).

    The harmonic mean of the share of the predicted skeleton inside the true mask (topology precision) and the share of
    the true skeleton inside the predicted mask (topology sensitivity).
    """
    if not (prediction.any() or truth.any()):
        return 1.0
    line, true_line = skeleton(prediction), skeleton(truth)
    precision = int((line & truth).sum()) / max(int(line.sum()), 1)
    sensitivity = int((true_line & prediction).sum()) / max(int(true_line.sum()), 1)
    together = precision + sensitivity
    return float(2 * precision * sensitivity / together) if together else 0.0


def image_scores(prediction: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Returns pixel counts and all figures of one image.

    Args:
        prediction: (H, W) bool.
        truth: (H, W) bool.

    Returns:
        ``tp``, ``fp``, ``fn``, ``tn``, those of :data:`SUMMED`, ``boundary_iou`` and ``cldice``.

    Raises:
        ValueError: the masks differ in size.
    """
    counts = confusion(prediction, truth)
    thin = {"boundary_iou": boundary_iou(prediction, truth), "cldice": cl_dice(prediction, truth)}
    return {**counts, **count_scores(counts), **thin}


def summarize_images(images: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Joins what :func:`image_scores` returned for each image.

    Returns:
        The figures of :data:`SUMMED` and :data:`MEAN_OF` (None without images), ``images`` and ``counts``.
    """
    counts = {name: sum(image[name] for image in images) for name in ("tp", "fp", "fn", "tn")}
    summary: dict[str, Any] = dict.fromkeys((*SUMMED, *MEAN_OF))
    if images:
        summary |= count_scores(counts)
        summary |= {name: float(np.mean([image[source] for image in images])) for name, source in MEAN_OF.items()}
    return summary | {"images": len(images), "counts": counts}
