"""Learning-rate schedules as pure functions of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from typing import Any

from ..utils.errors import ConfigError


def lr_factor(solver: Any, step: int, max_steps: int, accumulate: int = 1) -> float:
    """Returns the factor on every learning rate at a step.

    Args:
        solver: section SOLVER.
        step: number of the optimizer step, 0..max_steps-1.
        max_steps: length of the run.
        accumulate: GRADIENT_ACCUMULATE_STEP, for schedules that count micro-batches.
    """
    if solver.LR_SCHEDULER_NAME == "WarmupStepExp":
        return _step_exponential(solver, (step + 1) * (accumulate if solver.COUNT_MICRO_ITERS else 1))
    return _warmup(solver, step) * _course(solver, step, max_steps)


def warmup_notice(solver: Any, max_steps: int, accumulate: int = 1) -> str | None:
    """Returns a sentence for the user when a run ends inside its warm-up, else None; arguments as of lr_factor."""
    counts_batches = solver.LR_SCHEDULER_NAME == "WarmupStepExp" and solver.COUNT_MICRO_ITERS
    length = max_steps * (accumulate if counts_batches else 1)
    if length >= solver.WARMUP_ITERS:
        return None
    return (
        f"the run has {length} iterations and SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS}: the learning rate never "
        f"reaches SOLVER.BASE_LR {solver.BASE_LR:g}; train longer, or shorten the warm-up"
    )


def _step_exponential(solver: Any, iteration: int) -> float:
    """Returns iteration / WARMUP_ITERS in the warm-up, then GAMMA^k after each k intervals; iterations count from 1."""
    if iteration < solver.WARMUP_ITERS:
        return iteration / solver.WARMUP_ITERS
    factor = solver.GAMMA ** ((iteration - solver.WARMUP_ITERS) // solver.DECAY_INTERVAL)
    lowest = solver.MIN_LR / solver.BASE_LR if solver.BASE_LR else 0.0
    return max(factor, min(lowest, 1.0))


def _warmup(solver: Any, step: int) -> float:
    if step >= solver.WARMUP_ITERS:
        return 1.0
    if solver.WARMUP_METHOD == "constant":
        return solver.WARMUP_FACTOR
    done = step / solver.WARMUP_ITERS
    return solver.WARMUP_FACTOR * (1 - done) + done


def _course(solver: Any, step: int, max_steps: int) -> float:
    name = solver.LR_SCHEDULER_NAME
    if name == "constant":
        return 1.0
    if name == "WarmupMultiStepLR":
        return solver.GAMMA ** sum(step >= at for at in milestones(solver, max_steps))
    end = solver.BASE_LR_END / solver.BASE_LR if solver.BASE_LR else 0.0
    left = 1 - step / max_steps
    shape = 0.5 * (1 - math.cos(math.pi * left)) if name == "WarmupCosineLR" else left**solver.POLY_POWER
    return end + (1 - end) * shape


def milestones(solver: Any, max_steps: int) -> list[int]:
    """Returns the steps at which the multi-step schedule drops: SOLVER.STEPS up to 1 are fractions of the run.

    Raises:
        ConfigError: if an entry is negative.
    """
    if any(at < 0 for at in solver.STEPS):
        raise ConfigError(f"SOLVER.STEPS {list(solver.STEPS)}: expected fractions of the run (<= 1) or steps (> 1)")
    return sorted(int(at * max_steps) if at <= 1 else int(at) for at in solver.STEPS)
