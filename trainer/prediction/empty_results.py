"""Images in which a task found nothing: counted, and told with what may be the cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...datasets.tasks.registry import all_result_tasks, results_of
from ...utils.logging import get_logger
from ...utils.structures.results import Prediction
from ...utils.structures.samples import Sample

log = get_logger(__name__)


@dataclass
class EmptyResults:
    """Counts the images in which a task found nothing; the evaluation loop feeds it as it does evaluators.

    Attributes:
        images: task -> images and frames with its result.
        empty: task -> those in which it found nothing.
    """

    images: Counter[str] = field(default_factory=Counter)
    empty: Counter[str] = field(default_factory=Counter)

    def add(self, prediction: Prediction) -> None:
        """Counts one image or frame."""
        for task, result in results_of(prediction):
            self.images[task.name] += 1
            self.empty[task.name] += task.is_empty(result)

    def process(self, sample: Sample, prediction: Prediction) -> None:
        """Counts one image of an evaluation."""
        self.add(prediction)

    def state(self) -> tuple[Counter[str], Counter[str]]:
        """Returns the counts, for :meth:`merge` on another process."""
        return self.images, self.empty

    def merge(self, states: Sequence[tuple[Counter[str], Counter[str]]]) -> None:
        """Replaces the counts by the sums over all processes' states."""
        self.images = sum((images for images, _ in states), Counter())
        self.empty = sum((empty for _, empty in states), Counter())

    def barren(self) -> list[str]:
        """Returns the tasks that found nothing in any image."""
        tasks = [task.name for task in all_result_tasks() if task.empty_note]
        return [name for name in tasks if 0 < self.images[name] == self.empty[name]]

    def report(self, hints: Mapping[str, str]) -> None:
        """Logs a note for each task that found nothing in some images, a warning where it found nothing in any.

        Args:
            hints: task -> what helps (``MetaArch.empty_hints``).
        """
        for task in all_result_tasks():
            count = self.empty[task.name]
            if count and task.empty_note:
                text = task.empty_note.format(empty=count, images=self.images[task.name])
                text += f"; {hints[task.name]}" if task.name in hints else ""
                if task.name in self.barren():
                    log.warning("%s", text)
                else:
                    log.info("note: %s", text)
