"""Panoptic segmentation: each pixel belongs to one segment, a thing or stuff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import Comparison, Deciding, Option, PredictedImage, ResultTask, ResultWriter, ScoreCommand, category_region

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np

    from ...utils.config.sections import Test
    from ...utils.structures.category import Category
    from ...utils.structures.results import PanopticResult, Prediction
    from ...utils.structures.samples import Sample
    from ..evaluators.panoptic import PanopticEvaluator
    from ..records.split import Split
    from .base import Region
    from .figures import Colors


def _score(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from ..formats.json_file import read_json
    from ..metrics.panoptic_quality import PanopticProtocol
    from ..score.score_panoptic import PanopticFiles, panoptic_table, score_panoptic

    result = score_panoptic(
        PanopticFiles.at(args.gt_json, args.gt_folder),
        PanopticFiles.at(args.pred_json, args.pred_folder),
        protocol=PanopticProtocol(args.reference_area, args.crowd_union),
        workers=args.workers,
        accelerate=not args.no_accelerator,
    )
    names = {c["id"]: str(c.get("name", c["id"])) for c in read_json(args.gt_json)["categories"]}
    return result, panoptic_table(result, names)


_SCORE = ScoreCommand(
    name="panoptic",
    run=_score,
    options=(
        Option("gt_json", "COCO panoptic JSON"),
        Option("gt_folder", "gt_json without .json by default"),
        Option("pred_json", "COCO panoptic JSON"),
        Option("pred_folder", "pred_json without .json by default"),
        Option("reference_area", "believe the JSON's areas, as panopticapi", {"action": "store_true"}),
        Option("crowd_union", "all crowds of a category excuse, not the last", {"action": "store_true"}),
    ),
    needed=("gt_json", "pred_json"),
    examples=("panoptic --gt_json val.json --pred_json pred.json --output metrics.json   (PNGs: val/, pred/)",),
)


class _Comparison(Comparison):
    """Panels of both maps; wrong is the share of judged pixels that have another category or instance."""

    def error_colors(self) -> Colors:
        from ...utils.visualizer import ERROR_COLORS

        return ERROR_COLORS

    def error_share(self, truth: PanopticResult, result: PanopticResult) -> float:
        from ...utils.visualizer import error_share

        return error_share(truth, result)

    def picture(
        self, image: np.ndarray, truth: PanopticResult, kept: PanopticResult, categories: Sequence[Category]
    ) -> np.ndarray:
        from ...utils.visualizer import comparison

        return comparison(image, truth, kept, categories)


class _Writer(ResultWriter):
    """``panoptic/NAME.png`` and, of all images, ``panoptic.json``."""

    def __init__(self, folder: Path, categories: Sequence[Category]) -> None:
        self.folder, self.categories = folder, categories
        self._entries: dict[tuple[int, int], tuple[dict[str, Any], dict[str, Any]]] = {}

    def add(self, image: PredictedImage, result: PanopticResult) -> None:
        from ..formats.panoptic import write_panoptic_png
        from ..writers.predictions import segments_info

        height, width = result.ids.shape
        write_panoptic_png(self.folder / "panoptic" / f"{image.name}.png", result.ids)
        about = {"id": image.image_id, "file_name": image.file_name, "height": height, "width": width}
        segments = segments_info(result, self.categories)
        annotation = {"image_id": image.image_id, "file_name": f"{image.name}.png", "segments_info": segments}
        self._entries[image.place] = (about, annotation)

    def close(self) -> list[Path]:
        from ...utils.files import atomic_write_json
        from ..writers.predictions import category_entry

        entries = [self._entries[place] for place in sorted(self._entries)]
        document = {
            "images": [about for about, _ in entries],
            "annotations": [annotation for _, annotation in entries],
            "categories": [category_entry(c) for c in self.categories],
        }
        atomic_write_json(self.folder / "panoptic.json", document, indent=None)
        return [self.folder / "panoptic.json"]


class Panoptic(ResultTask):
    """The panoptic map of an image."""

    name = "panoptic"
    order = 10
    annotations = "panoptic annotations"
    deciding = Deciding("PQ", 10)
    headline = {"PQ": 10, "SQ": 10, "RQ": 10, "PQ_th": 10, "PQ_st": 10}
    progress = {"Evaluation": ("PQ",)}
    score = _SCORE
    by_category = True
    comparison = _Comparison()
    empty_note = "no segment at all in {empty} of {images} images (panoptic): nothing was sure enough to be kept"

    def possible(self, split: Split) -> bool:
        return split.panoptic_json is not None or split.registered is not None

    def offered(self, split: Split, categories: Sequence[Category]) -> bool:
        return split.panoptic is not None

    def evaluator(self) -> type[PanopticEvaluator]:
        from ..evaluators.panoptic import PanopticEvaluator

        return PanopticEvaluator

    def result(self, prediction: Prediction) -> PanopticResult | None:
        return prediction.panoptic

    def truth(self, sample: Sample) -> PanopticResult | None:
        return sample.panoptic

    def is_empty(self, result: PanopticResult) -> bool:
        return not result.segments

    def memory(self, test: Test) -> float:
        return 42  # the map and the largest arrays it is made from, measured on CPU

    def writer(self, folder: Path, categories: Sequence[Category], **options: bool) -> _Writer:
        return _Writer(folder, categories)

    def draw(self, image: np.ndarray, result: PanopticResult, categories: Sequence[Category]) -> np.ndarray:
        from ...utils.visualizer import draw_panoptic

        return draw_panoptic(image, result, categories)

    def regions(self, result: PanopticResult, categories: Sequence[Category]) -> Iterator[Region]:
        from ...utils.mask_runs import encode_labels

        codes = encode_labels(result.ids, [segment.id for segment in result.segments])
        for segment, code in zip(result.segments, codes, strict=True):
            yield category_region(code, categories[segment.category], segment.score)


TASK = Panoptic()
