"""Comparison pictures of the worst images of an evaluation, for eval/DATASET/pictures/ and the report.

The evaluation loop treats :class:`WorstPictures` as one more evaluator: ``process`` for each image, ``state`` on every
process, ``merge`` of the gathered states and ``write(folder)`` on rank 0. It yields no metric.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.evaluation.foreground_metrics import confusion, count_scores
from ...utils.image_io import read_image, write_png
from ...utils.structures import Category, PanopticResult, Prediction, Sample
from ...utils.visualizer import comparison, error_share, foreground_comparison


@dataclass(order=True)
class _Entry:
    """One kept image. Ordered by error, then by earlier place in the data set, so that the choice is reproducible."""

    error: float
    order: int
    image_id: str = field(compare=False)
    file_name: str = field(compare=False)
    truth: PanopticResult | np.ndarray = field(compare=False)
    prediction: PanopticResult | np.ndarray = field(compare=False)

    def picture(self, categories: Sequence[Category]) -> np.ndarray:
        """Returns the panels of panoptic maps, or of foreground masks."""
        image = read_image(self.file_name)
        if isinstance(self.truth, PanopticResult) and isinstance(self.prediction, PanopticResult):
            return comparison(image, self.truth, self.prediction, categories)
        assert isinstance(self.truth, np.ndarray) and isinstance(self.prediction, np.ndarray)
        return foreground_comparison(image, self.truth, self.prediction)


class WorstPictures:
    """Keeps the images with the largest share of wrong pixels and writes *truth | prediction | error* pictures.

    Of foreground, which is thin, it is the share of the pixels that are foreground in truth or prediction (1 - IoU).

    Args:
        categories: the data set's categories, in index order.
        count: number of pictures kept; memory holds as many pairs of maps.
    """

    def __init__(self, categories: Sequence[Category], count: int = 12) -> None:
        self.categories = list(categories)
        self.count = count
        self._heap: list[_Entry] = []

    def process(self, sample: Sample, prediction: Prediction) -> None:
        """Considers one image; one without panoptic or foreground truth and prediction is passed over."""
        if self.count <= 0:
            return
        about = (-sample.index, str(sample.image_id), sample.file_name)
        if sample.panoptic is not None and prediction.panoptic is not None:
            error = error_share(sample.panoptic, prediction.panoptic)
            self._keep(_Entry(error, *about, sample.panoptic, prediction.panoptic))
        elif sample.foreground is not None and prediction.foreground is not None:
            truth, mask = sample.foreground, prediction.foreground.mask
            self._keep(_Entry(1 - count_scores(confusion(mask, truth))["iou"], *about, truth, mask))

    def _keep(self, entry: _Entry) -> None:
        if len(self._heap) < self.count:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def state(self) -> list[_Entry]:
        """Returns what was kept, for :meth:`merge` on another process."""
        return list(self._heap)

    def merge(self, states: Sequence[list[_Entry]]) -> None:
        """Replaces what is kept by the worst of all processes' states."""
        self._heap = []
        for entry in (entry for state in states for entry in state):
            self._keep(entry)

    def summarize(self) -> dict[str, Any]:
        """Returns no metric."""
        return {}

    def write(self, folder: Path) -> list[Path]:
        """Writes the pictures, worst first, into ``folder/pictures``; pictures of an earlier evaluation go.

        Returns:
            Paths of the pictures.

        Raises:
            DataError: if an image cannot be read any more.
        """
        target = Path(folder) / "pictures"
        target.mkdir(parents=True, exist_ok=True)
        for old in target.glob("[0-9][0-9][0-9]_*_wrong*.png"):
            old.unlink()
        written = []
        for rank, entry in enumerate(sorted(self._heap, reverse=True), 1):
            name = re.sub(r"[^\w.-]+", "_", entry.image_id)[-80:]
            written.append(target / f"{rank:03d}_{name}_wrong{100 * entry.error:.1f}.png")
            write_png(written[-1], entry.picture(self.categories))
        return written
