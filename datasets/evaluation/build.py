"""From a data set record to its evaluators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...utils.errors import DataError
from ...utils.registry import Registry
from ..catalog import Record, Split
from .base import Evaluator
from .foreground import ForegroundEvaluator
from .instance import InstanceEvaluator
from .interactive import InteractiveEvaluator
from .panoptic import PanopticEvaluator
from .referring import ReferringEvaluator
from .semantic import SemanticEvaluator

EVALUATORS: Registry[Callable[..., Evaluator]] = Registry("evaluator")
for _evaluator in (
    PanopticEvaluator,
    SemanticEvaluator,
    InstanceEvaluator,
    InteractiveEvaluator,
    ReferringEvaluator,
    ForegroundEvaluator,
):
    EVALUATORS.register(_evaluator.kind)(_evaluator)

_NEEDS = {
    "panoptic": "panoptic annotations",
    "instance": "panoptic annotations",
    "semantic": "semantic or panoptic annotations",
    "interactive": "panoptic annotations or object PNGs",
    "referring": "phrases (`grounding` or `refs`)",
    "foreground": "foreground masks, or annotations of things",
}


def possible_kinds(split: Split) -> list[str]:
    """Returns the kinds of evaluator that a split's annotations allow."""
    panoptic = split.panoptic_json is not None or split.registered is not None
    things = panoptic or split.semantic is not None or split.objects is not None
    possible = {
        "panoptic": panoptic,
        "instance": panoptic,
        "semantic": panoptic or split.semantic is not None,
        "interactive": panoptic or split.objects is not None,
        "referring": split.referring is not None,
        "foreground": things or split.foreground is not None,
    }
    return [kind for kind, is_possible in possible.items() if is_possible]


def build_evaluators(
    record: Record, split: Split, kinds: Sequence[str], options: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Evaluator]:
    """Builds evaluators.

    Args:
        record: the data set.
        split: what is going to be evaluated.
        kinds: any of "panoptic", "semantic", "instance", "interactive", "referring", "foreground".
        options: kind -> keyword arguments of its evaluator.

    Returns:
        Evaluators by kind, in the order of ``kinds``.

    Raises:
        ConfigError: unknown kind.
        DataError: the split's annotations do not allow one of them.
    """
    options = options or {}
    evaluators = {kind: EVALUATORS.get(kind)(record.categories, **options.get(kind, {})) for kind in kinds}
    possible = possible_kinds(split)
    for kind, evaluator in evaluators.items():
        evaluator.truth_files = _truth_files(split, kind)
        if kind not in possible:
            raise DataError(
                f"{record.path}: split {split.name!r} has no {_NEEDS[kind]}, the {kind} evaluator needs them"
            )
    return evaluators


def _truth_files(split: Split, kind: str) -> tuple[Path, ...]:
    """Returns the files whose digests tell which ground truth a figure belongs to."""
    file = split.referring if kind == "referring" else split.panoptic_json
    return (file,) if file is not None and file.is_file() else ()
