"""Semantic segmentation: a category for each pixel."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .base import Deciding, Option, PredictedImage, ResultTask, ResultWriter, ScoreCommand, category_region

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from ...utils.config.sections import Test
    from ...utils.structures.category import Category
    from ...utils.structures.results import Prediction
    from ...utils.structures.samples import Sample
    from ..evaluators.semantic import SemanticEvaluator
    from ..records.split import Split
    from .base import Region


def _score(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from ...utils.structures.category import Category
    from ..evaluators.semantic import semantic_table
    from ..records.catalog import find_record
    from ..score.score_semantic import score_semantic

    if args.record is not None:
        categories = find_record(args.record, "val")[0].categories
    else:
        categories = tuple(Category(i, str(i), False, (0, 0, 0)) for i in range(args.num_classes))
    result = score_semantic(
        args.gt_folder,
        Path(args.pred_folder or args.pred_json),
        categories,
        ignored=255 if args.ignore_value is None else args.ignore_value,
        boundary=args.boundary,
        workers=args.workers,
    )
    return result, semantic_table(result, "0..1")


def _class_count(text: str) -> int:
    """Reads ``--num_classes``."""
    if not text.isdecimal() or not 1 <= int(text) <= 255:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1..255")
    return int(text)


_SCORE = ScoreCommand(
    name="semantic",
    run=_score,
    options=(
        Option("gt_folder"),
        Option("pred_folder"),
        Option("pred_json", "COCO list of results"),
        Option("record", "record with the categories", {"metavar": "NAME"}),
        Option("num_classes", "number of categories, without a record", {"type": _class_count, "metavar": "N"}),
        Option("ignore_value", "ground-truth value left out (default 255)", {"type": int, "metavar": "V"}),
        Option("boundary", "also the boundary IoU", {"action": "store_true"}),
    ),
    needed=("gt_folder",),
    either=(("pred_folder", "pred_json"), ("record", "num_classes")),
    examples=(
        "semantic --gt_folder val/semantic --pred_folder out/semantic --record kitchen.yaml",
        "semantic --gt_folder val/semantic --pred_json sem_seg_predictions.json --record kitchen.yaml",
    ),
)


class _Writer(ResultWriter):
    """``semantic/NAME.png``, with 16 bits for more than 255 categories."""

    def __init__(self, folder: Path, categories: Sequence[Category]) -> None:
        self.folder = folder
        self._type = "uint8" if len(categories) <= 255 else "uint16"

    def add(self, image: PredictedImage, result: np.ndarray) -> None:
        from ...utils.image_io import write_png

        write_png(self.folder / "semantic" / f"{image.name}.png", result.astype(self._type))


class Semantic(ResultTask):
    """The category index of each pixel of an image."""

    name = "semantic"
    order = 30
    annotations = "semantic or panoptic annotations"
    deciding = Deciding("mIoU", 20)
    headline = {"mIoU": 20, "pACC": 20}
    progress = {"Evaluation": ("mIoU",)}
    score = _SCORE
    by_category = True

    def possible(self, split: Split) -> bool:
        return any(x is not None for x in (split.panoptic_json, split.registered, split.semantic))

    def offered(self, split: Split, categories: Sequence[Category]) -> bool:
        if split.panoptic is not None or split.semantic is not None:
            return True
        return not any((split.objects, split.referring, split.foreground))  # annotations of another program

    def evaluator(self) -> type[SemanticEvaluator]:
        from ..evaluators.semantic import SemanticEvaluator

        return SemanticEvaluator

    def result(self, prediction: Prediction) -> np.ndarray | None:
        return prediction.semantic

    def truth(self, sample: Sample) -> np.ndarray | None:
        return sample.semantic

    def memory(self, test: Test) -> float:
        return 17  # the map and the largest arrays it is made from, measured on CPU

    def writer(self, folder: Path, categories: Sequence[Category], **options: bool) -> _Writer:
        return _Writer(folder, categories)

    def draw(self, image: np.ndarray, result: np.ndarray, categories: Sequence[Category]) -> np.ndarray:
        from ...utils.visualizer import draw_semantic

        return draw_semantic(image, result, categories)

    def regions(self, result: np.ndarray, categories: Sequence[Category]) -> Iterator[Region]:
        import numpy as np

        from ...utils.mask_runs import encode_labels

        present = np.unique(result).tolist()
        for index, code in zip(present, encode_labels(result, present), strict=True):
            yield category_region(code, categories[index])


TASK = Semantic()
