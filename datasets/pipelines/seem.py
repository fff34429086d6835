"""Samples of SEEM: panoptic maps, strokes on some of their objects, sentences and their masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ...modeling.seem.config import SeemConfig
from ...modeling.seem.config_data import StrokeSampler as StrokeKeys
from ...utils.errors import ConfigError
from ...utils.registry import Registry
from ...utils.structures.requests import ClickProtocol
from ..mappers.base import EvalMapper, TrainMapper
from ..mappers.interactive import InteractiveTrainMapper, StrokeOptions
from ..mappers.interactive_eval import ClickOptions, InteractiveEvalMapper, PhraseOptions
from ..mappers.panoptic import PanopticEvalMapper, PanopticTrainMapper
from ..records.record import Record
from ..records.split import Split
from ..stream.mixture import DataSet, has_categories
from ..strokes.base import StrokeSampler
from ..strokes.box import TightBox
from ..strokes.mixed import MixedStrokes
from ..strokes.point import InnermostPoint, RandomPoints
from ..strokes.polygon import ClosedCurve
from ..strokes.scribble import BrushStrokes
from ..transforms.color import ColorJitter
from ..transforms.jitter import LargeScaleJitter
from ..transforms.resize import FixedResize, ResizeLongest, ResizeShortest
from .base import Pipeline

_COCO = "coco_2017"
"""Record whose evaluation sizes are the keys COCO.INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST."""


class SeemPipeline(Pipeline[SeemConfig]):
    """Makes the samples of SEEM; the sizes of COCO.INPUT count for every data set."""

    def train_mapper(self, record: Record) -> TrainMapper:
        """Builds the mapper of training from COCO.INPUT, STROKE_SAMPLER and MODEL.DECODER.{SPATIAL,GROUNDING,LVIS}."""
        tasks, strokes = self.cfg.MODEL.DECODER, self.cfg.STROKE_SAMPLER
        return InteractiveTrainMapper(
            self._panoptic_train(record),
            tuple(category.name for category in record.categories),
            StrokeOptions(training_strokes(strokes), strokes.MAX_CANDIDATE) if tasks.SPATIAL.ENABLED else None,
            tasks.GROUNDING.MAX_LEN - 1 if tasks.GROUNDING.ENABLED else None,
            tasks.LVIS.THRES if tasks.LVIS.ENABLED else None,
        )

    def _panoptic_train(self, record: Record) -> PanopticTrainMapper:
        keys = self.cfg.COCO.INPUT
        jitter = LargeScaleJitter(keys.IMAGE_SIZE, keys.MIN_SCALE, keys.MAX_SCALE, keys.RANDOM_FLIP)
        color = ColorJitter() if keys.COLOR_AUG_SSD else None
        limits = self.cfg.INPUT
        return PanopticTrainMapper(jitter, len(record.categories), limits.MAX_PIXELS, color, limits.BIT_DEPTH)

    def eval_mapper(self, record: Record, split: Split, kinds: Sequence[str] = ()) -> EvalMapper:
        """Builds the mapper of evaluation; STROKE_SAMPLER.EVAL, REF.INPUT and TEST.SENTENCES decide the prompts."""
        keys = self.cfg.STROKE_SAMPLER
        start = start_prompt(self._first_prompt(split), keys)
        texts_key = "STROKE_SAMPLER.EVAL.GROUNDING" if keys.EVAL.GROUNDING else ""
        clicks = ClickOptions(start, keys.EVAL.OBJECTS == "things", texts_key)
        phrases = PhraseOptions(self.cfg.TEST.SENTENCES, start if self.cfg.REF.INPUT.SPATIAL else None)
        return InteractiveEvalMapper(
            PanopticEvalMapper(
                self.eval_resize(record), len(record.categories), self.cfg.INPUT.MAX_PIXELS, self.cfg.INPUT.BIT_DEPTH
            ),
            record,
            clicks if "interactive" in kinds else None,
            phrases if "referring" in kinds else None,
        )

    def eval_resize(self, record: Record) -> FixedResize:
        """Returns what the record says about evaluation images, else long side = the training IMAGE_SIZE."""
        keys, bicubic = self.cfg.COCO.INPUT, record.resize_test == "bicubic"
        if record.min_size_test is not None:
            coco = record.name == _COCO
            shortest = keys.MIN_SIZE_TEST if coco else record.min_size_test
            limit = keys.MAX_SIZE_TEST if coco else record.max_size_test
            return ResizeShortest(shortest, limit if limit is not None else 2**31, bicubic)
        if record.max_size_test is not None:
            return ResizeLongest(record.max_size_test, bicubic)
        return ResizeLongest(keys.IMAGE_SIZE, bicubic)

    def training_notices(self, train: Sequence[DataSet], written: Callable[[str], bool]) -> list[str]:
        """Returns which sets train no texts, and whether finer masks are asked for that no set has."""
        decoder, notices = self.cfg.MODEL.DECODER, []
        if decoder.GROUNDING.ENABLED:
            notices += [
                f"data set {record.name!r}, split {split.name!r} has neither phrases nor categories: as published, a "
                "step with one of its images trains no texts at all (MODEL.DECODER.GROUNDING)"
                for record, split in train
                if not split.referring and not has_categories(split)
            ]
        key = "MODEL.DECODER.LVIS.ENABLED"
        if decoder.LVIS.ENABLED and written(key) and not any(split.instances for _, split in train):
            notices.append(
                f"{key} changes nothing: no training set names a file of finer masks (`instances` of its split)"
            )
        return notices

    def click_protocol(self, split: Split | None = None) -> ClickProtocol:
        """Returns how clicks are simulated: STROKE_SAMPLER.EVAL and DILATION."""
        keys = self.cfg.STROKE_SAMPLER
        return ClickProtocol(keys.EVAL.MAX_ITER, keys.EVAL.MODE, keys.DILATION, keys.EVAL.GROUNDING)

    def evaluator_options(self, split: Split, kinds: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Returns kind -> arguments of its evaluator: TEST.SENTENCES and STROKE_SAMPLER.EVAL."""
        options = super().evaluator_options(split, kinds)
        if "interactive" in kinds:
            keys = self.cfg.STROKE_SAMPLER.EVAL
            if keys.IOU_ITER > keys.MAX_ITER:
                raise ConfigError(
                    f"STROKE_SAMPLER.EVAL.IOU_ITER is {keys.IOU_ITER}, expected at most MAX_ITER "
                    f"({keys.MAX_ITER} clicks)"
                )
            start = self._first_prompt(split)
            options["interactive"] = {"max_clicks": keys.MAX_ITER, "iou_click": keys.IOU_ITER, "start": start}
        return options

    def _first_prompt(self, split: Split) -> str:
        """Returns the shape of an evaluation's first prompt: what the split says, else STROKE_SAMPLER.EVAL.START."""
        return split.prompt or self.cfg.STROKE_SAMPLER.EVAL.START


