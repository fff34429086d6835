"""Referring segmentation: the mask of what a phrase names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import Deciding, Option, PromptedTask, ScoreCommand

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from ...utils.structures.category import Category
    from ..evaluators.referring import ReferringEvaluator
    from ..records.split import Split


def _score(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from ..evaluators.referring import referring_table
    from ..score.score_prompted import score_referring

    result = score_referring(args.record, args.pred_json, sentences=args.sentences or "first")
    return result, referring_table(result, "0..1")


_SCORE = ScoreCommand(
    name="referring",
    run=_score,
    options=(
        Option("pred_json", "referring_predictions.json of an evaluation"),
        Option("record", "NAME[:SPLIT] with phrases", {"metavar": "NAME"}),
        Option("sentences", "sentences of an object that count (default first)", {"choices": ("first", "all")}),
    ),
    needed=("record", "pred_json"),
    examples=("referring --record kitchen.yaml:val --pred_json referring_predictions.json --sentences all",),
)


class Referring(PromptedTask):
    """The masks of the phrases about an image."""

    name = "referring"
    order = 50
    prompt = "text"
    evaluation_pass = "phrases"
    annotations = "phrases (`grounding` or `refs`)"
    deciding = Deciding("mIoU", 20)
    headline = {"mIoU": 20, "cIoU": 50, "precision@0.5": 50}
    progress = {"Evaluation": ("cIoU", "mIoU")}
    score = _SCORE

    def possible(self, split: Split) -> bool:
        return split.referring is not None

    def offered(self, split: Split, categories: Sequence[Category]) -> bool:
        return split.panoptic is None and split.referring is not None

    def truth_file(self, split: Split) -> Path | None:
        return split.referring

    def evaluator(self) -> type[ReferringEvaluator]:
        from ..evaluators.referring import ReferringEvaluator

        return ReferringEvaluator


TASK = Referring()
