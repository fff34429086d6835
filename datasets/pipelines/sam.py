"""Samples of SAM: foreground before backgrounds (SAM.TASK dlo), or objects of any data set (SAM.TASK promptable)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...modeling.sam.config import SamConfig
from ...utils.errors import ConfigError
from ...utils.structures.requests import ClickProtocol
from ..formats.dlo_folders import parse_entry
from ..mappers.base import EvalMapper, TrainMapper
from ..mappers.foreground import ForegroundEvalMapper, ForegroundPictures, ForegroundTrainMapper
from ..mappers.interactive_eval import ClickOptions, InteractiveEvalMapper
from ..mappers.object_masks import LongSideFlip, PromptableTrainMapper
from ..mappers.panoptic import PanopticEvalMapper, PanopticTrainMapper
from ..records.record import Record
from ..records.split import Split
from ..stream.mixture import DataSet
from ..strokes.box import TightBox
from ..strokes.point import InnermostPoint
from ..transforms.composite import ForegroundChanges
from ..transforms.crop import RandomCrop
from ..transforms.photometric import FactorJitter
from ..transforms.resize import FixedResize, ResizeLongest, ResizeStandard, ResizeTwice
from .base import DataKey, OwnData, Pipeline

_TRAIN = DataKey("SAM.DLO.TRAIN", "[{data_dir: my_cables}]")
_TEST = DataKey("SAM.DLO.TEST", "{data_dir: my_cables}")


class SamPipeline(Pipeline[SamConfig]):
    """Makes the samples of SAM's two tasks."""

    data_name = "SAM.DLO"

    @property
    def _foreground(self) -> bool:
        return self.cfg.SAM.TASK == "dlo"

    def train_mapper(self, record: Record) -> TrainMapper:
        """Builds the mapper of training from SAM.IMAGE_SIZE and SAM.DLO or SAM.PROMPTABLE."""
        keys = self.cfg.SAM
        variants = keys.CACHE_VARIANTS if keys.CACHE_EMBEDDINGS else 0
        if self._foreground:
            return ForegroundTrainMapper(self._pictures(record), self._resize(), variants)
        geometry = LongSideFlip(self._resize(), keys.PROMPTABLE.FLIP_P)
        limits = self.cfg.INPUT
        base = PanopticTrainMapper(geometry, len(record.categories), limits.MAX_PIXELS, bit_depth=limits.BIT_DEPTH)
        return PromptableTrainMapper(base, self._pictures(record), variants)

    def eval_mapper(self, record: Record, split: Split, kinds: Sequence[str] = ()) -> EvalMapper:
        """Builds the mapper of evaluation; SAM.CLICKS decides the clicks, TEST.ORIGINAL_SIZE the size of foreground.

        Simulated clicks are about the objects of a data set, not about its foreground.

        Raises:
            ConfigError: both are asked for.
        """
        if "interactive" in kinds:
            if self._foreground and "foreground" in kinds:
                raise ConfigError(
                    f"TEST.EVALUATORS: foreground and interactive of {record.name!r} are measured at different sizes; "
                    "ask for one of them at a time"
                )
            start = TightBox() if self._first_prompt(split) == "Box" else InnermostPoint(1)
            clicks = ClickOptions(start, self.cfg.SAM.CLICKS.OBJECTS == "things")
            return InteractiveEvalMapper(self._panoptic_eval(record), record, clicks)
        if not self._foreground:
            return InteractiveEvalMapper(self._panoptic_eval(record), record)
        size = self.cfg.TEST.ORIGINAL_SIZE
        return ForegroundEvalMapper(self._pictures(record), self._resize(), self.cfg.SEED, size)

    def _panoptic_eval(self, record: Record) -> PanopticEvalMapper:
        keys = self.cfg.INPUT
        return PanopticEvalMapper(self.eval_resize(record), len(record.categories), keys.MAX_PIXELS, keys.BIT_DEPTH)

    def eval_resize(self, record: Record) -> FixedResize:
        """Returns the resize to SAM.IMAGE_SIZE, of foreground by way of the working size of training."""
        return ResizeTwice(self._standard(), self._resize()) if self._foreground else self._resize()

    def _resize(self) -> ResizeLongest:
        """Returns the resize to a long side of SAM.IMAGE_SIZE, as SAM rounds it."""
        return ResizeLongest(self.cfg.SAM.IMAGE_SIZE, half_up=True)

    def _standard(self) -> ResizeStandard:
        keys = self.cfg.SAM.DLO.INPUT
        height, width = keys.STANDARD_SIZE
        return ResizeStandard((height, width), keys.KEEP_ASPECT)

    def _pictures(self, record: Record) -> ForegroundPictures:
        keys, aug = self.cfg.SAM.DLO.INPUT, self.cfg.SAM.DLO.AUG
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
        nearest, limits = keys.MASK_RESIZE == "nearest", self.cfg.INPUT
        return ForegroundPictures(
            self._standard(),
            nearest,
            changes,
            aug.FEATHER,
            record.categories,
            limits.MAX_PIXELS,
            limits.BIT_DEPTH,
        )

    @property
    def train_key(self) -> DataKey:
        """SAM.DLO.TRAIN; promptable networks train on the same folders, a mask being one object."""
        return _TRAIN

    @property
    def test_key(self) -> DataKey | None:
        """SAM.DLO.TEST, where something is predicted without prompts."""
        return _TEST if self._foreground else None

    def own_data(self) -> OwnData:
        """Turns the entries of SAM.DLO.TRAIN and SAM.DLO.TEST into data sets.

        Raises:
            ConfigError: an entry makes no sense, or all training sets have the percentage 0; names the key.
            DataError: a folder is missing; says which and what is expected.
        """
        entries, test = self.cfg.SAM.DLO.TRAIN, dict(self.cfg.SAM.DLO.TEST)
        notices: list[str] = []
        if test and not self._foreground:
            notices.append(
                f"{_TEST.name} is not used: with SAM.TASK {self.cfg.SAM.TASK} nothing is predicted without prompts"
            )
            test = {}
        for name in ("aug_details", "percentage"):
            if test.pop(name, None) not in (None, [], 1.0):
                notices.append(f"{_TEST.name}.{name} is not used: all test images are measured, without zoom")
        train = []
        for number, entry in enumerate(entries):
            share = _percentage(entry.get("percentage"), f"{_TRAIN.name}.{number}.percentage")
            # A set that is left out need not exist.
            if share > 0:
                train.append(parse_entry(entry, f"{_TRAIN.name}.{number}", "train", share, notices))
        if entries and not train and not self.cfg.DATASETS.TRAIN:
            raise ConfigError(
                f"{_TRAIN.name}: the percentage of all {len(entries)} entries is 0: there is nothing to train on"
            )
        return OwnData(train, [parse_entry(test, _TEST.name, "test", 1.0, notices)] if test else [], notices)

    def check_training(self, train: Sequence[DataSet]) -> None:
        """Refuses a cache of embeddings of images that are new in each epoch.

        Raises:
            ConfigError: names the keys and what changes the images.
        """
        keys = self.cfg.SAM
        if not keys.CACHE_EMBEDDINGS or keys.CACHE_VARIANTS:
            return
        reasons = [
            f"{'w_aug' if split.augment else 'bg_paths'} of {record.path}"
            for record, split in train
            if split.augment or split.backgrounds
        ]
        if not self._foreground and keys.PROMPTABLE.FLIP_P > 0:
            reasons.append("SAM.PROMPTABLE.FLIP_P")
        if reasons:
            named = ", ".join(dict.fromkeys(reasons))  # entries may share a folder
            raise ConfigError(
                f"SAM.CACHE_EMBEDDINGS keeps embeddings of images that do not change; {named} changes them "
                "at random in each epoch: set SAM.CACHE_VARIANTS to a number of fixed variants (8, say), switch the "
                "random change off, or SAM.CACHE_EMBEDDINGS"
            )

    def click_protocol(self, split: Split | None = None) -> ClickProtocol:
        """Returns how clicks are simulated: SAM.CLICKS."""
        boxes = split is not None and self._first_prompt(split) == "Box"
        return ClickProtocol(self.cfg.SAM.CLICKS.MAX_ITER, boxes=boxes)

    def evaluator_options(self, split: Split, kinds: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Returns kind -> arguments of its evaluator: TEST.SENTENCES and SAM.CLICKS."""
        options = super().evaluator_options(split, kinds)
        if "interactive" in kinds:
            keys, start = self.cfg.SAM.CLICKS, self._first_prompt(split)
            options["interactive"] = {"max_clicks": keys.MAX_ITER, "iou_click": keys.IOU_ITER, "start": start}
        return options

    def _first_prompt(self, split: Split) -> str:
        """Returns "Point" or "Box": what the split says, else SAM.CLICKS.START, whatever else a split says."""
        return split.prompt if split.prompt in ("Point", "Box") else self.cfg.SAM.CLICKS.START


def _pair(numbers: Sequence[float]) -> tuple[float, float]:
    first, second = numbers
    return float(first), float(second)


def _percentage(value: Any, where: str) -> float:
    """Returns the share of a set's images; 1 where nothing is said."""
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ConfigError(f"{where} is {value!r}, expected a number from 0 (0.2: a fifth of the images; 2: each twice)")
    return float(value)
