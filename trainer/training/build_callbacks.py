"""What accompanies the loop of a run: figures, evaluation, checkpoints, report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ...datasets.records.image_item import ImageItem
from ...datasets.records.record import Record, category_mapping
from ...datasets.records.split import Split
from ...modeling.promptable import prompt_kinds
from ...utils.config.dump import dump
from ..evaluation.measure import measure
from ..evaluation.measured_tasks import evaluation_kinds
from ..evaluation.result_names import dataset_label, scalars
from ..machine.distributed import Processes
from ..machine.signals import StopSignals
from .callbacks.checkpoint_callback import CheckpointCallback
from .callbacks.evaluate_callback import EvaluateCallback
from .callbacks.log_callbacks import ConsoleCallback, JsonLinesCallback, LogCallback
from .callbacks.progress_callback import ProgressCallback
from .callbacks.published_callback import PublishedCallback
from .callbacks.report_callback import ReportCallback
from .callbacks.tracker_callbacks import TensorBoardCallback, WandbCallback
from .loop import Callback
from .prepare_run import PreparedRun
from .state import TrainState


def build_callbacks(run: PreparedRun, state: TrainState, processes: Processes, stop: StopSignals) -> list[Callback]:
    """Returns the callbacks in their order: figures, then evaluation, then the checkpoint that holds its result."""
    plan, folder, length = run.plan, run.folder, run.length
    cfg = plan.cfg
    config, categories = dump(plan.resolved), [category_mapping(c) for c in plan.categories]
    evaluations = EvaluateCallback(
        _evaluations(run, state, processes, stop),
        every=cfg.TRAIN.EVAL_EVERY,
        every_epochs=cfg.TRAIN.EVAL_EVERY_EPOCHS,
        steps_per_epoch=length.per_epoch,
        at_start=cfg.EVAL_AT_START,
        metric=cfg.TRAIN.BEST_METRIC,
        best=folder.best,
        about={"config": config, "categories": categories},
    )
    checkpoints = CheckpointCallback(
        folder.store,
        every=cfg.CHECKPOINT.EVERY,
        every_epochs=cfg.CHECKPOINT.EVERY_EPOCHS,
        steps_per_epoch=length.per_epoch,
        config=config,
        categories=categories,
        resumed=run.resumed,
    )
    listeners: list[Callback] = [JsonLinesCallback(folder.metrics), ConsoleCallback(), ProgressCallback()]
    if cfg.TENSORBOARD:
        listeners.append(TensorBoardCallback(folder.path))
    if cfg.WANDB:
        listeners.append(WandbCallback(folder.path, cfg.WANDB_PROJECT, dataclasses.asdict(cfg)))
    figures = LogCallback(cfg.LOG_EVERY, cfg.LOG_FIRST, length.per_epoch)
    published = PublishedCallback(
        folder.path,
        state.model,
        weights=cfg.CHECKPOINT.PUBLISHED,
        optimizer=cfg.CHECKPOINT.PUBLISHED_OPTIMIZER,
        every_epochs=cfg.CHECKPOINT.EVERY_EPOCHS,
        steps_per_epoch=length.per_epoch,
        batch=cfg.TRAIN.BATCH_SIZE_TOTAL,
    )
    # The published files come first: an evaluation that fails still leaves a checkpoint, and where that is, they are.
    return [*listeners, figures, published, evaluations, checkpoints, ReportCallback(folder.path)]


def _evaluations(
    run: PreparedRun, state: TrainState, processes: Processes, stop: StopSignals
) -> dict[str, Callable[[], dict[str, float] | None]]:
    """Returns for each evaluation set a function that evaluates the current weights on it."""
    plan, model = run.plan, state.model
    found: dict[str, Callable[[], dict[str, float] | None]] = {}
    kinds = prompt_kinds(model), model.result_kinds
    for (record, split), items in zip(plan.test, plan.test_items, strict=True):
        evaluation_kinds(plan.cfg, record, split, *kinds)  # answered before training
        name = dataset_label(found, record.name, split.name)

        def measure_now(
            record: Record = record, split: Split = split, items: list[ImageItem] = items, name: str = name
        ) -> dict[str, float] | None:
            summary = measure(
                model,
                record,
                split,
                plan.cfg,
                processes=processes,
                precision=state.precision,
                folder=run.folder.evaluation(name),
                about={"step": state.counters.step},
                stopped=lambda: stop.received,
                items=items,
            )
            return None if summary is None else scalars(name, summary)

        found[name] = measure_now
    return found
