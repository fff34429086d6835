"""The learning-rate schedule of a run, and of the parameters that have one of their own."""

from __future__ import annotations

from dataclasses import dataclass

from ...utils.config.sections import Solver
from ...utils.schedules import SCHEDULES, Moment, Schedule


def lr_factor(
    solver: Solver, step: int, max_steps: int, accumulate: int = 1, schedule: Schedule | None = None
) -> float:
    """Returns the factor on learning rates at a step.

    Args:
        solver: section SOLVER.
        step: number of the optimizer step, 0..max_steps-1; for an endless schedule perhaps more.
        max_steps: length that the schedule is made for.
        accumulate: GRADIENT_ACCUMULATE_STEP, for schedules that count micro-batches.
        schedule: that of parameters with one of their own; None: SOLVER.LR_SCHEDULER_NAME.

    Raises:
        ConfigError: there is no schedule of that name.
    """
    chosen = SCHEDULES.get(solver.LR_SCHEDULER_NAME) if schedule is None else schedule
    return chosen.factor(solver, Moment(step, max_steps, accumulate))


@dataclass(frozen=True)
class LrCourse:
    """The learning rate of a run, step by step.

    Attributes:
        solver: section SOLVER.
        steps: length that the schedules are made for, at least 1: that of the run, unless SOLVER.EXTEND keeps another
            one. A schedule that is not endless stays at the rate of its last step beyond it.
        accumulate: GRADIENT_ACCUMULATE_STEP, for schedules that count micro-batches.
    """

    solver: Solver
    steps: int
    accumulate: int = 1

    def __call__(self, step: int, *, schedule: Schedule | None = None) -> float:
        """Returns the factor on learning rates at a step, from 0; ``schedule`` as of :func:`lr_factor`."""
        chosen = SCHEDULES.get(self.solver.LR_SCHEDULER_NAME) if schedule is None else schedule
        at = step if chosen.endless else min(step, self.steps - 1)
        return lr_factor(self.solver, at, self.steps, self.accumulate, chosen)


def warmup_notice(solver: Solver, max_steps: int, accumulate: int = 1) -> str | None:
    """Returns a sentence for the user when a run ends inside its warm-up, else None; arguments as of lr_factor."""
    warm_up = SCHEDULES.get(solver.LR_SCHEDULER_NAME).warm_up
    if warm_up is None or (length := warm_up(solver, max_steps, accumulate)) >= solver.WARMUP_ITERS:
        return None
    return (
        f"the run has {length} iterations and SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS}: the learning rate never "
        f"reaches SOLVER.BASE_LR {solver.BASE_LR:g}; train longer, or shorten the warm-up"
    )
