"""Builders of the mappers: the only readers of the configuration keys about input sizes and augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segfoundry.datasets.catalog import Record, Split
from segfoundry.datasets.mappers.interactive import InteractiveTrainMapper, StrokeOptions
from segfoundry.datasets.mappers.interactive_eval import ClickOptions, InteractiveEvalMapper, PhraseOptions
from segfoundry.datasets.mappers.panoptic import PanopticEvalMapper, PanopticTrainMapper
from segfoundry.datasets.mappers.registry import EVAL_MAPPERS, TRAIN_MAPPERS, EvalMapper, TrainMapper
from segfoundry.datasets.strokes.build import start_prompt, training_strokes
from segfoundry.datasets.transforms.color import ColorJitter
from segfoundry.datasets.transforms.jitter import LargeScaleJitter
from segfoundry.datasets.transforms.resize import ResizeLongest, ResizeShortest

_COCO = "coco_2017"
"""Record whose evaluation sizes are the keys COCO.INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST."""


@TRAIN_MAPPERS.register("panoptic")
def build_panoptic_train(cfg: Any, record: Record) -> TrainMapper:
    """Builds the panoptic training mapper from COCO.INPUT and INPUT."""
    return _panoptic_train(cfg, record)


@TRAIN_MAPPERS.register("interactive")
def build_interactive_train(cfg: Any, record: Record) -> TrainMapper:
    """Builds the mapper of prompted training from STROKE_SAMPLER and MODEL.DECODER.{SPATIAL,GROUNDING,LVIS}."""
    tasks, strokes = cfg.MODEL.DECODER, cfg.STROKE_SAMPLER
    return InteractiveTrainMapper(
        _panoptic_train(cfg, record),
        tuple(category.name for category in record.categories),
        StrokeOptions(training_strokes(strokes), strokes.MAX_CANDIDATE) if tasks.SPATIAL.ENABLED else None,
        tasks.GROUNDING.MAX_LEN - 1 if tasks.GROUNDING.ENABLED else None,
        tasks.LVIS.THRES if tasks.LVIS.ENABLED else None,
    )


def _panoptic_train(cfg: Any, record: Record) -> PanopticTrainMapper:
    keys = cfg.COCO.INPUT
    jitter = LargeScaleJitter(keys.IMAGE_SIZE, keys.MIN_SCALE, keys.MAX_SCALE, keys.RANDOM_FLIP)
    color = ColorJitter() if keys.COLOR_AUG_SSD else None
    return PanopticTrainMapper(jitter, len(record.categories), cfg.INPUT.MAX_PIXELS, color)


@EVAL_MAPPERS.register("panoptic")
def build_panoptic_eval(cfg: Any, record: Record, split: Split, kinds: Sequence[str] = ()) -> EvalMapper:
    """Builds the panoptic evaluation mapper from the record's or the configuration's sizes."""
    return _panoptic_eval(cfg, record)


@EVAL_MAPPERS.register("interactive")
def build_interactive_eval(cfg: Any, record: Record, split: Split, kinds: Sequence[str] = ()) -> EvalMapper:
    """Builds the mapper of prompted evaluations from STROKE_SAMPLER.EVAL, REF.INPUT and TEST.SENTENCES."""
    keys = cfg.STROKE_SAMPLER
    start = start_prompt(first_prompt(cfg, split), keys)
    clicks = ClickOptions(start, keys.EVAL.OBJECTS == "things", keys.EVAL.GROUNDING)
    phrases = PhraseOptions(cfg.TEST.SENTENCES, start if cfg.REF.INPUT.SPATIAL else None)
    return InteractiveEvalMapper(
        _panoptic_eval(cfg, record),
        record,
        clicks if "interactive" in kinds else None,
        phrases if "referring" in kinds else None,
    )


def _panoptic_eval(cfg: Any, record: Record) -> PanopticEvalMapper:
    return PanopticEvalMapper(eval_resize(cfg, record), len(record.categories), cfg.INPUT.MAX_PIXELS)


def first_prompt(cfg: Any, split: Split) -> str:
    """Returns the shape of an evaluation's first prompt: what the split says, else the configuration.

    SAM starts with a point or a box (SAM.CLICKS.START), whatever else a split says.
    """
    if "SAM" in cfg:
        return split.prompt if split.prompt in ("Point", "Box") else cfg.SAM.CLICKS.START
    return split.prompt or cfg.STROKE_SAMPLER.EVAL.START


def eval_resize(cfg: Any, record: Record) -> ResizeLongest | ResizeShortest:
    """Returns the resize of evaluation images: what the record says, else long side = the training IMAGE_SIZE."""
    keys, bicubic = cfg.COCO.INPUT, record.resize_test == "bicubic"
    if record.min_size_test is not None:
        coco = record.name == _COCO
        shortest = keys.MIN_SIZE_TEST if coco else record.min_size_test
        limit = keys.MAX_SIZE_TEST if coco else record.max_size_test
        return ResizeShortest(shortest, limit if limit is not None else 2**31, bicubic)
    if record.max_size_test is not None:
        return ResizeLongest(record.max_size_test, bicubic)
    return ResizeLongest(keys.IMAGE_SIZE, bicubic)
