"""The training loop. Step k is a function of (state, seed, k): nothing else is needed to continue exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...modeling.base import Progress
from ...utils.draws import Draws
from ...utils.errors import UserError
from ...utils.logging import get_logger
from ...utils.schedules import Schedule
from ...utils.structures.samples import Batch
from ..machine.distributed import Processes
from ..machine.environment import seed_step
from ..machine.memory_use import memory_errors
from ..machine.signals import StopSignals
from .optimizer import let_rest, set_lr
from .state import TrainState

log = get_logger(__name__)


class LrFactor(Protocol):
    """Factor on learning rates by step: of the run's schedule, or of another one."""

    def __call__(self, step: int, *, schedule: Schedule | None = None) -> float:
        """Returns the factor."""


@dataclass(frozen=True)
class LoopSettings:
    """What the loop needs to know of the configuration.

    Attributes:
        seed: seed of the run.
        max_steps: length of the run in optimizer steps.
        lr_factor: factor on learning rates, by step; also takes a ``schedule``, for parameters with one of their own.
        clip_norm: largest global gradient norm, or None.
        nonfinite_max: steps with non-finite numbers that are skipped before the run stops.
        memory_keys: keys that lower the need for memory, for the message when there is too little.
        steps_per_epoch: steps of one pass over the data, perhaps a fraction; inf: epochs are not counted.
    """

    seed: int
    max_steps: int
    lr_factor: LrFactor
    clip_norm: float | None = None
    nonfinite_max: int = 10
    memory_keys: tuple[str, ...] = ()
    steps_per_epoch: float = math.inf


class Callback:
    """Does nothing; subclasses override what they need. Called on every process, in the same order."""

    def start(self, loop: Loop) -> None:
        """Called once, before the first step of this process's life."""

    def step(self, loop: Loop) -> None:
        """Called after each optimizer step; ``loop.step`` counts it already."""

    def record(self, loop: Loop, record: dict[str, Any]) -> None:
        """Called when there are figures: a dictionary with ``kind`` ("train" or "eval"), ``step`` and numbers."""

    def stop(self, loop: Loop, error: BaseException | None) -> None:
        """Called once at the end, also after an error or a stop signal."""


class NonFiniteError(UserError):
    """Losses or gradients were not finite too often."""


