"""A training run from a checked plan, in four steps: prepare, build, loop, finish."""

from __future__ import annotations

from ...utils.logging import get_logger, setup_logging
from ..machine.distributed import Processes, pick_device
from ..machine.environment import check_torch
from ..machine.launch import read_ranks
from ..machine.signals import StopSignals
from ..plan import Plan
from .build_loop import build_loop
from .loop import Loop
from .prepare_run import prepared, with_names

log = get_logger(__name__)


def train(plan: Plan, *, name: str, resume: str = "auto") -> int:
    """Trains, or continues, the run of a configuration.

    Args:
        plan: the checked configuration.
        name: name of the run folder when EXP_NAME is empty.
        resume: ``auto``, ``never``, or a checkpoint or run folder.

    Returns:
        Exit code: 0, or 128 + signal after an orderly stop.

    Raises:
        UserError: for everything that the user can mend.
    """
    plan = with_names(plan, name)
    check_torch()
    ranks = read_ranks(port=plan.cfg.PORT)
    setup_logging(quiet=not ranks.main)
    device = pick_device(plan.cfg.DEVICE, ranks)
    with StopSignals() as stop, Processes(ranks, device) as processes:
        with prepared(plan, resume, processes) as run:
            if run.finished:
                log.info("%s", run.finished_text())
                return 0
            loop = build_loop(run, processes, stop)
            stopped = loop.run()
            return _finish(loop, stopped, str(run.folder.path))


def _finish(loop: Loop, stopped: int, folder: str) -> int:
    """Says how the run ended; returns the exit code."""
    if stopped:
        log.warning("stopped by a signal at step %d; the same command continues", loop.step)
        return 128 + stopped
    if loop.processes.main:
        log.info("finished: %d steps; results in %s", loop.step, folder)
    return 0
