"""Learning-rate schedules by name, as pure functions of the step: nothing to save, nothing to restore.

An architecture files its own with :func:`schedule` in a module that its ``config.py`` imports, and names it in
``Architecture.schedules``, so that SOLVER.LR_SCHEDULER_NAME takes it; a rule of its parameters (``ParamRule.schedule``)
may also hold one that is filed nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .config.sections import Solver
from .errors import ConfigError
from .registry import Registry


@dataclass(frozen=True)
class Moment:
    """A step of a run.

    Attributes:
        step: number of the optimizer step, 0..max_steps-1; for an endless schedule perhaps more.
        max_steps: length that the schedule is made for: that of the run, unless SOLVER.EXTEND continues a shorter one.
        accumulate: GRADIENT_ACCUMULATE_STEP, for schedules that count micro-batches.
    """

    step: int
    max_steps: int
    accumulate: int = 1


Factor = Callable[[Solver, Moment], float]
"""Section SOLVER and a step to the factor on the learning rate, 0 or more."""


@dataclass(frozen=True)
class Schedule:
    """A course of the learning rate.

    Attributes:
        name: how the table of parameters calls it.
        factor: see :data:`Factor`.
        warm_up: section SOLVER and the optimizer steps of a run with the batches that make a step -> how much of
            SOLVER.WARMUP_ITERS such a run goes through; None: the schedule has no such warm-up.
        endless: its course goes on beyond ``max_steps``. Where a run is made longer by SOLVER.EXTEND continue, any
            other one keeps the rate of its last step.
    """

    name: str
    factor: Factor
    warm_up: Callable[[Solver, int, int], int] | None = None
    endless: bool = False


SCHEDULES: Registry[Schedule] = Registry("schedule")


def schedule(
    name: str, warm_up: Callable[[Solver, int, int], int] | None = None, *, endless: bool = False
) -> Callable[[Factor], Factor]:
    """Returns a decorator that files a function of section and step as a schedule; see :class:`Schedule`.

    Raises:
        ValueError: the name is taken.
    """

    def add(factor: Factor) -> Factor:
        SCHEDULES.register(name)(Schedule(name, factor, warm_up, endless))
        return factor

    return add


def in_steps(solver: Solver, steps: int, accumulate: int) -> int:
    """A warm-up that counts optimizer steps."""
    return steps


def in_batches(solver: Solver, steps: int, accumulate: int) -> int:
    """A warm-up that counts batches where SOLVER.COUNT_MICRO_ITERS says so, else optimizer steps."""
    return steps * (accumulate if solver.COUNT_MICRO_ITERS else 1)


@schedule("constant", in_steps, endless=True)
def constant(solver: Solver, at: Moment) -> float:
    """Returns 1 after the warm-up."""
    return warm_up_factor(solver, at.step)


@schedule("WarmupMultiStepLR", in_steps, endless=True)
def multi_step(solver: Solver, at: Moment) -> float:
    """Returns GAMMA^k after k of the steps in STEPS."""
    drops = sum(at.step >= milestone for milestone in milestones(solver, at.max_steps))
    return warm_up_factor(solver, at.step) * solver.GAMMA**drops


@schedule("WarmupCosineLR", in_steps)
def cosine(solver: Solver, at: Moment) -> float:
    """Falls from BASE_LR to BASE_LR_END as half a cosine."""
    left = 1 - at.step / at.max_steps
    return warm_up_factor(solver, at.step) * _to_end(solver, 0.5 * (1 - math.cos(math.pi * left)))


@schedule("WarmupPoly", in_steps)
@schedule("WarmupPolyLR", in_steps)
def poly(solver: Solver, at: Moment) -> float:
    """Falls from BASE_LR to BASE_LR_END as a power of what is left of the run."""
    left = 1 - at.step / at.max_steps
    return warm_up_factor(solver, at.step) * _to_end(solver, left**solver.POLY_POWER)


@schedule("WarmupStepExp", in_batches, endless=True)
def step_exponential(solver: Solver, at: Moment) -> float:
    """Returns iteration / WARMUP_ITERS in the warm-up, then GAMMA^k after each k intervals; iterations count from 1."""
    iteration = in_batches(solver, at.step + 1, at.accumulate)
    if iteration < solver.WARMUP_ITERS:
        return iteration / solver.WARMUP_ITERS
    factor = solver.GAMMA ** ((iteration - solver.WARMUP_ITERS) // solver.DECAY_INTERVAL)
    lowest = solver.MIN_LR / solver.BASE_LR if solver.BASE_LR else 0.0
    return max(factor, min(lowest, 1.0))


def warm_up_factor(solver: Solver, step: int) -> float:
    """Returns the factor that WARMUP_FACTOR, WARMUP_ITERS and WARMUP_METHOD give at a step; 1 after the warm-up."""
    if step >= solver.WARMUP_ITERS:
        return 1.0
    if solver.WARMUP_METHOD == "constant":
        return solver.WARMUP_FACTOR
    done = step / solver.WARMUP_ITERS
    return solver.WARMUP_FACTOR * (1 - done) + done


def milestones(solver: Solver, max_steps: int) -> list[int]:
    """Returns the steps at which the multi-step schedule drops: SOLVER.STEPS up to 1 are fractions of the run.

    Raises:
        ConfigError: if an entry is negative.
    """
    if any(at < 0 for at in solver.STEPS):
        raise ConfigError(f"SOLVER.STEPS {list(solver.STEPS)}: expected fractions of the run (<= 1) or steps (> 1)")
    return sorted(int(at * max_steps) if at <= 1 else int(at) for at in solver.STEPS)


def _to_end(solver: Solver, shape: float) -> float:
    """Returns the factor of a course from 1 to 0 that ends at BASE_LR_END."""
    end = solver.BASE_LR_END / solver.BASE_LR if solver.BASE_LR else 0.0
    return end + (1 - end) * shape
