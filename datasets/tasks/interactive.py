"""Interactive segmentation: how many clicks the objects of an image need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import Deciding, Option, PromptedTask, ScoreCommand
from .figures import Curve

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from ...utils.structures.category import Category
    from ..evaluators.interactive import InteractiveEvaluator
    from ..records.split import Split


def _score(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from ..evaluators.interactive import click_table
    from ..score.score_prompted import score_interactive

    result = score_interactive(args.pred_json)
    return result, click_table(result)


class Interactive(PromptedTask):
    """The objects of an image, each pointed at by simulated clicks."""

    name = "interactive"
    order = 40
    prompt = "stroke"
    evaluation_pass = "clicks"
    annotations = "panoptic annotations or object PNGs"
    deciding = Deciding("noc@0.85", 50)
    fewer_is_better = ("noc@", "nof@")
    headline = {"noc@0.85": 40, "noc@0.9": 40}
    progress = {"Clicks needed": ("noc@*",)}
    curves = (Curve("iou_by_click", "Mean IoU by click, percent", "clicks"),)
    score = ScoreCommand(
        name="interactive",
        run=_score,
        options=(Option("pred_json", "interactive_clicks.json of an evaluation"),),
        needed=("pred_json",),
        examples=("interactive --pred_json interactive_clicks.json",),
    )

    def possible(self, split: Split) -> bool:
        return any(x is not None for x in (split.panoptic_json, split.registered, split.objects))

    def offered(self, split: Split, categories: Sequence[Category]) -> bool:
        return split.panoptic is None and split.objects is not None

    def evaluator(self) -> type[InteractiveEvaluator]:
        from ..evaluators.interactive import InteractiveEvaluator

        return InteractiveEvaluator


TASK = Interactive()
