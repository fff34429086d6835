"""The tasks: every file of this folder that offers a ``TASK``."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

from ...utils.errors import ConfigError, did_you_mean
from .base import PromptedTask, ResultTask, Task
from .figures import Figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...utils.structures.category import Category
    from ...utils.structures.results import Prediction
    from ..records.split import Split


@functools.cache
def all_tasks() -> tuple[Task, ...]:
    """Returns all tasks, in their order."""
    package = importlib.import_module(__package__)
    modules = (
        importlib.import_module(f"{__package__}.{found.name}") for found in pkgutil.iter_modules(package.__path__)
    )
    return tuple(sorted((m.TASK for m in modules if hasattr(m, "TASK")), key=lambda task: task.order))


def find_task(name: str) -> Task:
    """Returns the task of a name.

    Raises:
        ConfigError: there is none; names the closest and all known ones.
    """
    known = {task.name: task for task in all_tasks()}
    if name not in known:
        raise ConfigError(f"unknown task {name!r}{did_you_mean(name, known) or '.'} Known: {', '.join(known)}.")
    return known[name]


def evaluator_names() -> tuple[str, ...]:
    """Returns the names of the tasks that are measured."""
    return tuple(task.name for task in all_tasks() if task.annotations)


def evaluators_in_words() -> tuple[str, ...]:
    """Returns the names of the tasks that are measured, with what the network is prompted by."""
    measured = (task for task in all_tasks() if task.annotations)
    return tuple(
        f"{task.name} ({task.evaluation_pass})" if isinstance(task, PromptedTask) else task.name for task in measured
    )


def offered_evaluators(split: Split, categories: Sequence[Category]) -> tuple[str, ...]:
    """Returns what is measured on a part of a data set where nobody says what is to be measured."""
    return tuple(task.name for task in all_tasks() if task.annotations and task.offered(split, categories))


def prompt_of(name: str) -> str | None:
    """Returns the kind of prompt that a task is measured with; None: networks answer it unasked."""
    task = find_task(name)
    return task.prompt if isinstance(task, PromptedTask) else None


def all_result_tasks() -> tuple[ResultTask, ...]:
    """Returns the tasks that networks answer unasked."""
    return tuple(task for task in all_tasks() if isinstance(task, ResultTask))


def results_of(prediction: Prediction) -> list[tuple[ResultTask, Any]]:
    """Returns the parts of a prediction that are there, with their tasks."""
    found = ((task, task.result(prediction)) for task in all_result_tasks())
    return [(task, result) for task, result in found if result is not None]


def deciding_metric(names: Sequence[str]) -> str | None:
    """Returns which of the metrics ``DATASET/TASK/METRIC`` tells the best weights; None: none of them does.

    Of equal ranks the first one does.
    """
    ranks = {(task.name, task.deciding.metric): task.deciding.rank for task in all_tasks() if task.deciding}
    known = [name for name in names if tuple(name.split("/")[-2:]) in ranks]
    return min(known, key=lambda name: ranks[name.split("/")[-2], name.split("/")[-1]], default=None)


def fewer_is_better(name: str) -> bool:
    """Whether the metric ``DATASET/TASK/METRIC`` is best when smallest."""
    *_, kind, metric = name.split("/")
    return any(task.name == kind and metric.startswith(task.fewer_is_better) for task in all_tasks())


def report_figures() -> dict[str, Figures]:
    """Returns what the report shows of each task, by name."""
    return {
        task.name: Figures(
            task.headline,
            task.progress,
            task.curves,
            task.comparison.error_colors() if isinstance(task, ResultTask) and task.comparison else {},
        )
        for task in all_tasks()
    }
