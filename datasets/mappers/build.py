"""Builders of the mappers: the only readers of the configuration keys about input sizes and augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...utils.errors import ConfigError
from ..catalog import Record, Split
from ..strokes.box import TightBox
from ..strokes.build import start_prompt, training_strokes
from ..strokes.point import InnermostPoint
from ..transforms.color import ColorJitter
from ..transforms.composite import ForegroundChanges
from ..transforms.crop import RandomCrop
from ..transforms.jitter import LargeScaleJitter
from ..transforms.photometric import FactorJitter
from ..transforms.resize import (
    FixedResize,
    ResizeLongest,
    ResizeShortest,
    ResizeStandard,
    ResizeTwice,
)
from .foreground import ForegroundEvalMapper, ForegroundPictures, ForegroundTrainMapper
from .interactive import InteractiveTrainMapper, StrokeOptions
from .interactive_eval import ClickOptions, InteractiveEvalMapper, PhraseOptions
from .panoptic import PanopticEvalMapper, PanopticTrainMapper
from .promptable import LongSideFlip, PromptableTrainMapper
from .registry import EVAL_MAPPERS, EVAL_RESIZES, TRAIN_MAPPERS, EvalMapper, TrainMapper

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
    return _panoptic_eval(cfg, record, panoptic_resize(cfg, record))


@EVAL_MAPPERS.register("interactive")
def build_interactive_eval(cfg: Any, record: Record, split: Split, kinds: Sequence[str] = ()) -> EvalMapper:
    """Builds the mapper of prompted evaluations from STROKE_SAMPLER.EVAL, REF.INPUT and TEST.SENTENCES."""
    keys = cfg.STROKE_SAMPLER
    start = start_prompt(first_prompt(cfg, split), keys)
    clicks = ClickOptions(start, keys.EVAL.OBJECTS == "things", keys.EVAL.GROUNDING)
    phrases = PhraseOptions(cfg.TEST.SENTENCES, start if cfg.REF.INPUT.SPATIAL else None)
    return InteractiveEvalMapper(
        _panoptic_eval(cfg, record, panoptic_resize(cfg, record)),
        record,
        clicks if "interactive" in kinds else None,
        phrases if "referring" in kinds else None,
    )


def _panoptic_eval(cfg: Any, record: Record, resize: FixedResize) -> PanopticEvalMapper:
    return PanopticEvalMapper(resize, len(record.categories), cfg.INPUT.MAX_PIXELS)


def first_prompt(cfg: Any, split: Split) -> str:
    """Returns the shape of an evaluation's first prompt: what the split says, else the configuration.

    SAM starts with a point or a box (SAM.CLICKS.START), whatever else a split says.
    """
    if "SAM" in cfg:
        return split.prompt if split.prompt in ("Point", "Box") else cfg.SAM.CLICKS.START
    return split.prompt or cfg.STROKE_SAMPLER.EVAL.START


@TRAIN_MAPPERS.register("foreground")
def build_foreground_train(cfg: Any, record: Record) -> TrainMapper:
    """Builds the mapper of training on foreground masks from SAM.DLO and SAM.IMAGE_SIZE."""
    return ForegroundTrainMapper(_foreground_pictures(cfg, record), promptable_resize(cfg, record), _variants(cfg))


@EVAL_MAPPERS.register("foreground")
def build_foreground_eval(cfg: Any, record: Record, split: Split, kinds: Sequence[str] = ()) -> EvalMapper:
    """Builds the mapper of evaluation with foreground masks; TEST.ORIGINAL_SIZE decides where they are compared.

    Simulated clicks are about the objects of a data set, not about its foreground.

    Raises:
        ConfigError: both are asked for.
    """
    if "interactive" in kinds:
        if "foreground" in kinds:
            raise ConfigError(
                f"TEST.EVALUATORS: foreground and interactive of {record.name!r} are measured at different sizes; ask "
                "for one of them at a time"
            )
        return _clicked(cfg, record, split, foreground_resize(cfg, record))
    return ForegroundEvalMapper(
        _foreground_pictures(cfg, record), promptable_resize(cfg, record), cfg.SEED, cfg.TEST.ORIGINAL_SIZE
    )


@TRAIN_MAPPERS.register("promptable")
def build_promptable_train(cfg: Any, record: Record) -> TrainMapper:
    """Builds the mapper of training on objects of any data set from SAM.IMAGE_SIZE and SAM.PROMPTABLE.FLIP_P."""
    geometry = LongSideFlip(promptable_resize(cfg, record), cfg.SAM.PROMPTABLE.FLIP_P)
    base = PanopticTrainMapper(geometry, len(record.categories), cfg.INPUT.MAX_PIXELS)
    return PromptableTrainMapper(base, _foreground_pictures(cfg, record), _variants(cfg))


@EVAL_MAPPERS.register("promptable")
def build_promptable_eval(cfg: Any, record: Record, split: Split, kinds: Sequence[str] = ()) -> EvalMapper:
    """Builds the mapper of evaluation by simulated clicks from SAM.CLICKS."""
    resize = promptable_resize(cfg, record)
    if "interactive" not in kinds:
        return InteractiveEvalMapper(_panoptic_eval(cfg, record, resize), record)
    return _clicked(cfg, record, split, resize)


def _clicked(cfg: Any, record: Record, split: Split, resize: FixedResize) -> InteractiveEvalMapper:
    start = TightBox() if first_prompt(cfg, split) == "Box" else InnermostPoint(1)
    clicks = ClickOptions(start, cfg.SAM.CLICKS.OBJECTS == "things")
    return InteractiveEvalMapper(_panoptic_eval(cfg, record, resize), record, clicks)


def _variants(cfg: Any) -> int:
    return cfg.SAM.CACHE_VARIANTS if cfg.SAM.CACHE_EMBEDDINGS else 0


def _foreground_pictures(cfg: Any, record: Record) -> ForegroundPictures:
    keys, aug = cfg.SAM.DLO.INPUT, cfg.SAM.DLO.AUG
    changes = ForegroundChanges(
        jitter=FactorJitter.around(aug.FG_JITTER),
        jitter_p=aug.FG_P,
        background_crop=RandomCrop(_pair(aug.BG_CROP_SCALE), _pair(aug.BG_CROP_RATIO)),
        background_jitter=FactorJitter.around(aug.BG_JITTER, _pair(aug.BG_BRIGHTNESS)),
        background_blur=_pair(aug.BG_BLUR),
        background_p=aug.BG_P,
        zoom=_pair(aug.CROP_SCALE),
        zoom_p=aug.CROP_P,
        image_jitter=FactorJitter.around(aug.IMG_JITTER),
        image_p=aug.IMG_P,
        flip_p=aug.FLIP_P,
    )
    nearest = keys.MASK_RESIZE == "nearest"
    return ForegroundPictures(_standard(cfg), nearest, changes, aug.FEATHER, record.categories, cfg.INPUT.MAX_PIXELS)


def _pair(numbers: Sequence[float]) -> tuple[float, float]:
    first, second = numbers
    return float(first), float(second)


def _standard(cfg: Any) -> ResizeStandard:
    keys = cfg.SAM.DLO.INPUT
    height, width = keys.STANDARD_SIZE
    return ResizeStandard((height, width), keys.KEEP_ASPECT)


@EVAL_RESIZES.register("panoptic")
@EVAL_RESIZES.register("interactive")
def panoptic_resize(cfg: Any, record: Record) -> FixedResize:
    """Returns what the record says about evaluation images, else long side = the training IMAGE_SIZE."""
    keys, bicubic = cfg.COCO.INPUT, record.resize_test == "bicubic"
    if record.min_size_test is not None:
        coco = record.name == _COCO
        shortest = keys.MIN_SIZE_TEST if coco else record.min_size_test
        limit = keys.MAX_SIZE_TEST if coco else record.max_size_test
        return ResizeShortest(shortest, limit if limit is not None else 2**31, bicubic)
    if record.max_size_test is not None:
        return ResizeLongest(record.max_size_test, bicubic)
    return ResizeLongest(keys.IMAGE_SIZE, bicubic)


@EVAL_RESIZES.register("promptable")
def promptable_resize(cfg: Any, record: Record) -> ResizeLongest:
    """Returns the resize to a long side of SAM.IMAGE_SIZE, as SAM rounds it."""
    return ResizeLongest(cfg.SAM.IMAGE_SIZE, half_up=True)


@EVAL_RESIZES.register("foreground")
def foreground_resize(cfg: Any, record: Record) -> ResizeTwice:
    """Returns the resize to the working size of training, then to that of the network."""
    return ResizeTwice(_standard(cfg), promptable_resize(cfg, record))
