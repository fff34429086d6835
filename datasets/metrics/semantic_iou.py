"""Confusion matrix of label maps and the mean-IoU family."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

IGNORED = 255
"""Ground-truth value of pixels that count for nothing."""
_INSIDE = -1
"""Value of pixels that are far from the border of their class."""


def check_labels(labels: np.ndarray, classes: int, ignored: int | None, what: str) -> None:
    """Refuses label maps with values that are no class.

    Raises:
        ValueError: a value is outside 0..classes-1 and not ``ignored``.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "ui":
        raise ValueError(f"{what} must be (H, W) integers, found shape {labels.shape}, {labels.dtype}")
    wrong = (labels < 0) | (labels >= classes)
    if ignored is not None:
        wrong &= labels != ignored
    if wrong.any():
        values, counts = np.unique(labels[wrong], return_counts=True)
        shown = ", ".join(f"{v} ({c} pixels)" for v, c in list(zip(values.tolist(), counts.tolist(), strict=True))[:5])
        rest = "" if ignored is None else f" or {ignored} (ignored)"
        raise ValueError(f"{what} holds {shown}; expected 0..{classes - 1}{rest}")


def confusion_matrix(prediction: np.ndarray, truth: np.ndarray, classes: int, ignored: int = IGNORED) -> np.ndarray:
    """Counts pixels by predicted and true class.

    Args:
        prediction: (H, W) integers 0..C-1.
        truth: (H, W) integers 0..C-1 or ``ignored``.
        classes: C.
        ignored: ground-truth value that is left out.

    Returns:
        (C, C) int64, rows predicted, columns true.

    Raises:
        ValueError: sizes differ or a value is out of range.
    """
    if prediction.shape != truth.shape:
        raise ValueError(
            f"the prediction is {prediction.shape[1]} x {prediction.shape[0]}, "
            f"the ground truth {truth.shape[1]} x {truth.shape[0]} (width x height)"
        )
    check_labels(truth, classes, ignored, "the ground truth")
    check_labels(prediction, classes, None, "the prediction")
    known = truth != ignored
    cells = prediction[known].astype(np.int64) * classes + truth[known]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def boundary_only(labels: np.ndarray) -> np.ndarray:
    """Keeps the labels near class borders (Cheng et al., Boundary IoU, CVPR 2021, section 4).

    A pixel is kept when a 3 x 3 erosion of its class, repeated round(2 % of the image diagonal) times (at least once),
    removes it; outside of the image counts as another class.

    Args:
        labels: (H, W) integers in 0..32767.

    Returns:
        (H, W) int16: the label, or -1 inside of a class.
    """
    height, width = labels.shape
    rounds = max(1, round(0.02 * float(np.hypot(height, width))))
    # n erosions by a 3 x 3 square equal one by a (2n+1) x (2n+1) square; minimum = maximum: a single class inside.
    labels = labels.astype(np.int16)
    padded = cv2.copyMakeBorder(labels, rounds, rounds, rounds, rounds, cv2.BORDER_CONSTANT, value=_INSIDE)
    bar = np.ones((2 * rounds + 1, 1), np.uint8)
    low = cv2.erode(cv2.erode(padded, bar), bar.T)
    high = cv2.dilate(cv2.dilate(padded, bar), bar.T)
    inner = (slice(rounds, rounds + height), slice(rounds, rounds + width))
    return np.where(low[inner] == high[inner], np.int16(_INSIDE), labels)


def boundary_matrix(prediction: np.ndarray, truth: np.ndarray, classes: int, ignored: int = IGNORED) -> np.ndarray:
    """Counts pixels of the boundary maps by predicted and true class; arguments as :func:`confusion_matrix`.

    Returns:
        (C + 1, C + 1) int64, rows predicted; index C stands for "no boundary here".
    """
    known = truth != ignored
    edges = (boundary_only(prediction)[known].astype(np.int64), boundary_only(truth)[known].astype(np.int64))
    p, t = (np.where(edge == _INSIDE, classes, edge) for edge in edges)
    return np.bincount(p * (classes + 1) + t, minlength=(classes + 1) ** 2).reshape(classes + 1, classes + 1)


def iou_scores(matrix: np.ndarray) -> dict[str, Any]:
    """Turns a confusion matrix (C, C), rows predicted, into scores in 0..1.

    Returns:
        ``mIoU``: summed IoU of the true classes over the number of classes that are true or predicted (SEEM, X-Decoder,
        detectron2 up to 0.6: a class that is only predicted counts as 0). ``mIoU_gt``: mean IoU over the true classes
        (current detectron2). ``fwIoU``, ``mACC``, ``pACC``. ``IoU``, ``ACC`` (recall), ``Precision``: lists of C. None
        where nothing counts.
    """
    hits = np.diag(matrix).astype(float)
    true, predicted = matrix.sum(axis=0).astype(float), matrix.sum(axis=1).astype(float)
    occurs = true > 0
    iou = _ratio(hits, true + predicted - hits, occurs)
    recall = _ratio(hits, true, occurs)
    scores: dict[str, Any] = dict.fromkeys(("mIoU", "mIoU_gt", "fwIoU", "mACC", "pACC"))
    if occurs.any():
        scores["mIoU"] = float(iou[occurs].sum() / np.count_nonzero(true + predicted > 0))
        scores["mIoU_gt"] = float(iou[occurs].mean())
        scores["fwIoU"] = float((iou[occurs] * true[occurs]).sum() / true.sum())
        scores["mACC"] = float(recall[occurs].mean())
        scores["pACC"] = float(hits.sum() / true.sum())
    scores["IoU"], scores["ACC"] = _plain(iou), _plain(recall)
    scores["Precision"] = _plain(_ratio(hits, predicted, predicted > 0))
    return scores


def boundary_iou_scores(matrix: np.ndarray) -> dict[str, Any]:
    """Turns a boundary matrix (C + 1, C + 1) into the mean boundary IoU over true classes and its per-class list."""
    hits = np.diag(matrix)[:-1].astype(float)
    true, predicted = matrix.sum(axis=0)[:-1].astype(float), matrix.sum(axis=1)[:-1].astype(float)
    iou = _ratio(hits, true + predicted - hits, true > 0)
    return {"mean": float(iou[true > 0].mean()) if (true > 0).any() else None, "per_class": _plain(iou)}


def _ratio(top: np.ndarray, bottom: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=valid)


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]
