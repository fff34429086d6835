"""Prepare a run: its length, its folder, its log; what is there decides whether it continues."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...datasets.stream.loaders import steps_per_epoch
from ...utils.config.dump import dump
from ...utils.config.sections import Solver
from ...utils.errors import ConfigError
from ...utils.files import atomic_write_json
from ...utils.logging import add_log_file, get_logger, remove_log_file
from ..machine.distributed import Processes
from ..machine.environment import describe_machine
from ..plan import Plan
from ..run_folder.checkpoints import Checkpoint
from ..run_folder.run_folder import RunFolder, saved_config
from .extend import schedule_steps

log = get_logger(__name__)


@dataclass(frozen=True)
class Length:
    """How long a run is.

    Attributes:
        steps: optimizer steps.
        per_epoch: optimizer steps of one pass over the data; may be a fraction.
        images: training images.
    """

    steps: int
    per_epoch: float
    images: int


def run_length(plan: Plan) -> Length:
    """Computes the length of a run: SOLVER.MAX_ITERS, else SOLVER.MAX_NUM_EPOCHS passes, rounded up."""
    solver = plan.cfg.SOLVER
    per_epoch = steps_per_epoch(plan.cfg, plan.training)
    steps = _steps(solver, per_epoch)
    if steps < 1:
        raise ConfigError(
            f"nothing to train: SOLVER.MAX_ITERS {solver.MAX_ITERS} and SOLVER.MAX_NUM_EPOCHS {solver.MAX_NUM_EPOCHS} "
            "give no step"
        )
    return Length(steps, per_epoch, len(plan.training))


def _steps(solver: Solver, per_epoch: float) -> int:
    return solver.MAX_ITERS if solver.MAX_ITERS > 0 else math.ceil(solver.MAX_NUM_EPOCHS * per_epoch - 1e-9)


def steps_before(checkpoint: Checkpoint, per_epoch: float) -> int:
    """Returns the length, in optimizer steps, that the schedules were made for up to a checkpoint.

    Checkpoints of earlier versions do not hold it: there it follows from the length in their configuration.

    Args:
        checkpoint: what a run continues from.
        per_epoch: optimizer steps of one pass over the data.
    """
    known = checkpoint.meta["counters"].get("schedule_steps", 0)
    return known or _steps(saved_config(checkpoint).typed.SOLVER, per_epoch)


def with_names(plan: Plan, name: str) -> Plan:
    """Writes the run's name into the configuration, so that the saved one finds its own folder."""
    if plan.cfg.EXP_NAME:
        return plan
    return dataclasses.replace(plan, resolved=plan.resolved.settled({"EXP_NAME": name}))


@dataclass(frozen=True)
class PreparedRun:
    """What the later steps of a run need to know.

    Attributes:
        plan: the checked configuration, the run's name in it.
        folder: the open run folder.
        checkpoint: what the run continues from, or None.
        length: how long it is.
        steps_before: length that the schedules were made for up to the checkpoint, or None.
    """

    plan: Plan
    folder: RunFolder
    checkpoint: Checkpoint | None
    length: Length
    steps_before: int | None = None

    @property
    def schedule_steps(self) -> int:
        """Length that the schedules are made for from here on, or were up to here where no step is left."""
        if self.checkpoint is not None and self.checkpoint.step >= self.length.steps and self.steps_before:
            return self.steps_before
        return schedule_steps(self.plan.cfg.SOLVER, self.length.steps, self.steps_before)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train or to evaluate."""
        if self.checkpoint is None or self.checkpoint.step < self.length.steps:
            return False
        return not self.plan.test or self.checkpoint.meta["counters"]["evaluated"] == self.checkpoint.step

    def finished_text(self) -> str:
        """Says that a finished run is finished, what was asked for, and how it goes on."""
        assert self.checkpoint is not None, "only a run with a checkpoint is finished"
        solver, done, asked = self.plan.cfg.SOLVER, self.checkpoint.step, self.length.steps
        key = "SOLVER.MAX_ITERS" if solver.MAX_ITERS > 0 else "SOLVER.MAX_NUM_EPOCHS"
        value = solver.MAX_ITERS if solver.MAX_ITERS > 0 else solver.MAX_NUM_EPOCHS
        if done == asked:
            return f"{self.folder.path} is finished ({done} steps); raise {key} (now {value}) to go on"
        epochs = done / self.length.per_epoch
        return (
            f"{self.folder.path} is finished: {done} steps ({epochs:.2f} epochs) are done, more than the {asked} of "
            f"{key} {value}, and none is taken back; raise it beyond them to go on, or choose another EXP_NAME for a "
            "shorter run"
        )

    @property
    def resumed(self) -> Checkpoint | None:
        """The checkpoint, if it lies in this run's own folder."""
        own = self.checkpoint and self.checkpoint.path.resolve().parent == self.folder.store.folder.resolve()
        return self.checkpoint if own else None


@contextmanager
def prepared(plan: Plan, resume: str, processes: Processes) -> Iterator[PreparedRun]:
    """Opens the folder of a run, and its log file, as long as the run takes.

    Args:
        plan: the checked configuration; EXP_NAME is set.
        resume: as :func:`segfoundry.trainer.training.start.train`.
        processes: the processes of the job.

    Raises:
        UserError: the folder is in use or holds another run, or there is nothing to train.
    """
    cfg = plan.cfg
    folder = RunFolder(Path(cfg.SAVE_DIR) / cfg.EXP_NAME, cfg.CHECKPOINT.KEEP)
    text = dump(plan.resolved)
    checkpoint = processes.on_main(lambda: folder.open(plan.resolved, resume, text))
    log_file = add_log_file(folder.path / "log.txt") if processes.main else None
    ranks = processes.ranks
    try:
        log.info("%s: process %d of %d on %s", ranks.source, ranks.rank, ranks.world, processes.device)
        for warning in plan.warnings if checkpoint is None else ():
            log.warning("%s", warning)
        for notice in plan.notices:
            log.info("note: %s", notice)
        length = run_length(plan)
        before = None if checkpoint is None else steps_before(checkpoint, length.per_epoch)
        run = PreparedRun(plan, folder, checkpoint, length, before)
        if processes.main and not run.finished:
            about = describe_machine(processes.device, processes.world, ranks.source)
            atomic_write_json(folder.path / "environment.json", about)
        yield run
    finally:
        if log_file is not None:
            remove_log_file(log_file)
        folder.close()
