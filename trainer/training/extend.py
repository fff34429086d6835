"""What becomes of the learning rate when a run gets another length than it began with (SOLVER.EXTEND)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ...utils.config.sections import Solver
from ...utils.schedules import Schedule
from .lr_schedule import LrCourse


def schedule_steps(solver: Solver, steps: int, before: int | None) -> int:
    """Returns the length that the schedules of a run are made for.

    Args:
        solver: section SOLVER.
        steps: length of the run, in optimizer steps.
        before: length that they were made for up to the checkpoint; None: the run starts.
    """
    return steps if before is None or solver.EXTEND == "restart" else before


def extension_notice(
    course: LrCourse, before: int, steps: int, step: int, own: Sequence[Schedule] = ()
) -> tuple[str, bool] | None:
    """Says what the learning rate does where a run continues with another length.

    Args:
        course: the learning rate from here on.
        before: length that the schedules were made for up to here.
        steps: length of the run.
        step: optimizer steps done.
        own: the schedules that parameters have of their own.

    Returns:
        The notice, and whether the rate is another one than it would have been with the length before; None where the
        length is the same, or no step was done or is left.
    """
    if before == steps or not 0 < step < steps:
        return None
    extend = course.solver.EXTEND
    kept, anew = (dataclasses.replace(course, steps=length) for length in (before, steps))
    base = course.solver.BASE_LR
    rates, other_rates, jumps = [], [], False
    for schedule in (None, *own):
        name = course.solver.LR_SCHEDULER_NAME if schedule is None else schedule.name
        last, stays, restarts = (
            kept(step - 1, schedule=schedule),
            kept(step, schedule=schedule),
            anew(step, schedule=schedule),
        )
        chosen, other = (restarts, stays) if extend == "restart" else (stays, restarts)
        rates.append(f"{name} {base * last:.3g} in step {step}, {base * chosen:.3g} in step {step + 1}")
        other_rates.append(f"{base * other:.3g}")
        jumps |= chosen != stays
    meaning = {
        "restart": f"the schedule is computed anew over {steps} steps",
        "continue": f"the schedule of {before} steps goes on, and beyond its end its last rate stays",
    }
    instead = "continue" if extend == "restart" else "restart"
    text = (
        f"the length of the run is {steps} steps, and was {before}. SOLVER.EXTEND {extend}: {meaning[extend]}. Learning "
        f"rate before multipliers: {'; '.join(rates)}. SOLVER.EXTEND {instead} would go on with {'; '.join(other_rates)}"
    )
    return text, jumps
