"""``train --dry-run``: builds everything, runs one step's forward and backward pass, estimates, writes nothing."""

from __future__ import annotations

import time

from ...utils.files import human_size
from ...utils.logging import get_logger, setup_logging
from ..machine.distributed import Processes, pick_device
from ..machine.environment import check_torch
from ..machine.launch import read_ranks
from ..machine.memory_use import memory_errors, peak_memory
from ..machine.signals import StopSignals
from ..plan import Plan
from .build_loop import loop_settings, train_data
from .build_state import build_state
from .loop import Loop
from .prepare_run import run_length
from .state import TrainState

log = get_logger(__name__)


class _OneStep(Loop):
    """A loop that measures its first forward and backward pass and changes no weight."""

    def time_step(self) -> tuple[float, float, int]:
        """Returns seconds for data, seconds for computing, and the images of the step."""
        self.model.train()
        started = time.perf_counter()
        micro_batches = next(iter(self.data(0)))
        fetched = time.perf_counter()
        _, totals = self._agree(micro_batches, "")
        self.forward_backward(micro_batches, totals)
        total = float(sum(self.losses.values()))  # waits for the device
        done = time.perf_counter()
        log.info(
            "losses of the first step: %s",
            ", ".join(f"{n} {float(v):.4g}" for n, v in sorted(self.losses.items())),
        )
        log.info("their sum, the objective: %.5g", total)
        return fetched - started, done - fetched, sum(len(batch) for batch in micro_batches)


def dry_run(plan: Plan) -> int:
    """Prints the parameter table, one step's losses, and estimates of memory and time; returns exit code 0.

    Raises:
        UserError: whatever training itself would stumble over in its first step.
    """
    check_torch()
    cfg = plan.cfg
    ranks = read_ranks(port=cfg.PORT)
    setup_logging(quiet=not ranks.main)
    device = pick_device(cfg.DEVICE, ranks)
    with Processes(ranks, device) as processes:
        for warning in plan.warnings:
            log.warning("%s", warning)
        for notice in plan.notices:
            log.info("note: %s", notice)
        length = run_length(plan)
        state, report = build_state(plan, device, load=True)
        log.info("model\n%s", report)
        model = processes.wrap(state.model, find_unused=cfg.FIND_UNUSED_PARAMETERS)
        data = train_data(plan, length.steps, processes)
        settings = loop_settings(cfg, length.steps, length.per_epoch)
        loop = _OneStep(model, state, data, settings, processes=processes, stop=StopSignals())
        with memory_errors(device, settings.memory_keys):
            fetching, computing, images = loop.time_step()
        memory = peak_memory(device) + _later_memory(state)
        step = computing * 1.05  # the update itself
        log.info(
            "first step: %.1f s for %d images of this process, after %.1f s for the first data",
            computing,
            images,
            fetching,
        )
        log.info("estimated memory on %s: %s", device, human_size(memory))
        log.info(
            "estimated time: %s for %d steps (%.2f epochs) without evaluation; later steps may be faster",
            _duration(step * length.steps),
            length.steps,
            length.steps / length.per_epoch,
        )
        log.info("dry run: nothing was written")
    return 0


def _later_memory(state: TrainState) -> int:
    """Returns the bytes that only appear with the first update and the average: optimizer state."""
    trained = sum(p.numel() * p.element_size() for p in state.trained.values())
    return trained * (1 if "momentum" in state.optimizer.defaults else 2)


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes:.0f} min" if minutes < 120 else f"{hours:.1f} h"
