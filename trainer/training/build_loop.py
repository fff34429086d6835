"""Build a run, last: the loop, with data, settings and callbacks, put where the checkpoint says."""

from __future__ import annotations

import functools
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
from .loop import Loop, LoopSettings
from .lr_schedule import lr_factor, warmup_notice
from .prepare_run import PreparedRun

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
        loop_settings(cfg, length.steps, length.per_epoch),
        processes=processes,
        stop=stop,
        callbacks=build_callbacks(run, state, processes, stop),
    )


def loop_settings(cfg: Shared, steps: int, per_epoch: float = math.inf) -> LoopSettings:
    """Reads the loop's settings from the configuration; ``steps`` and ``per_epoch``: the run's ``Length``."""
    clip = cfg.SOLVER.CLIP_GRADIENTS
    return LoopSettings(
        seed=cfg.SEED,
        max_steps=steps,
        lr_factor=functools.partial(lr_factor, cfg.SOLVER, max_steps=steps, accumulate=cfg.GRADIENT_ACCUMULATE_STEP),
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
