"""What a task is: a kind of result that networks are trained and measured for, in all that the program does with it.

One file of this folder is one task, found by its name (:mod:`segfoundry.datasets.tasks.registry`): its ``TASK``. A task
that a network answers unasked is a :class:`ResultTask`, one that is measured with prompts a :class:`PromptedTask`.
``--help`` and ``config`` read the files, too: nothing heavier than this one is imported at their top.

Letters in shapes: H and W pixels (rows, columns) of an image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...utils.errors import ConfigError
from .figures import Colors, Curve

if TYPE_CHECKING:
    import argparse

    import numpy as np

    from ...utils.config.sections import Test
    from ...utils.masks import Rle
    from ...utils.structures.category import Category
    from ...utils.structures.results import Prediction
    from ...utils.structures.samples import Sample
    from ..evaluators.base import Evaluator
    from ..records.split import Split


@dataclass(frozen=True)
class Option:
    """An option of a verb that a task reads.

    Attributes:
        name: without the dashes.
        text: its help; empty where nothing is special about this task.
        arguments: further arguments of ``ArgumentParser.add_argument``.
    """

    name: str
    text: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Deciding:
    """The metric by which the best weights are told where nobody names one.

    Attributes:
        metric: its name.
        rank: of several tasks the one with the lowest rank decides.
    """

    metric: str
    rank: int


@dataclass(frozen=True)
class ScoreCommand:
    """How ``score`` measures prediction files of a task.

    Attributes:
        name: what the user calls it.
        run: takes the parsed options; returns the figures and their table as text.
        options: what it reads beside --output, --workers and --no_accelerator; --gt_json, --gt_folder, --pred_json
            and --pred_folder exist for all tasks, others are declared here.
        needed: names of those without which it cannot run.
        either: pairs of names of which it needs exactly one.
        examples: command lines for the help.
    """

    name: str
    run: Callable[[argparse.Namespace], tuple[dict[str, Any], str]]
    options: tuple[Option, ...]
    needed: tuple[str, ...] = ()
    either: tuple[tuple[str, str], ...] = ()
    examples: tuple[str, ...] = ()


class Task(ABC):
    """A task, as far as it is measured.

    Attributes:
        name: in TEST.EVALUATORS, the key ``evaluators`` of records, ``--tasks``, ``Request.tasks`` and metrics.json.
        order: place among the tasks; of several results the first one is drawn, shown on the page and compared.
        annotations: what the ground truth must hold, in words; empty: the task is not measured.
        deciding: the metric that tells the best weights; None: the task does not decide.
        fewer_is_better: beginnings of the names of metrics that are best when smallest.
        headline: metric that the report shows first -> rank: of all tasks' metrics the lowest stands first; of equal
            ranks the one written first.
        progress: title of a chart of the report -> metrics whose course over the training it shows, as patterns:
            "noc@*" is every one that begins so.
        curves: what else the report draws.
        score: the measuring of files, or None.
    """

    name: ClassVar[str]
    order: ClassVar[int]
    annotations: ClassVar[str] = ""
    deciding: ClassVar[Deciding | None] = None
    fewer_is_better: ClassVar[tuple[str, ...]] = ()
    headline: ClassVar[Mapping[str, int]] = {}
    progress: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    curves: ClassVar[tuple[Curve, ...]] = ()
    score: ClassVar[ScoreCommand | None] = None

    @property
    def asks(self) -> str:
        """What a network is asked for when the task is measured: a kind of result, or a pass with prompts."""
        return self.name

    def possible(self, split: Split) -> bool:
        """Whether the annotations of a part of a data set allow the measurement."""
        return False

    def offered(self, split: Split, categories: Sequence[Category]) -> bool:
        """Whether it is measured on a data set of these categories where nobody says what is to be measured."""
        return self.possible(split)

    def truth_file(self, split: Split) -> Path | None:
        """Returns the file whose digest tells which ground truth a figure belongs to; None or absent: there is none."""
        return split.panoptic_json

    def evaluator(self) -> Callable[..., Evaluator]:
        """Returns the class of the evaluator, called with the categories and, by name, its options.

        Raises:
            ConfigError: the task is not measured (it has no :attr:`annotations`).
        """
        raise ConfigError(f"{self.name} is not measured")


class PromptedTask(Task):
    """A task that is measured by prompting a network.

    Attributes:
        prompt: the kind of prompt that the network must take, one of ``Promptable.prompt_kinds``.
        evaluation_pass: how it is prompted, a name in ``PASSES`` of :mod:`segfoundry.trainer.evaluation.passes`.
    """

    prompt: ClassVar[str]
    evaluation_pass: ClassVar[str]

    @property
    def asks(self) -> str:
        return self.evaluation_pass


@dataclass(frozen=True)
class PredictedImage:
    """The image that a result is about.

    Attributes:
        place: in JSON files of many images: number of the input file, number of the frame in it.
        name: output name without suffix, which may contain folders.
        image_id: id that JSON files give the image.
        file_name: name of the input file.
    """

    place: tuple[int, int]
    name: str
    image_id: int | str
    file_name: str


class ResultWriter(ABC):
    """Writes the results of one task of many images into a folder."""

    @abstractmethod
    def add(self, image: PredictedImage, result: Any) -> None:
        """Writes, or gathers, the result of one image."""

    def close(self) -> list[Path]:
        """Writes what was gathered; returns the files that are about all images."""
        return []


@dataclass(frozen=True)
class WriterOption(Option):
    """An option of ``predict`` that is on or off and changes what a task writes.

    Attributes:
        keyword: argument of :meth:`ResultTask.writer`.
        misplaced: error where the task is not predicted.
    """

    keyword: str = ""
    misplaced: str = ""


@dataclass(frozen=True)
class Region:
    """A part of an image that the page shows.

    Attributes:
        name: what it is.
        color: RGB, 0..255.
        isthing: countable.
        score: confidence 0..1, or None.
        mask: its pixels.
    """

    name: str
    color: tuple[int, int, int]
    isthing: bool
    score: float | None
    mask: Rle


class Comparison(ABC):
    """How results are set beside their ground truth in pictures of an evaluation's worst images."""

    @abstractmethod
    def error_colors(self) -> Colors:
        """Returns what the colours of the pictures mean."""

    @abstractmethod
    def error_share(self, truth: Any, result: Any) -> float:
        """Returns how wrong a result is, 0..1; it ranks the images."""

    def kept(self, result: Any) -> Any:
        """Returns the part of a result that :meth:`picture` needs; it is held in memory and sent between processes."""
        return result

    @abstractmethod
    def picture(self, image: np.ndarray, truth: Any, kept: Any, categories: Sequence[Category]) -> np.ndarray:
        """Returns the picture (h, w, 3) uint8 RGB of an image (H, W, 3) uint8 RGB."""


