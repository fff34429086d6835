"""What a mapper is, and the table of mapper builders; an architecture asks for one by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ...utils.registry import Registry
from ...utils.structures import Sample
from ..catalog import Item, Record, Split
from ..transforms.resize import FixedResize


class TrainMapper(Protocol):
    """Turns an item into a training sample.

    It may have an attribute ``variants``: 0, or the number of fixed random variants that an image is shown in, one
    per epoch in turn.
    """

    def __call__(self, item: Item, index: int, rng: np.random.Generator) -> Sample:
        """Makes the sample of stream index ``index``; every random number comes from ``rng``."""


class EvalMapper(Protocol):
    """Turns an item into an evaluation sample with ground truth at the original size."""

    def __call__(self, item: Item, index: int) -> Sample:
        """Makes the sample of place ``index`` in the data set."""

    def input_size(self, item: Item) -> tuple[int, int]:
        """Returns (height, width) of the image that the model will see, without decoding the image."""


TRAIN_MAPPERS: Registry[Callable[[Any, Record], TrainMapper]] = Registry("training mapper")
EVAL_MAPPERS: Registry[Callable[[Any, Record, Split, Sequence[str]], EvalMapper]] = Registry("evaluation mapper")
"""Called with configuration, data set, split, and the kinds of the evaluators that will read the samples."""
EVAL_RESIZES: Registry[Callable[[Any, Record], FixedResize]] = Registry("resize of evaluation images")
"""Mapper's name -> how images are resized for evaluation and prediction; called with configuration and data set."""
