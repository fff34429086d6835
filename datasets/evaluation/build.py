"""From a data set record to its evaluators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from segfoundry.datasets.catalog import Record, Split
from segfoundry.datasets.evaluation.base import Evaluator
from segfoundry.datasets.evaluation.instance import InstanceEvaluator
from segfoundry.datasets.evaluation.panoptic import PanopticEvaluator
from segfoundry.datasets.evaluation.semantic import SemanticEvaluator
from segfoundry.utils.errors import DataError
from segfoundry.utils.registry import Registry
from segfoundry.utils.structures import Category

EVALUATORS: Registry[Callable[[Sequence[Category]], Evaluator]] = Registry("evaluator")
for _evaluator in (PanopticEvaluator, SemanticEvaluator, InstanceEvaluator):
    EVALUATORS.register(_evaluator.kind)(_evaluator)


def build_evaluators(record: Record, split: Split, kinds: Sequence[str]) -> dict[str, Evaluator]:
    """Builds evaluators.

    Args:
        record: the data set.
        split: what is going to be evaluated.
        kinds: any of "panoptic", "semantic", "instance".

    Returns:
        Evaluators by kind, in the order of ``kinds``.

    Raises:
        ConfigError: unknown kind.
        DataError: the split's annotations do not allow one of them.
    """
    truth = () if split.panoptic_json is None else (split.panoptic_json,)
    evaluators = {kind: EVALUATORS.get(kind)(record.categories) for kind in kinds}
    for kind, evaluator in evaluators.items():
        evaluator.truth_files = truth
        if kind != "semantic" and split.panoptic_json is None and split.registered is None:
            raise DataError(
                f"{record.path}: split {split.name!r} has no panoptic annotations, the {kind} evaluator needs them"
            )
    return evaluators
