"""What every evaluator offers."""

from __future__ import annotations

import fnmatch
import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ...utils.structures.category import Category
from ...utils.structures.results import Prediction
from ...utils.structures.samples import Sample

METRIC_VERSION = 1
"""Raised whenever a figure of the same name would come out differently."""


class Evaluator(ABC):
    """Scores predictions of one data set.

    The state is counts and lists of per-image values, never full-size masks; it can be pickled and merged, and the
    summary does not depend on how the images were spread over processes.

    Attributes:
        table_file: name of the file with the table.
        truth_files: ground-truth files whose digests go into :meth:`protocol`.
        units: pattern of a figure's name in the summary ("a/b": b inside a) -> its unit, where that is not percent.
    """

    table_file: ClassVar[str]
    truth_files: tuple[Path, ...] = ()
    units: ClassVar[Mapping[str, str]] = {"images": "images", "counts": "numbers"}

    @abstractmethod
    def process(self, sample: Sample, prediction: Prediction) -> None:
        """Adds one image.

        Args:
            sample: its ground truth, at the original size.
            prediction: at the same size.

        Raises:
            DataError: the ground truth is missing or inconsistent, or the sizes differ; names the image.
        """

    @abstractmethod
    def state(self) -> Any:
        """Returns what was gathered so far: plain Python and numpy, to be sent to another process."""

    @abstractmethod
    def merge(self, states: list[Any]) -> None:
        """Replaces what was gathered by the union of ``states``, which come in rank order and include one's own."""

    @abstractmethod
    def summarize(self) -> dict[str, Any]:
        """Returns the metrics in percent but for :attr:`units`: scalars at the top, breakdowns nested.

        None stands where nothing counts.
        """

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Returns the options that decide the figures."""

    def protocol(self) -> dict[str, Any]:
        """Returns metric version, options and digests of the ground-truth files, for ``metrics.json``."""
        digests = {path.name: combined_sha256([path]) for path in self.truth_files}
        return {"metric_version": METRIC_VERSION, **self.options(), "ground_truth_sha256": digests}

    @abstractmethod
    def table(self, summary: dict[str, Any]) -> str:
        """Returns a summary as text: overall figures, then one line per category."""

    @abstractmethod
    def write(self, folder: Path) -> list[Path]:
        """Writes the gathered predictions, so that they can be scored again from files; returns what was written."""


def units_in(summary: Mapping[str, Any], units: Mapping[str, str]) -> dict[str, str]:
    """Returns the units of the figures in a summary, by name; patterns of nested ones stay patterns."""
    found: dict[str, str] = {}
    for pattern, unit in units.items():
        names = [pattern] if "/" in pattern else fnmatch.filter(summary, pattern)
        found |= dict.fromkeys(names, unit)
    return found


class ImageEvaluator(Evaluator):
    """An evaluator that keeps one entry per image, in data set order.

    Entries are mappings with the key ``index``, the image's place in the data set.
    """

    def __init__(self) -> None:
        self._images: list[dict[str, Any]] = []

    def state(self) -> Any:  # noqa: D102
        return self._images

    def merge(self, states: list[Any]) -> None:  # noqa: D102
        self._images = sorted((image for state in states for image in state), key=lambda image: image["index"])


def category_labels(categories: Sequence[Category]) -> list[str]:
    """Returns the category names, made unique by the id where a name occurs twice."""
    count = Counter(c.name for c in categories)
    return [c.name if count[c.name] == 1 else f"{c.name} ({c.id})" for c in categories]


def combined_sha256(paths: Iterable[Path]) -> str:
    """Returns one hexadecimal digest over the lengths and contents of files, in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        data = path.read_bytes()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()
