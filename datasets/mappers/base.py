"""What a mapper is: from the files of one image to a sample."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ...utils.structures.samples import Sample
from ..records.image_item import ImageItem


class TrainMapper(Protocol):
    """Turns an item into a training sample.

    It may have an attribute ``variants``: 0, or the number of fixed random variants that an image is shown in, one
    per epoch in turn.
    """

    def __call__(self, item: ImageItem, index: int, rng: np.random.Generator) -> Sample:
        """Makes the sample of stream index ``index``; every random number comes from ``rng``."""


class EvalMapper(Protocol):
    """Turns an item into an evaluation sample with ground truth at the original size."""

    def __call__(self, item: ImageItem, index: int) -> Sample:
        """Makes the sample of place ``index`` in the data set."""

    def input_size(self, item: ImageItem) -> tuple[int, int]:
        """Returns (height, width) of the image that the model will see, without decoding the image."""
