"""The training stream: stream index -> sample, the same in every process and worker. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from segfoundry.datasets.catalog import Item, Record, Split, load_items
from segfoundry.datasets.mappers.registry import TrainMapper
from segfoundry.datasets.samplers import augmentation_rng, permutation
from segfoundry.utils.errors import DataError
from segfoundry.utils.structures import Sample

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
    """

    items: Sequence[Item]
    mapper: TrainMapper
    seed: int
    shuffle: bool = True
    skip_corrupt: bool = False

    def __getitem__(self, index: int) -> Sample:
        """Returns the sample of a stream index.

        Raises:
            DataError: an image or annotation is unreadable or inconsistent.
        """
        epoch, place = divmod(index, len(self.items))
        order: np.ndarray = _order(self.seed, epoch, len(self.items), self.shuffle)
        faults: list[str] = []
        for step in range(len(order)):
            item = self.items[order[(place + step) % len(order)]]
            try:
                sample = self.mapper(item, index, augmentation_rng(self.seed, index))
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


def training_items(datasets: Sequence[tuple[Record, Split]], drop_empty: bool = False) -> list[Item]:
    """Lists the images of several training sets, one after the other.

    Args:
        datasets: they must have the same categories.
        drop_empty: leave out images whose annotations hold no segment (a semantic map counts as one).

    Raises:
        DataError: the sets' categories differ, or no image is left.
    """
    if not datasets:
        raise DataError("no training data: DATASETS.TRAIN is empty (give a record file or a name)")
    first = datasets[0][0]
    items = []
    for record, split in datasets:
        if [c.name for c in record.categories] != [c.name for c in first.categories]:
            raise DataError(
                f"the training sets {first.path} and {record.path} have different categories; "
                "sets that are trained together need the same names in the same order"
            )
        items += load_items(record, split)
    if drop_empty:
        items = [i for i in items if i.panoptic is None or any(not s.iscrowd for s in i.segments)]
    if not items:
        raise DataError(f"{first.path}: no training image" + (" with a segment" if drop_empty else ""))
    return items
