"""From a configuration and data set records to the loaders of training and evaluation."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from ...utils.allocator import keep_freed_memory
from ...utils.config.sections import Shared
from ...utils.errors import DataError
from ...utils.image_io import read_image
from ...utils.structures.samples import Batch, Sample
from ..mappers.base import EvalMapper
from ..pipelines.base import Pipeline
from ..records.image_item import ImageItem
from ..records.list_items import list_items
from ..records.record import Record
from ..records.split import Split
from ..tasks.base import ResultTask
from ..tasks.registry import find_task
from .collate import collate
from .mixture import TrainingData
from .samplers import MicroBatch, plan_step, shard
from .train_stream import SKIPPED, TrainStream

PREFETCH = 2
"""Batches that each worker prepares ahead."""


class TrainLoader:
    """Yields the micro-batches of one optimizer step at a time.

    Attributes:
        skipped: messages about unreadable images that were replaced so far (INPUT.ON_CORRUPT skip).
    """

    def __init__(self, stream: TrainStream, steps: Sequence[Sequence[MicroBatch]], workers: int, pin: bool) -> None:
        self.skipped: list[str] = []
        self._steps = steps
        self._batches = _Flat(steps)
        self._loader = _loader(_TrainBatches(stream), self._batches, workers, pin)

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[Batch]]:
        loaded = _start(self._loader)
        for plan in self._steps:
            yield [self._take(loaded) for _ in plan]

    def _take(self, loaded: Iterator[Batch | DataError]) -> Batch:
        batch = next(loaded)
        if isinstance(batch, DataError):
            raise batch
        for sample in batch.samples:
            self.skipped += sample.extra.pop(SKIPPED, [])
        return batch


class EvalLoader:
    """Yields the batches of one process's share of a data set, in data set order."""

    def __init__(self, batches: _EvalBatches, workers: int, pin: bool) -> None:
        self._batches = batches
        self._loader = _loader(batches, range(len(batches)), workers, pin)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        for batch in _start(self._loader):
            if isinstance(batch, DataError):
                raise batch
            yield batch


def build_train_loader(
    pipeline: Pipeline[Any], data: TrainingData, *, start_step: int, num_steps: int, rank: int, world: int
) -> TrainLoader:
    """Builds the loader of one process.

    The images of step k depend on SEED, the data, k and the images per step alone, not on workers or processes.

    Args:
        pipeline: makes the samples from the architecture's configuration.
        data: what is trained on.
        start_step: first optimizer step.
        num_steps: number of optimizer steps.
        rank: this process.
        world: number of processes.

    Raises:
        ConfigError: the images per step do not divide by the processes, or a key makes no sense.
    """
    cfg = pipeline.cfg
    stream = TrainStream(
        data.items,
        pipeline.train_mapper(data.record),
        cfg.SEED,
        cfg.TRAIN.SHUFFLE,
        cfg.INPUT.ON_CORRUPT == "skip",
        data.mixture,
    )
    steps = _Steps(start_step, num_steps, images_per_step(cfg), rank, world, largest_micro_batch(cfg, world))
    workers = _worker_count(cfg, len(steps) * len(steps[0]) if len(steps) else 0)
    return TrainLoader(stream, steps, workers, _pin(cfg))


