"""Everything mode: masks of all that can be told apart in an image, without prompts and categories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import PredictedImage, Region, ResultTask, ResultWriter, WriterOption

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np

    from ...utils.config.sections import Test
    from ...utils.structures.category import Category
    from ...utils.structures.results import Prediction

    Records = list[dict[str, Any]]
    """See :attr:`segfoundry.utils.structures.results.Prediction.everything`."""


class _Writer(ResultWriter):
    """``everything/NAME.json``, or PNG files with a table, see :mod:`segfoundry.datasets.writers.everything`."""

    def __init__(self, folder: Path, png: bool) -> None:
        self.folder, self.png = folder, png

    def add(self, image: PredictedImage, result: Records) -> None:
        from ..writers.everything import write_everything_json, write_everything_png

        write = write_everything_png if self.png else write_everything_json
        write(self.folder / "everything", image.name, result)


class Everything(ResultTask):
    """All masks of an image; they are not measured."""

    name = "everything"
    order = 70
    needs_original = True  # the network is asked about crops of the image, too
    empty_note = "everything mode found no mask in {empty} of {images} images: none passed its filters"
    options = (
        WriterOption(
            "png",
            "write everything's masks as PNG files and metadata.csv instead of JSON",
            keyword="everything_png",
            misplaced="--png is about the masks of everything; add --tasks everything",
        ),
    )

    def result(self, prediction: Prediction) -> Records | None:
        return prediction.everything

    def is_empty(self, result: Records) -> bool:
        return not result

    def memory(self, test: Test) -> float:
        return 20  # one mask: its logits, a copy, its pixels; and the picture that all masks are drawn on

    def writer(self, folder: Path, categories: Sequence[Category], **options: bool) -> _Writer:
        return _Writer(folder, options.get("everything_png", False))

    def draw(self, image: np.ndarray, result: Records, categories: Sequence[Category]) -> np.ndarray:
        from ...utils.masks import decode_masks
        from ...utils.visualizer import draw_masks

        ordered = sorted(result, key=lambda record: -record["area"])  # small masks on top
        return draw_masks(image, (decode_masks([r["segmentation"]], image.shape[:2])[0] for r in ordered))

    def regions(self, result: Records, categories: Sequence[Category]) -> Iterator[Region]:
        from ...utils.palette import distinct_color

        for number, record in enumerate(result):
            yield Region("region", distinct_color(number), False, record["predicted_iou"], record["segmentation"])


TASK = Everything()
