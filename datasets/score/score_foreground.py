"""Figures of foreground masks in files: PNG against PNG."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ...utils.errors import DataError
from ..evaluators.base import METRIC_VERSION, combined_sha256
from ..formats.foreground import read_foreground
from ..metrics.foreground_overlap import CONVENTIONS, image_scores, summarize_images
from .label_files import label_files


def score_foreground(gt_folder: str | Path, pred_folder: str | Path, *, workers: int = 1) -> dict[str, Any]:
    """Scores foreground masks; whatever is not black is foreground.

    Args:
        gt_folder: mask pictures, sub-folders included.
        pred_folder: mask pictures of the same relative names (any suffix); further ones are not read.
        workers: threads.

    Returns:
        The figures of :func:`summarize_images` in 0..1; ``per_image``: name -> figures; further ``unit``,
        ``metric_version``, ``protocol``, ``ground_truth_sha256``.

    Raises:
        DataError: a file is missing or unreadable, or sizes differ; names the file.
    """
    truth, predicted = label_files(Path(gt_folder)), label_files(Path(pred_folder))
    missing = [name for name in truth if name not in predicted]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise DataError(f"{pred_folder}: no prediction for {len(missing)} of {len(truth)} masks: {shown}")

    def one(name: str) -> dict[str, Any]:
        try:
            return image_scores(read_foreground(predicted[name]), read_foreground(truth[name]))
        except ValueError as error:
            raise DataError(f"{truth[name]} against {predicted[name]}: {error}") from error

    with ThreadPoolExecutor(max(workers, 1)) as pool:
        images = dict(zip(truth, pool.map(one, truth), strict=True))
    return summarize_images(list(images.values())) | {
        "per_image": images,
        "unit": "fraction",
        "metric_version": METRIC_VERSION,
        "protocol": {"metric": "foreground", **CONVENTIONS},
        "ground_truth_sha256": {"png": combined_sha256(truth.values())},
    }
