"""Builders of the mappers: the only readers of the configuration keys about input sizes and augmentation."""

from __future__ import annotations

from typing import Any

from segfoundry.datasets.catalog import Record
from segfoundry.datasets.mappers.panoptic import PanopticEvalMapper, PanopticTrainMapper
from segfoundry.datasets.mappers.registry import EVAL_MAPPERS, TRAIN_MAPPERS
from segfoundry.datasets.transforms.jitter import LargeScaleJitter
from segfoundry.datasets.transforms.resize import ResizeLongest, ResizeShortest

_COCO = "coco_2017"
"""Record whose evaluation sizes are the keys COCO.INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST."""


@TRAIN_MAPPERS.register("panoptic")
def build_panoptic_train(cfg: Any, record: Record) -> PanopticTrainMapper:
    """Builds the panoptic training mapper from COCO.INPUT and INPUT."""
    keys = cfg.COCO.INPUT
    jitter = LargeScaleJitter(keys.IMAGE_SIZE, keys.MIN_SCALE, keys.MAX_SCALE, keys.RANDOM_FLIP)
    return PanopticTrainMapper(jitter, len(record.categories), cfg.INPUT.MAX_PIXELS)


@EVAL_MAPPERS.register("panoptic")
def build_panoptic_eval(cfg: Any, record: Record) -> PanopticEvalMapper:
    """Builds the panoptic evaluation mapper from the record's or the configuration's sizes."""
    return PanopticEvalMapper(eval_resize(cfg, record), len(record.categories), cfg.INPUT.MAX_PIXELS)


def eval_resize(cfg: Any, record: Record) -> ResizeLongest | ResizeShortest:
    """Returns the resize of evaluation images: what the record says, else long side = the training IMAGE_SIZE."""
    keys = cfg.COCO.INPUT
    if record.min_size_test is not None:
        coco = record.name == _COCO
        shortest = keys.MIN_SIZE_TEST if coco else record.min_size_test
        limit = keys.MAX_SIZE_TEST if coco else record.max_size_test
        return ResizeShortest(shortest, limit if limit is not None else 2**31)
    if record.max_size_test is not None:
        return ResizeLongest(record.max_size_test)
    return ResizeLongest(keys.IMAGE_SIZE)
