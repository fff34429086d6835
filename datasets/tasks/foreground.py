"""Foreground against background, without categories: cables, say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import (
    Comparison,
    Deciding,
    Option,
    PredictedImage,
    Region,
    ResultTask,
    ResultWriter,
    ScoreCommand,
    WriterOption,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np

    from ...utils.config.sections import Test
    from ...utils.structures.category import Category
    from ...utils.structures.results import ForegroundResult, Prediction
    from ...utils.structures.samples import Sample
    from ..evaluators.foreground import ForegroundEvaluator
    from ..records.split import Split
    from .figures import Colors


def _score(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from ..evaluators.foreground import foreground_table
    from ..score.score_foreground import score_foreground

    result = score_foreground(args.gt_folder, args.pred_folder, workers=args.workers)
    return result, foreground_table(result, "0..1")


_SCORE = ScoreCommand(
    name="foreground",
    run=_score,
    options=(Option("gt_folder"), Option("pred_folder")),
    needed=("gt_folder", "pred_folder"),
    examples=("foreground --gt_folder test/masks --pred_folder predictions/foreground",),
)


class _Comparison(Comparison):
    """Panels of both masks; as foreground is thin, wrong is the share of its pixels in truth or mask (1 - IoU)."""

    def error_colors(self) -> Colors:
        from ...utils.visualizer import FOREGROUND_ERROR_COLORS

        return FOREGROUND_ERROR_COLORS

    def error_share(self, truth: np.ndarray, result: ForegroundResult) -> float:
        from ..metrics.foreground_overlap import confusion, count_scores

        return 1 - count_scores(confusion(result.mask, truth))["iou"]

    def kept(self, result: ForegroundResult) -> np.ndarray:
        return result.mask

    def picture(
        self, image: np.ndarray, truth: np.ndarray, kept: np.ndarray, categories: Sequence[Category]
    ) -> np.ndarray:
        from ...utils.visualizer import foreground_comparison

        return foreground_comparison(image, truth, kept)


class _Writer(ResultWriter):
    """``foreground/NAME.png`` and, on request, ``probability/NAME.png``."""

    def __init__(self, folder: Path, probability: bool) -> None:
        self.folder, self.probability = folder, probability

    def add(self, image: PredictedImage, result: ForegroundResult) -> None:
        from ...utils.image_io import write_png
        from ..formats.foreground import write_foreground

        write_foreground(self.folder / "foreground" / f"{image.name}.png", result.mask)
        if self.probability:
            grey = (result.probability * 255 + 0.5).astype("uint8")
            write_png(self.folder / "probability" / f"{image.name}.png", grey)


class Foreground(ResultTask):
    """The foreground of an image."""

    name = "foreground"
    order = 60
    annotations = "foreground masks, or annotations of things"
    deciding = Deciding("dice", 40)
    fewer_is_better = ("loss",)
    headline = {"iou": 60, "dice": 60, "precision": 60, "recall": 60, "boundary_iou": 60, "cldice": 60}
    progress = {"Evaluation": ("dice", "iou")}
    score = _SCORE
    comparison = _Comparison()
    empty_note = "no foreground at all in {empty} of {images} images"
    options = (
        WriterOption(
            "probability",
            "also write the probability of foreground as PNG files",
            keyword="probability",
            misplaced="--probability is about foreground, which is not predicted here; leave it out",
        ),
    )

    def possible(self, split: Split) -> bool:
        known = (split.panoptic_json, split.registered, split.semantic, split.objects, split.foreground)
        return any(x is not None for x in known)

    def offered(self, split: Split, categories: Sequence[Category]) -> bool:
        return split.foreground is not None

    def evaluator(self) -> type[ForegroundEvaluator]:
        from ..evaluators.foreground import ForegroundEvaluator

        return ForegroundEvaluator

    def result(self, prediction: Prediction) -> ForegroundResult | None:
        return prediction.foreground

    def truth(self, sample: Sample) -> np.ndarray | None:
        return sample.foreground

    def is_empty(self, result: ForegroundResult) -> bool:
        return not result.mask.any()

    def memory(self, test: Test) -> float:
        return 13  # logits, their negative, probabilities, the mask

    def writer(self, folder: Path, categories: Sequence[Category], **options: bool) -> _Writer:
        return _Writer(folder, options.get("probability", False))

    def draw(self, image: np.ndarray, result: ForegroundResult, categories: Sequence[Category]) -> np.ndarray:
        from ...utils.visualizer import draw_foreground

        return draw_foreground(image, result.mask)

    def regions(self, result: ForegroundResult, categories: Sequence[Category]) -> Iterator[Region]:
        from ...utils.masks import encode_masks
        from ...utils.palette import distinct_color

        yield Region("foreground", distinct_color(0), False, None, encode_masks(result.mask[None])[0])


TASK = Foreground()
