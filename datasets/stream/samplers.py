"""Which images a step sees: pure functions of (seed, epoch, step), the same for any number of processes and workers.

The *stream* is the endless sequence of epochs: stream index i = epoch * N + place in that epoch's permutation. Step k
takes the B indices from k * B on; an epoch that does not divide by B continues in the next step, so no image is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...utils.errors import ConfigError

_SET_ORDERS = 16
"""Stream of random numbers of the first mixed data set; those below are the other purposes'."""
_VARIANTS = 2**32
"""Stream of random numbers of the first fixed variant of an image."""


def _philox(seed: int, stream: int, index: int) -> np.random.Generator:
    """Returns the generator of one (seed, index); ``stream`` keeps orders and augmentations independent."""
    key = np.array([seed % 2**64, index], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, stream], np.uint64)))


def permutation(seed: int, epoch: int, length: int, shuffle: bool = True) -> np.ndarray:
    """Returns the order (N,) int64 of an epoch's images."""
    return _philox(seed, 1, epoch).permutation(length) if shuffle else np.arange(length)


@lru_cache(maxsize=16)
def set_order(seed: int, number: int, turn: int, length: int, shuffle: bool = True) -> np.ndarray:
    """Returns the order (N,) int64 of one pass over one of several mixed data sets.

    Args:
        seed: of the run.
        number: of the data set, from 0.
        turn: pass over this set, from 0.
        length: its images N.
        shuffle: False: 0..N-1.
    """
    return _philox(seed, _SET_ORDERS + number, turn).permutation(length) if shuffle else np.arange(length)


def augmentation_rng(seed: int, index: int) -> np.random.Generator:
    """Returns the random source of the image at that stream index."""
    return _philox(seed, 2, index)


def variant_rng(seed: int, image: int, variant: int) -> np.random.Generator:
    """Returns the random source of one of the fixed variants of a training image."""
    return _philox(seed, _VARIANTS + variant, image)


def evaluation_rng(seed: int, index: int) -> np.random.Generator:
    """Returns the random source of the image at that place of an evaluation set: the same at every evaluation."""
    return _philox(seed, 3, index)


@dataclass(frozen=True)
class MicroBatch:
    """Images of one forward pass.

    Attributes:
        indices: stream indices.
        positions: place of each within the step's whole batch.
        last: the step ends here.
    """

    indices: tuple[int, ...]
    positions: tuple[int, ...]
    last: bool


def plan_step(step: int, batch: int, rank: int, world: int, largest: int = 0) -> list[MicroBatch]:
    """Cuts the batch of a step over processes, then into micro-batches.

    Args:
        step: optimizer step, from 0.
        batch: images B of the whole step.
        rank: this process, 0..world-1; it takes the rank-th contiguous part.
        world: number of processes; divides ``batch``.
        largest: most images of a micro-batch; 0: no limit.

    Returns:
        This process's micro-batches, of sizes that differ by at most one.
    """
    if batch % world:
        raise ConfigError(
            f"{batch} images per step (TRAIN.BATCH_SIZE_TOTAL * GRADIENT_ACCUMULATE_STEP) do not divide by {world} "
            f"processes; choose {max(batch // world, 1) * world} or {(batch // world + 1) * world}"
        )
    share = batch // world
    parts = -(-share // largest) if largest > 0 else 1
    cuts = [rank * share + share * i // parts for i in range(parts + 1)]
    pieces = []
    for number, (start, stop) in enumerate(zip(cuts[:-1], cuts[1:], strict=True), 1):
        positions = tuple(range(start, stop))
        pieces.append(MicroBatch(tuple(step * batch + p for p in positions), positions, number == parts))
    return pieces


def shard(length: int, rank: int, world: int) -> range:
    """Returns the contiguous part of 0..length-1 that a process evaluates; the parts differ by at most one."""
    return range(length * rank // world, length * (rank + 1) // world)
