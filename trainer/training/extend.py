"""What becomes of the learning rate when a run gets another length than it began with (SOLVER.EXTEND)."""

from __future__ import annotations

from collections.abc import Sequence

from ...utils.config.sections import Solver
from ...utils.schedules import Schedule
from .lr_schedule import LrCourse

_LITTLE = 0.01  # of SOLVER.BASE_LR: a rate below changes little


def schedule_steps(solver: Solver, steps: int, before: int | None) -> int:
    """Returns the length that the schedules of a run are made for.

    Args:
        solver: section SOLVER.
        steps: length of the run, in optimizer steps.
        before: length that they were made for up to the checkpoint; None: the run starts.
    """
    return steps if before is None or solver.EXTEND == "restart" else before


def extension_notice(
    solver: Solver, accumulate: int, before: int, steps: int, done: int, own: Sequence[Schedule] = ()
) -> tuple[str, bool] | None:
    """Says what the learning rate does where a run continues with another length.

    Args:
        solver: section SOLVER.
        accumulate: GRADIENT_ACCUMULATE_STEP.
        before: length that the schedules were made for up to here.
        steps: length of the run.
        done: optimizer steps done.
        own: the schedules that parameters have of their own.

    Returns:
        The notice, and whether a rate jumps: is another one than it would be with the length before. None where the
        length is the same, or no step was done or is left.
    """
    if before == steps or not 0 < done < steps:
        return None
    kept, anew = (LrCourse(solver, length, accumulate) for length in (before, steps))
    courses = {"restart": anew, "continue": kept}
    meaning = {
        "restart": f"the schedule is computed anew over {steps} steps",
        "continue": f"the schedule of {before} steps goes on, and stays at its last rate beyond its end",
    }
    other = next(name for name in courses if name != solver.EXTEND)
    chosen: list[Schedule | None] = [None, *own]
    last, following, instead = (
        [solver.BASE_LR * course(step, schedule=each) for each in chosen]
        for course, step in ((kept, done - 1), (courses[solver.EXTEND], done), (courses[other], done))
    )
    names = [solver.LR_SCHEDULER_NAME, *(each.name for each in own)]
    rates = [
        f"{name} {a:.3g} in step {done}, {b:.3g} in the next" for name, a, b in zip(names, last, following, strict=True)
    ]
    text = (
        f"the run was to have {before} steps and is to have {steps}. SOLVER.EXTEND {solver.EXTEND}: "
        f"{meaning[solver.EXTEND]}. Learning rate before multipliers: {'; '.join(rates)}. With SOLVER.EXTEND {other}: "
        f"{', '.join(f'{rate:.3g}' for rate in instead)}"
    )
    if max(following) < _LITTLE * solver.BASE_LR:
        text += f"; below {_LITTLE:.0%} of SOLVER.BASE_LR {solver.BASE_LR:g} further steps change little"
    return text, solver.EXTEND == "restart" and following != instead
