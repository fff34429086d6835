"""Build a run, last: the loop, with data, settings and callbacks, put where the checkpoint says."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable

from ...datasets.pipelines.base import find_pipeline
from ...datasets.stream.loaders import build_train_loader
from ...utils.config.sections import Shared
from ...utils.logging import get_logger
from ...utils.structures.samples import Batch
from ..machine.distributed import Processes
from ..machine.memory_use import training_keys
from ..machine.signals import StopSignals
from ..plan import Plan
from ..run_folder.checkpoints import restore
from .build_callbacks import build_callbacks
from .build_state import build_state
from .extend import extension_notice
from .loop import Loop, LoopSettings
from .lr_schedule import LrCourse, warmup_notice
from .prepare_run import PreparedRun
from .state import TrainState

log = get_logger(__name__)


def build_loop(run: PreparedRun, processes: Processes, stop: StopSignals) -> Loop:
    """Builds all that a prepared run needs, and puts it where its checkpoint says."""
    plan, checkpoint, length = run.plan, run.checkpoint, run.length
    cfg = plan.cfg
    state, report = build_state(plan, processes.device, load=checkpoint is None)
    log.info("model\n%s", report)
    if checkpoint is not None:
        restore(checkpoint, state)
        log.info("continuing from %s at step %d", checkpoint.path, checkpoint.step)
        _say_what_changes(run, state)
    state.counters.schedule_steps = run.schedule_steps
    log.info(
        "%d steps of %d images (%.2f per epoch, %d images), %s",
        length.steps,
        cfg.TRAIN.BATCH_SIZE_TOTAL * cfg.GRADIENT_ACCUMULATE_STEP,
        length.per_epoch,
        length.images,
        state.precision.name,
    )
    if notice := warmup_notice(cfg.SOLVER, length.steps, cfg.GRADIENT_ACCUMULATE_STEP):
        log.info("note: %s", notice)
    if cfg.TRAIN.COMPILE:
        for part in state.model.compile_parts():
            part.compile()
    model = processes.wrap(state.model, find_unused=cfg.FIND_UNUSED_PARAMETERS)
    return Loop(
        model,
        state,
        train_data(plan, length.steps, processes),
        loop_settings(cfg, length.steps, length.per_epoch, run.schedule_steps),
        processes=processes,
        stop=stop,
        callbacks=build_callbacks(run, state, processes, stop),
    )


def _say_what_changes(run: PreparedRun, state: TrainState) -> None:
    """Says what another length of a run that continues does to its learning rate, or that no step is left."""
    cfg, steps, done = run.plan.cfg, run.length.steps, state.counters.step
    assert run.steps_before is not None, "only a run that continues had another length"
    own = [group["schedule"] for group in state.optimizer.param_groups if group.get("schedule") is not None]
    found = extension_notice(
        cfg.SOLVER, cfg.GRADIENT_ACCUMULATE_STEP, run.steps_before, steps, done, list(dict.fromkeys(own))
    )
    if found is not None:
        text, jumps = found
        log.log(logging.WARNING if jumps else logging.INFO, "%s", text)
    if done > steps:
        log.info("note: %d steps are done and %d asked for: nothing is trained, only evaluated", done, steps)


def loop_settings(
    cfg: Shared, steps: int, per_epoch: float = math.inf, schedule_steps: int | None = None
) -> LoopSettings:
    """Reads the loop's settings from the configuration.

    Args:
        cfg: the configuration.
        steps: see the run's ``Length``.
        per_epoch: see the run's ``Length``.
        schedule_steps: length that the learning rate is made for; None: that of the run.
    """
    clip = cfg.SOLVER.CLIP_GRADIENTS
    return LoopSettings(
        seed=cfg.SEED,
        max_steps=steps,
        lr_factor=LrCourse(cfg.SOLVER, schedule_steps or steps, cfg.GRADIENT_ACCUMULATE_STEP),
        clip_norm=clip.CLIP_VALUE if clip.ENABLED else None,
        nonfinite_max=cfg.TRAIN.NONFINITE_MAX,
        memory_keys=training_keys(cfg),
        steps_per_epoch=per_epoch,
    )


def train_data(plan: Plan, steps: int, processes: Processes) -> Callable[[int], Iterable[list[Batch]]]:
    """Returns the function that gives this process's micro-batches from a step on."""
    pipeline = find_pipeline(plan.cfg)

    def data(start: int) -> Iterable[list[Batch]]:
        return build_train_loader(
            pipeline,
            plan.training,
            start_step=start,
            num_steps=steps - start,
            rank=processes.rank,
            world=processes.world,
        )

    return data
