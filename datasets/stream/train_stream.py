"""The training stream: stream index -> sample, the same in every process and worker. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...utils.errors import DataError
from ...utils.structures.samples import Sample
from ..mappers.base import TrainMapper
from ..records.image_item import ImageItem
from .mixture import Mixture
from .samplers import augmentation_rng, permutation, variant_rng

SKIPPED = "skipped_files"
"""Key of ``Sample.extra``: messages about unreadable images that this sample stands in for."""

_order = lru_cache(maxsize=2)(permutation)


@dataclass(frozen=True)
class TrainStream:
    """Endless, randomly accessible sequence of training samples.

    Attributes:
        items: images of all training sets, one after the other.
        mapper: turns an item into a sample.
        seed: decides order and augmentation.
        shuffle: new order in each epoch.
        skip_corrupt: an unreadable image is replaced by the next one of the epoch's order; False: it raises.
        mixture: which images an epoch shows; None: each once.
    """

    items: Sequence[ImageItem]
    mapper: TrainMapper
    seed: int
    shuffle: bool = True
    skip_corrupt: bool = False
    mixture: Mixture | None = None

    def __getitem__(self, index: int) -> Sample:
        """Returns the sample of a stream index.

        Raises:
            DataError: an image or annotation is unreadable or inconsistent.
        """
        mixture = self.mixture or Mixture((len(self.items),), (len(self.items),))
        epoch, place = divmod(index, len(mixture))
        order: np.ndarray = _order(self.seed, epoch, len(mixture), self.shuffle)
        faults: list[str] = []
        for step in range(len(order)):
            slot = int(order[(place + step) % len(order)])
            image = mixture.image(slot, self.seed, epoch, self.shuffle)
            item = self.items[image]
            try:
                sample = self.mapper(item, index, self._rng(index, image, epoch))
            except DataError as error:
                if not self.skip_corrupt:
                    raise DataError(
                        f"{error} (training image {item.image}; INPUT.ON_CORRUPT skip leaves such out)"
                    ) from error
                faults.append(str(error))
                continue
            if faults:
                sample.extra[SKIPPED] = faults
            return sample
        raise DataError(f"none of the {len(order)} training images can be read; the first says: {faults[0]}")

    def _rng(self, index: int, image: int, epoch: int) -> np.random.Generator:
        """Returns the random source of a sample; a mapper with ``variants`` shows each image in that many ways."""
        variants = getattr(self.mapper, "variants", 0)
        return variant_rng(self.seed, image, epoch % variants) if variants else augmentation_rng(self.seed, index)
