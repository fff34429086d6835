"""The training sets of a run and how an epoch is put together from them. No torch here.

Without ``LOADER.JOINT`` an epoch shows each image of all sets once. With it, ``DATASETS.WEIGHTS`` are the shares of the
sets in the images of an epoch, and an epoch lasts until the set ``LOADER.KEY_DATASET`` has been seen once: a step's
batch is a random draw from all sets by weight. A set that comes short continues in the next epoch where it stopped, in
an order of its own; one that is drawn more often is passed several times.

Sets with a share (``Split.share``) show so many of their images in each epoch, drawn anew without repetition; with a
share above 1 they are shown as a whole that often, and a part once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...utils.config.sections import Shared
from ...utils.errors import ConfigError, DataError
from ..records.image_item import ImageItem
from ..records.list_items import list_items
from ..records.record import Record
from ..records.split import Split
from .samplers import set_order

DataSet = tuple[Record, Split]


@dataclass(frozen=True)
class Mixture:
    """Images of several sets, numbered one set after the other, and how many of each an epoch shows.

    Attributes:
        sizes: images of each set.
        counts: images that an epoch takes from each set.
        redraw: each epoch draws its images anew; False: an epoch goes on where the one before stopped.
    """

    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    redraw: bool = False

    def __len__(self) -> int:
        """Images of an epoch."""
        return sum(self.counts)

    def image(self, slot: int, seed: int, epoch: int, shuffle: bool = True) -> int:
        """Returns the number of an image, 0..sum(sizes)-1.

        Args:
            slot: 0..len-1, a place in the list of the sets' shares; each slot of an epoch is used once.
            seed: of the run.
            epoch: from 0.
            shuffle: pass over each set in random order.
        """
        ends = np.cumsum(self.counts)
        number = int(np.searchsorted(ends, slot, side="right"))
        size, count = self.sizes[number], self.counts[number]
        start, place = sum(self.sizes[:number]), slot - int(ends[number]) + count
        if count == size:
            return start + place
        if self.redraw:
            whole, place = divmod(place, size)
            rest = whole == count // size
            return start + (int(set_order(seed, number, epoch, size)[place]) if rest else place)
        turn, place = divmod(epoch * count + place, size)
        return start + int(set_order(seed, number, turn, size, shuffle)[place])


@dataclass(frozen=True)
class TrainingData:
    """What a run trains on.

    Attributes:
        items: images of all sets, one set after the other.
        mixture: which of them an epoch shows.
        record: the data set whose categories the model is trained for.
    """

    items: list[ImageItem]
    mixture: Mixture
    record: Record

    def __len__(self) -> int:
        """Images of an epoch."""
        return len(self.mixture)


def training_data(
    cfg: Shared, datasets: Sequence[DataSet], listed: Sequence[list[ImageItem]] | None = None, own_key: str = ""
) -> TrainingData:
    """Puts the training sets together.

    Args:
        cfg: configuration.
        datasets: of DATASETS.TRAIN, in that order, then those of the architecture's own key; those with categories
            must have the same ones.
        listed: the images of each set; None: they are listed here.
        own_key: the architecture's own key that names training data, for messages.

    Raises:
        DataError: the sets' categories differ, or a set has no image.
        ConfigError: LOADER.KEY_DATASET names none of the sets.
    """
    if not datasets:
        raise DataError("no training data: DATASETS.TRAIN is empty (give a record file or a name)")
    first = vocabulary_record(datasets)
    for record, split in datasets:
        if has_categories(split) and [c.name for c in record.categories] != [c.name for c in first.categories]:
            raise DataError(
                f"the training sets {first.path} and {record.path} have different categories; "
                "sets that are trained together need the same names in the same order"
            )
    if listed is None:
        listed = [list_items(record, split) for record, split in datasets]
    drop_empty = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    sets = [_kept(record, items, drop_empty) for (record, _), items in zip(datasets, listed, strict=True)]
    mixture = mix(cfg, datasets, [len(items) for items in sets], own_key)
    return TrainingData([item for items in sets for item in items], mixture, first)


def mix(cfg: Shared, datasets: Sequence[DataSet], sizes: Sequence[int], own_key: str = "") -> Mixture:
    """Returns how many images an epoch takes from each set; with LOADER.JOINT at least one.

    Raises:
        ConfigError: LOADER.KEY_DATASET names none of the sets, the shares leave no image, or both say how much.
    """
    if cfg.LOADER.JOINT and len(datasets) != len(cfg.DATASETS.TRAIN):
        raise ConfigError(
            f"LOADER.JOINT mixes the sets of DATASETS.TRAIN by weight, those of {own_key} are mixed by percentage: "
            "switch LOADER.JOINT off"
        )
    if not cfg.LOADER.JOINT:
        counts = tuple(int(size * split.share) for size, (_, split) in zip(sizes, datasets, strict=True))
        if not sum(counts):
            raise ConfigError(f"{own_key}: the percentages leave no image of {sum(sizes)}; raise one of them")
        return Mixture(tuple(sizes), counts, redraw=counts != tuple(sizes))
    weights = cfg.DATASETS.WEIGHTS or [1.0] * len(sizes)
    key = _key_set(cfg.LOADER.KEY_DATASET, cfg.DATASETS.TRAIN, datasets)
    joint = [max(1, round(sizes[key] * weight / weights[key])) for weight in weights]
    return Mixture(tuple(sizes), tuple(joint))


def has_categories(split: Split) -> bool:
    """Tells whether a split's annotations say the category of pixels; one with phrases alone does not."""
    return split.panoptic_json is not None or split.semantic is not None or split.registered is not None


def vocabulary_record(datasets: Sequence[DataSet]) -> Record:
    """Returns the record whose categories the model is trained for: the first set that has some."""
    return next((record for record, split in datasets if has_categories(split)), datasets[0][0])


def _key_set(key: str, names: Sequence[str], datasets: Sequence[DataSet]) -> int:
    """Finds LOADER.KEY_DATASET: a set of that name, else the first whose name holds it."""
    known = [(str(name), record.name) for name, (record, _) in zip(names, datasets, strict=True)]
    matches = [i for i, pair in enumerate(known) if key in pair] or [
        i for i, pair in enumerate(known) if any(key in name for name in pair)
    ]
    if not key or not matches:
        raise ConfigError(
            f"LOADER.KEY_DATASET {key!r} is none of the training sets ({', '.join(record for _, record in known)}); "
            "with LOADER.JOINT it says which set's pass is an epoch"
        )
    return matches[0]


def _kept(record: Record, items: list[ImageItem], drop_empty: bool) -> list[ImageItem]:
    if drop_empty:
        items = [i for i in items if i.panoptic is None or any(not s.iscrowd for s in i.segments)]
    if not items:
        raise DataError(f"{record.path}: no training image" + (" with a segment" if drop_empty else ""))
    return items
