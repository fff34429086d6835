"""Instance segmentation: scored masks of countable things, which may overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import Deciding, Option, PredictedImage, ResultTask, ResultWriter, ScoreCommand, category_region

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np

    from ...utils.config.sections import Test
    from ...utils.structures.category import Category
    from ...utils.structures.results import InstanceResult, Prediction
    from ..evaluators.instance import InstanceEvaluator
    from ..records.split import Split
    from .base import Region

_MIN_SCORE = 0.5  # of an instance that the page shows


def _score(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from ..evaluators.instance import instance_table
    from ..score.score_instances import score_instances

    result = score_instances(args.gt_json, args.pred_json, accelerate=not args.no_accelerator)
    return result, instance_table(result, "0..1")


_SCORE = ScoreCommand(
    name="instances",
    run=_score,
    options=(Option("gt_json", "COCO instance JSON"), Option("pred_json", "COCO list of results")),
    needed=("gt_json", "pred_json"),
    examples=("instances --gt_json instances_val.json --pred_json coco_instances_results.json",),
)


class _Writer(ResultWriter):
    """``instances.json``: the instances of all images as COCO results."""

    def __init__(self, folder: Path, categories: Sequence[Category]) -> None:
        self.folder, self.categories = folder, categories
        self._entries: dict[tuple[int, int], list[dict[str, Any]]] = {}

    def add(self, image: PredictedImage, result: InstanceResult) -> None:
        from ..writers.predictions import instance_results

        self._entries[image.place] = instance_results(result, image.image_id, self.categories)

    def close(self) -> list[Path]:
        from ...utils.files import atomic_write_json

        results = [entry for place in sorted(self._entries) for entry in self._entries[place]]
        atomic_write_json(self.folder / "instances.json", results, indent=None)
        return [self.folder / "instances.json"]


class Instance(ResultTask):
    """The instances in an image."""

    name = "instance"
    order = 20
    annotations = "panoptic annotations"
    deciding = Deciding("AP", 30)
    headline = {"AP": 30, "AP50": 30}
    progress = {"Evaluation": ("AP",)}
    score = _SCORE
    by_category = True
    empty_note = "no instance in {empty} of {images} images: only countable categories have instances"
    memory_advice = "instances take most: leave that task out, or lower TEST.DETECTIONS_PER_IMAGE"

    def possible(self, split: Split) -> bool:
        return split.panoptic_json is not None or split.registered is not None

    def offered(self, split: Split, categories: Sequence[Category]) -> bool:
        return split.panoptic is not None and any(category.isthing for category in categories)

    def evaluator(self) -> type[InstanceEvaluator]:
        from ..evaluators.instance import InstanceEvaluator

        return InstanceEvaluator

    def result(self, prediction: Prediction) -> InstanceResult | None:
        return prediction.instances

    def is_empty(self, result: InstanceResult) -> bool:
        return not result.masks.any()

    def memory(self, test: Test) -> float:
        return 2 * test.DETECTIONS_PER_IMAGE  # each mask, and its copy in the order of the scores

    def writer(self, folder: Path, categories: Sequence[Category], **options: bool) -> _Writer:
        return _Writer(folder, categories)

    def draw(self, image: np.ndarray, result: InstanceResult, categories: Sequence[Category]) -> np.ndarray:
        from ...utils.visualizer import draw_instances

        return draw_instances(image, result, categories)

    def regions(self, result: InstanceResult, categories: Sequence[Category]) -> Iterator[Region]:
        from ...utils.masks import encode_masks

        for mask, category, score in zip(result.masks, result.categories, result.scores, strict=True):
            if score >= _MIN_SCORE:
                yield category_region(encode_masks(mask[None])[0], categories[int(category)], float(score))


TASK = Instance()