STROKES: Registry[Callable[[StrokeKeys], StrokeSampler]] = Registry("stroke")
"""Shape of a training stroke -> builder from the section STROKE_SAMPLER."""


@STROKES.register("Point")
def _points(keys: StrokeKeys) -> StrokeSampler:
    return RandomPoints(keys.POINT.NUM_POINTS)


@STROKES.register("Polygon")
def _polygon(keys: StrokeKeys) -> StrokeSampler:
    return ClosedCurve(keys.POLYGON.MAX_POINTS)


@STROKES.register("Scribble")
def _scribble(keys: StrokeKeys) -> StrokeSampler:
    return BrushStrokes(keys.SCRIBBLE.NUM_STROKES, keys.SCRIBBLE.STROKE_PRESET, keys.SCRIBBLE.STROKE_PROB)


@STROKES.register("Circle")
def _circle(keys: StrokeKeys) -> StrokeSampler:
    return BrushStrokes(keys.CIRCLE.NUM_STROKES, keys.CIRCLE.STROKE_PRESET, keys.CIRCLE.STROKE_PROB)


def training_strokes(keys: StrokeKeys) -> MixedStrokes:
    """Builds the mixture of training from the section STROKE_SAMPLER."""
    return MixedStrokes([STROKES.get(name)(keys) for name in keys.CANDIDATE_NAMES], list(keys.CANDIDATE_PROBS))


def start_prompt(name: str, keys: StrokeKeys) -> StrokeSampler:
    """Builds the sampler of an evaluation's first prompt.

    Args:
        name: one of ``START_PROMPTS``; Point is one click on the innermost pixel, Scribble and Circle one stroke from
            there.
        keys: the section STROKE_SAMPLER.
    """
    if name == "Point":
        return InnermostPoint(keys.DILATION)
    if name == "Box":
        return TightBox()
    sampler = STROKES.get(name)(keys)
    return replace(sampler, from_middle=True) if isinstance(sampler, BrushStrokes) else sampler