class ResultTask(Task):
    """A task that a network answers without prompts: what ``predict`` writes and draws.

    Attributes:
        by_category: the result tells categories apart.
        needs_original: the network answers from ``Sample.original``, in predictions and evaluations; the features of a
            resized image are not enough.
        options: of ``predict``.
        comparison: pictures of the worst images, or None.
        memory_advice: what helps where the results of an image need too much memory, beside smaller images.
        empty_note: sentence about images where :meth:`is_empty`, with ``{empty}`` and ``{images}`` for their numbers.
    """

    by_category: ClassVar[bool] = False
    needs_original: ClassVar[bool] = False
    options: ClassVar[tuple[WriterOption, ...]] = ()
    comparison: ClassVar[Comparison | None] = None
    memory_advice: ClassVar[str] = ""
    empty_note: ClassVar[str] = ""

    def result(self, prediction: Prediction) -> Any:
        """Returns the task's part of a prediction; None: it was not asked for."""
        return prediction.extra.get(self.name)

    def truth(self, sample: Sample) -> Any:
        """Returns the task's ground truth of a sample, which :attr:`comparison` compares results with; or None."""
        return sample.extra.get(self.name)

    def is_empty(self, result: Any) -> bool:
        """Whether nothing was found in an image; counted for :attr:`empty_note`."""
        return False

    @abstractmethod
    def memory(self, test: Test) -> float:
        """Returns the bytes per pixel that a result takes at the peak, with the arrays it is made from."""

    @abstractmethod
    def writer(self, folder: Path, categories: Sequence[Category], **options: bool) -> ResultWriter:
        """Returns what writes results into a folder.

        Args:
            folder: the output folder, which other tasks write into, too.
            categories: the vocabulary, in index order.
            options: the keywords of :attr:`options` that are given.
        """

    @abstractmethod
    def draw(self, image: np.ndarray, result: Any, categories: Sequence[Category]) -> np.ndarray:
        """Returns the image (H, W, 3) uint8 RGB with the result painted over it."""

    @abstractmethod
    def regions(self, result: Any, categories: Sequence[Category]) -> Iterator[Region]:
        """Yields the parts of the image that the page shows."""


def category_region(mask: Rle, category: Category, score: float | None = None) -> Region:
    """Returns the pixels of a category as the page shows them."""
    return Region(category.name, category.color, category.isthing, score, mask)