def build_eval_loader(
    pipeline: Pipeline[Any],
    record: Record,
    split: Split,
    *,
    rank: int,
    world: int,
    kinds: Sequence[str] = (),
    items: Sequence[ImageItem] | None = None,
) -> EvalLoader:
    """Builds the evaluation loader of one process: its contiguous share of the images, with ground truth.

    A batch holds neighbours of equal size only, so that no image is padded and its result does not depend on the batch.

    Args:
        pipeline: makes the samples from the architecture's configuration.
        record: the data set.
        split: its part.
        rank: this process.
        world: number of processes.
        kinds: names of the tasks that are measured. Where one needs it, samples hold the image itself
            (``Sample.original``).
        items: the images of the split; None: they are listed here.

    Raises:
        DataError: the data cannot be listed.
    """
    cfg = pipeline.cfg
    if items is None:
        items = list_items(record, split)
    size = max(1, cfg.TEST.BATCH_SIZE_TOTAL // world)
    mapper = pipeline.eval_mapper(record, split, kinds)
    needs_original = any(isinstance(task, ResultTask) and task.needs_original for task in map(find_task, kinds))
    originals = (cfg.INPUT.MAX_PIXELS, cfg.INPUT.BIT_DEPTH) if needs_original else None
    batches = _EvalBatches(items, mapper, shard(len(items), rank, world), size, originals)
    return EvalLoader(batches, _worker_count(cfg, len(batches)), _pin(cfg))


def images_per_step(cfg: Shared) -> int:
    """Returns B: TRAIN.BATCH_SIZE_TOTAL * GRADIENT_ACCUMULATE_STEP."""
    return cfg.TRAIN.BATCH_SIZE_TOTAL * cfg.GRADIENT_ACCUMULATE_STEP


def largest_micro_batch(cfg: Shared, world: int) -> int:
    """Returns the most images that a process computes at once.

    That is its share of TRAIN.BATCH_SIZE_TOTAL, so that GRADIENT_ACCUMULATE_STEP costs time and no memory, or
    TRAIN.BATCH_SIZE_PER_GPU where that is smaller.
    """
    share = -(-cfg.TRAIN.BATCH_SIZE_TOTAL // world)
    return min(cfg.TRAIN.BATCH_SIZE_PER_GPU or share, share)


def steps_per_epoch(cfg: Shared, data: TrainingData) -> float:
    """Returns the images of an epoch / B; an epoch may end inside a step."""
    return len(data) / images_per_step(cfg)


class _Steps(Sequence[list[MicroBatch]]):
    """The plans of consecutive steps, computed when asked for."""

    def __init__(self, start: int, count: int, batch: int, rank: int, world: int, largest: int) -> None:
        self._start, self._count = start, count
        self._arguments = (batch, rank, world, largest)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> list[MicroBatch]:  # type: ignore[override]
        if not 0 <= index < self._count:
            raise IndexError(index)
        return plan_step(self._start + index, *self._arguments)


class _Flat:
    """The micro-batches of all steps one after the other: the loader's sampler."""

    def __init__(self, steps: Sequence[Sequence[MicroBatch]]) -> None:
        self._steps = steps

    def __iter__(self) -> Iterator[MicroBatch]:
        return (batch for plan in self._steps for batch in plan)

    def __len__(self) -> int:
        return sum(len(plan) for plan in self._steps)


class _TrainBatches(Dataset):
    """Micro-batch plan -> batch. Data errors travel as values: torch would bury their text in a traceback."""

    def __init__(self, stream: TrainStream) -> None:
        self._stream = stream

    def __getitem__(self, plan: MicroBatch) -> Batch | DataError:
        try:
            return collate([self._stream[i] for i in plan.indices], plan.positions)
        except DataError as error:
            return DataError(str(error))


class _EvalBatches(Dataset):
    """Number of a batch -> batch.

    Args:
        items: the images of the data set.
        mapper: makes their samples.
        share: numbers of the images that are read here.
        size: most images of a batch.
        originals: fill ``Sample.original``, reading under these INPUT.MAX_PIXELS and INPUT.BIT_DEPTH; None: leave it
            empty.
    """

    def __init__(
        self,
        items: Sequence[ImageItem],
        mapper: EvalMapper,
        share: range,
        size: int,
        originals: tuple[int, str] | None,
    ) -> None:
        self._items, self._mapper, self._originals = items, mapper, originals
        self._groups = _equal_neighbours(share, size, lambda i: mapper.input_size(items[i]))

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, number: int) -> Batch | DataError:
        try:
            return collate([self._sample(i) for i in self._groups[number]])
        except DataError as error:
            return DataError(str(error))

    def _sample(self, index: int) -> Sample:
        item = self._items[index]
        sample = self._mapper(item, index)
        if self._originals is not None:
            sample.original = read_image(item.image, *self._originals)
            if item.composite is not None or sample.original.shape[:2] != sample.output_size:
                raise DataError(
                    f"{item.image}: it is measured at another size or with other pixels than its file has, "
                    "and a task that is measured needs the file as it is"
                )
        return sample


def _equal_neighbours(share: range, size: int, key: Callable[[int], Any]) -> list[list[int]]:
    """Cuts a range into runs of at most ``size`` neighbours with the same key."""
    groups: list[list[int]] = []
    previous = None
    for index in share:
        current = key(index) if size > 1 else None
        if not groups or len(groups[-1]) == size or current != previous:
            groups.append([])
        groups[-1].append(index)
        previous = current
    return groups


def _worker_count(cfg: Shared, batches: int) -> int:
    """Returns DATALOADER.NUM_WORKERS, or fewer where there are fewer cores or batches."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cfg.DATALOADER.NUM_WORKERS, cores, batches)


def _pin(cfg: Shared) -> bool:
    return torch.cuda.is_available() and (cfg.DEVICE == "auto" or cfg.DEVICE.startswith("cuda"))


def _loader(dataset: Dataset, sampler: Any, workers: int, pin: bool) -> DataLoader:
    return DataLoader(
        dataset,
        batch_size=None,  # the data set makes whole batches
        sampler=sampler,
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=PREFETCH if workers else None,
        worker_init_fn=_start_worker,
        # Without its own generator the loader would draw from torch's global one and shift the model's dropout.
        generator=torch.Generator().manual_seed(0),
    )


def _start(loader: DataLoader) -> Iterator[Any]:
    """Starts the loader processes.

    A forked process inherits OpenCV's pool without its threads, and waits for them for ever: the pool is closed first.
    """
    if not loader.num_workers:
        return iter(loader)
    cv2.setNumThreads(1)
    batches = iter(loader)
    # The one registered last runs first: before torch and multiprocessing wait for processes that ignore their signal.
    atexit.unregister(_end_loaders)
    atexit.register(_end_loaders)
    return batches


def _end_loaders() -> None:
    """Ends loader processes that are still there when this process exits, as after an error whose traceback holds them.

    Python would ask them with SIGTERM, which they ignore, and wait for ever.
    """
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler takes a killed loader for a failure
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _start_worker(worker: int) -> None:
    """Prepares a loader process.

    Ctrl-C and a scheduler's signals reach all processes of a job; the training process decides what they mean (it ends
    the step and saves) and needs its loaders until then. A loader whose parent is gone ends by itself.
    """
    keep_freed_memory()
    cv2.setNumThreads(1)  # where processes are spawned, not forked; torch has seen to its own threads
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGINT)):
        signal.signal(number, signal.SIG_IGN)
