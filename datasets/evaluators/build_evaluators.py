"""From a data set record to its evaluators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...utils.errors import DataError
from ..records.record import Record
from ..records.split import Split
from ..tasks.base import Task
from ..tasks.registry import all_tasks, find_task
from .base import Evaluator


def possible_kinds(split: Split) -> list[str]:
    """Returns the tasks that a split's annotations allow to measure."""
    return [task.name for task in all_tasks() if task.possible(split)]


def build_evaluators(
    record: Record, split: Split, kinds: Sequence[str], options: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Evaluator]:
    """Builds evaluators.

    Args:
        record: the data set.
        split: what is going to be evaluated.
        kinds: names of tasks (:mod:`segfoundry.datasets.tasks`).
        options: kind -> keyword arguments of its evaluator.

    Returns:
        Evaluators by kind, in the order of ``kinds``.

    Raises:
        ConfigError: unknown kind.
        DataError: the split's annotations do not allow one of them.
    """
    options = options or {}
    return {kind: _build(find_task(kind), record, split, options.get(kind, {})) for kind in kinds}


def _build(task: Task, record: Record, split: Split, options: Mapping[str, Any]) -> Evaluator:
    evaluator = task.evaluator()(record.categories, **options)
    if not task.possible(split):
        raise DataError(
            f"{record.path}: split {split.name!r} has no {task.annotations}, the {task.name} evaluator needs them"
        )
    file = task.truth_file(split)
    evaluator.truth_files = (file,) if file is not None and file.is_file() else ()
    return evaluator
