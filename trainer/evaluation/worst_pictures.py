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

from ...datasets.tasks.base import Comparison
from ...datasets.tasks.registry import results_of
from ...utils.image_files.bit_depth import AUTO
from ...utils.image_io import read_image, write_png
from ...utils.structures.category import Category
from ...utils.structures.results import Prediction
from ...utils.structures.samples import Sample


@dataclass(order=True)
class _Entry:
    """One kept image. Ordered by error, then by earlier place in the data set, so that the choice is reproducible."""

    error: float
    order: int
    image_id: str = field(compare=False)
    file_name: str = field(compare=False)
    comparison: Comparison = field(compare=False)
    truth: Any = field(compare=False)
    kept: Any = field(compare=False)

    def picture(self, categories: Sequence[Category], bit_depth: str) -> np.ndarray:
        """Returns the panels of truth and prediction."""
        image = read_image(self.file_name, bit_depth=bit_depth)
        return self.comparison.picture(image, self.truth, self.kept, categories)


class WorstPictures:
    """Keeps the images whose results are most wrong and writes *truth | prediction | error* pictures.

    An image counts by the first of its tasks that has a :class:`~segfoundry.datasets.tasks.base.Comparison`.

    Args:
        categories: the data set's categories, in index order.
        count: number of pictures kept; memory holds as many pairs of maps.
        bit_depth: INPUT.BIT_DEPTH.
    """

    def __init__(self, categories: Sequence[Category], count: int = 12, bit_depth: str = AUTO) -> None:
        self.categories = list(categories)
        self.count = count
        self.bit_depth = bit_depth
        self._heap: list[_Entry] = []

    def process(self, sample: Sample, prediction: Prediction) -> None:
        """Considers one image; one without a result that can be compared with its truth is passed over."""
        if self.count <= 0:
            return
        about = (-sample.index, str(sample.image_id), sample.file_name)
        for task, result in results_of(prediction):
            truth, compared = task.truth(sample), task.comparison
            if compared is not None and truth is not None:
                error = compared.error_share(truth, result)
                self._keep(_Entry(error, *about, compared, truth, compared.kept(result)))
                return

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
            write_png(written[-1], entry.picture(self.categories, self.bit_depth))
        return written