class Loop:
    """Fetch, forward, scale, backward, clip, step, schedule; callbacks log, evaluate and save.

    Args:
        model: the meta-architecture, wrapped for distribution when there are several processes.
        state: the training state around the bare model.
        data: gives, from a step on, one list of micro-batches per optimizer step.
        settings: see :class:`LoopSettings`.
        processes: the processes of the job.
        stop: signals that ask for an early end.
        callbacks: called in this order; taking one out does not change the result of training.

    Attributes:
        settled: the state is that of a complete step; false while one changes it.
    """

    def __init__(
        self,
        model: nn.Module,
        state: TrainState,
        data: Callable[[int], Iterable[list[Batch]]],
        settings: LoopSettings,
        *,
        processes: Processes,
        stop: StopSignals,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.model, self.state, self.settings = model, state, settings
        self.processes, self.stop, self.callbacks = processes, stop, callbacks
        self.data = data
        self.losses: dict[str, Tensor] = {}
        self.grad_norm = torch.zeros(())
        self.step_images = 0
        self.data_seconds = self.step_seconds = 0.0
        self._parameters = list(state.trained.values())
        self._source: Iterable[list[Batch]] = ()
        self._batches: Iterator[list[Batch]] = iter(())
        self.settled = True

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.state.counters.step

    @property
    def done(self) -> bool:
        """True when the run has its full length."""
        return self.step >= self.settings.max_steps

    @property
    def unreadable(self) -> list[str]:
        """Messages about images that this process could not read and replaced (INPUT.ON_CORRUPT skip)."""
        return getattr(self._source, "skipped", [])

    def emit(self, event: str, *details: Any) -> None:
        """Tells all callbacks about an event: ``start``, ``step``, ``record`` or ``stop``."""
        for callback in self.callbacks:
            getattr(callback, event)(self, *details)

    def run(self) -> int:
        """Trains to the end of the run or to a stop signal.

        Returns:
            0, or the number of the signal after which the state was saved.

        Raises:
            UserError: bad training data, out of memory, or non-finite numbers too often.
        """
        try:
            self.emit("start")
            signal = self._run()
        except BaseException as error:
            self.emit("stop", error)
            raise
        self.emit("stop", None)
        return signal

    def _run(self) -> int:
        self.model.train()
        self._source = self.data(self.step) if not self.done else ()
        self._batches = iter(self._source)
        try:
            while not self.done:
                signal = self._next_step()
                if signal:
                    return signal
        finally:
            # Ends the loader processes now: one that lived until the exit would be waited for without end, because
            # it ignores the signal that Python sends to it there.
            self._batches = iter(())
        return max(self.processes.all_gather(self.stop.received))

    def _next_step(self) -> int:
        """Trains one step and tells the callbacks, or returns the signal to stop for."""
        started = time.perf_counter()
        micro_batches, failure = self._fetch()
        signal, totals = self._agree(micro_batches, failure)
        if signal:
            return signal
        self.data_seconds = time.perf_counter() - started
        self.settled = False
        with memory_errors(self.processes.device, self.settings.memory_keys):
            self._train_step(micro_batches, totals)
        self.settled = True
        self.step_seconds = time.perf_counter() - started
        self.emit("step")
        self.model.train()
        return 0

    def _fetch(self) -> tuple[list[Batch], str]:
        """Returns the step's micro-batches, or the text of the data error that the other processes must hear of."""
        try:
            return next(self._batches), ""
        except UserError as error:
            return [], str(error)
        except Exception:
            if self.stop.received:  # loader processes that got the same signal may be gone already
                return [], ""
            raise

    def _agree(self, micro_batches: list[Batch], failure: str) -> tuple[int, dict[str, float]]:
        """Joins the loss normalisers of micro-batches and processes, and lets all stop at the same step.

        Returns:
            The signal to stop for (0: go on) and the normalisers of the whole step.
        """
        mine = _join({}, *(self.state.model.normalizers(batch) for batch in micro_batches))
        totals: dict[str, float] = {}
        everyone = self.processes.all_gather((self.stop.received, failure, mine))
        for _, text, share in everyone:
            if text:
                raise DataFailure(text)
            totals = _join(totals, share)
        return max(signal for signal, _, _ in everyone), totals

    def _train_step(self, micro_batches: list[Batch], totals: dict[str, float]) -> None:
        state, step = self.state, self.step
        factor = self.settings.lr_factor
        set_lr(state.optimizer, factor(step), lambda schedule: factor(step, schedule=schedule))
        self.forward_backward(micro_batches, totals)
        let_rest(state.optimizer)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if gradients:
            state.precision.unscale(state.optimizer)
        self.grad_norm = torch.nn.utils.get_total_norm(gradients).to(self.processes.device)
        bad = self._not_finite()
        if bad is None and self.settings.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, self.settings.clip_norm, self.grad_norm)
        if gradients:
            state.precision.step(state.optimizer, update=bad is None)
        state.optimizer.zero_grad(set_to_none=True)
        counters = state.counters
        if bad is None:
            counters.updates += 1
            if state.ema is not None:
                state.ema.update(counters.updates)
        elif bad:
            self._count_skipped(bad, micro_batches)
        self.step_images = sum(len(batch) for batch in micro_batches) * self.processes.world
        counters.images += self.step_images
        counters.step = step + 1

    def forward_backward(self, micro_batches: list[Batch], totals: dict[str, float]) -> None:
        """Adds up the gradients of a step's objective; ``self.losses`` then holds this process's share of each term."""
        seed_step(self.settings.seed, self.step, self.processes.rank)
        rng = Draws(self.settings.seed, self.step)
        progress = Progress(self.step, self.step / self.settings.steps_per_epoch)
        precision, device = self.state.precision, self.processes.device
        self.losses = {}
        for number, batch in enumerate(micro_batches, start=1):
            batch = batch.to(device, non_blocking=True)
            batch.totals = totals
            with self._sync(last=number == len(micro_batches)):
                with precision.autocast():
                    losses = self.model(batch, rng=rng, progress=progress)
                # Distribution averages gradients; the terms are shares of the whole step's sum already.
                precision.backward(torch.stack(list(losses.values())).sum() * self.processes.world)
            for name, value in losses.items():
                value = value.detach()
                self.losses[name] = self.losses[name] + value if name in self.losses else value

    def _sync(self, *, last: bool) -> AbstractContextManager:
        """Gradients travel between processes once per step, with the last micro-batch."""
        if last or not isinstance(self.model, nn.parallel.DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()

    def _not_finite(self) -> list[str] | None:
        """Returns None when everything is finite on all processes; else the names of the bad terms.

        An empty list means gradients that only overflowed fp16: the loss scale shrinks and nothing is counted.
        """
        names = [*self.losses, "gradient norm"]
        values = torch.stack([v.float() for v in (*self.losses.values(), self.grad_norm)])
        finite = self.processes.min_(torch.isfinite(values).float()).tolist()
        if all(finite):
            return None
        if all(finite[:-1]) and self.state.precision.overflow_is_normal():
            return []
        return [name for name, good in zip(names, finite, strict=True) if not good]

    def _count_skipped(self, bad: list[str], micro_batches: list[Batch]) -> None:
        mine = [sample.file_name for batch in micro_batches for sample in batch.samples]
        files = [name for names in self.processes.all_gather(mine) for name in names]
        counters = self.state.counters
        counters.skipped += 1
        shown = ", ".join(files[:8]) + (f" and {len(files) - 8} more" if len(files) > 8 else "")
        text = f"step {self.step}: not finite: {', '.join(bad)}; images: {shown}"
        if counters.skipped > self.settings.nonfinite_max:
            raise NonFiniteError(
                f"{text}. {counters.skipped} steps were not finite, TRAIN.NONFINITE_MAX allows "
                f"{self.settings.nonfinite_max}. Lower SOLVER.BASE_LR, use PRECISION fp32, or look at these images."
            )
        log.warning("%s; step skipped (%d of at most %d)", text, counters.skipped, self.settings.nonfinite_max)


class DataFailure(UserError):
    """Training data could not be read."""


def _join(*shares: dict[str, float]) -> dict[str, float]:
    """Joins shares of the loss normalisers: sums, or the largest for names that start with "max_"."""
    joined: dict[str, float] = {}
    for share in shares:
        for name, value in share.items():
            known = joined.get(name, 0.0)
            joined[name] = max(known, float(value)) if name.startswith("max_") else known + float(value)
    return joined
