"""A training run from a checked plan: run folder, model, state, callbacks, loop."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...datasets.pipelines.base import find_pipeline
from ...datasets.records.catalog import Item, Record, Split
from ...datasets.records.record import category_mapping
from ...datasets.stream.loaders import build_train_loader, steps_per_epoch
from ...modeling.base import MetaArch
from ...modeling.build_model import build_model
from ...modeling.finetune import apply_policy, param_groups, param_table
from ...modeling.promptable import prompt_kinds
from ...modeling.weights.load_state import find_weights, load_state, read_state_dict
from ...modeling.weights.part_files import LoadedParts, check_frozen, read_parts
from ...modeling.weights.weight_files import weights_in_folder
from ...utils.config.architectures import find_architecture
from ...utils.config.dump import dump
from ...utils.config.sections import Shared
from ...utils.errors import ConfigError
from ...utils.files import atomic_write_json
from ...utils.logging import add_log_file, get_logger, remove_log_file, setup_logging
from ...utils.structures.samples import Batch
from ..evaluation.measure import evaluate, evaluation_kinds, scalars
from ..machine.distributed import Processes, pick_device
from ..machine.environment import check_torch, describe, seed_all, set_deterministic
from ..machine.launch import read_ranks
from ..machine.memory_use import training_keys
from ..machine.precision import build_precision
from ..machine.signals import StopSignals
from ..plan import Plan
from ..run_folder.checkpoints import Checkpoint, restore
from ..run_folder.folder import RunFolder
from ..weights.load_model import part_sources, read_header
from .callbacks.checkpoint_callback import CheckpointCallback
from .callbacks.evaluate_callback import EvaluateCallback
from .callbacks.log_callbacks import ConsoleCallback, JsonLinesCallback, LogCallback
from .callbacks.progress_callback import ProgressCallback
from .callbacks.published_callback import PublishedCallback
from .callbacks.report_callback import ReportCallback
from .callbacks.tracker_callbacks import TensorBoardCallback, WandbCallback
from .ema import Ema
from .loop import Callback, Loop, LoopSettings
from .lr_schedule import lr_factor, warmup_notice
from .optimizer import build_optimizer, parameter_names
from .state import TrainState

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
    steps = solver.MAX_ITERS if solver.MAX_ITERS > 0 else math.ceil(solver.MAX_NUM_EPOCHS * per_epoch - 1e-9)
    if steps < 1:
        raise ConfigError(
            f"nothing to train: SOLVER.MAX_ITERS {solver.MAX_ITERS} and SOLVER.MAX_NUM_EPOCHS {solver.MAX_NUM_EPOCHS} "
            "give no step"
        )
    return Length(steps, per_epoch, len(plan.training))


def with_names(plan: Plan, name: str) -> Plan:
    """Writes the run's name into the configuration, so that the saved one finds its own folder."""
    if plan.cfg.EXP_NAME:
        return plan
    return dataclasses.replace(plan, resolved=plan.resolved.settled({"EXP_NAME": name}))


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
    cfg = plan.cfg
    check_torch()
    ranks = read_ranks(port=cfg.PORT)
    setup_logging(quiet=not ranks.main)
    device = pick_device(cfg.DEVICE, ranks)
    with StopSignals() as stop, Processes(ranks, device) as processes:
        folder = RunFolder(Path(cfg.SAVE_DIR) / cfg.EXP_NAME, cfg.CHECKPOINT.KEEP)
        text = dump(plan.resolved)
        checkpoint = processes.on_main(lambda: folder.open(plan.resolved, resume, text))
        log_file = add_log_file(folder.path / "log.txt") if processes.main else None
        try:
            log.info("%s: process %d of %d on %s", ranks.source, ranks.rank, ranks.world, device)
            for notice in plan.notices:
                log.info("note: %s", notice)
            stopped = _run(plan, folder, checkpoint, processes, stop)
        finally:
            if log_file is not None:
                remove_log_file(log_file)
            folder.close()
    return 128 + stopped if stopped else 0


def _run(plan: Plan, folder: RunFolder, checkpoint: Checkpoint | None, processes: Processes, stop: StopSignals) -> int:
    """Trains inside an open run folder; returns 0 or the signal that ended it early."""
    length = run_length(plan)
    if _finished(checkpoint, length, bool(plan.test)):
        text = "%s is finished (%d steps); raise SOLVER.MAX_ITERS or MAX_NUM_EPOCHS to go on"
        log.info(text, folder.path, length.steps)
        return 0
    if processes.main:
        about = describe(processes.device, processes.world, processes.ranks.source)
        atomic_write_json(folder.path / "environment.json", about)
    loop = _build_loop(plan, folder, checkpoint, length, processes, stop)
    stopped = loop.run()
    if stopped:
        log.warning("stopped by a signal at step %d; the same command continues", loop.step)
    elif processes.main:
        log.info("finished: %d steps; results in %s", loop.step, folder.path)
    return stopped


def _finished(checkpoint: Checkpoint | None, length: Length, evaluates: bool) -> bool:
    if checkpoint is None or checkpoint.step < length.steps:
        return False
    return not evaluates or checkpoint.meta["counters"]["evaluated"] == checkpoint.step


def build_training(plan: Plan, device: torch.device, *, load: bool) -> tuple[TrainState, str]:
    """Builds model, optimizer and state.

    Args:
        plan: the checked configuration.
        device: where the model goes.
        load: load the weight files that the configuration names (WEIGHT and RESUME_FROM, and those of parts); not
            needed when a checkpoint follows, which lacks re-loadable parts only: their files are always read.

    Returns:
        The state at step 0, and the report for people: loaded weights and parameter table.
    """
    cfg = plan.cfg
    seed_all(cfg.SEED)
    set_deterministic(cfg.DETERMINISTIC)
    file = find_weights(cfg.RESUME_FROM) if load and cfg.WEIGHT else None
    state = None if file is None else read_state_dict(file)
    parts = load and (state is None or find_architecture(cfg.MODEL.NAME).lacks_parts(state.keys()))
    model = build_model(cfg, plan.categories, part_weights=parts)
    fixed, report = _load_weights(model, file, state)
    policy = model.train_policy()
    apply_policy(model, policy)
    check_frozen(fixed, policy.rules)
    report.append(param_table(model, policy, cfg.SOLVER.BASE_LR))
    model.to(device)
    optimizer = build_optimizer(cfg.SOLVER, param_groups(model, policy, cfg.SOLVER.BASE_LR), device)
    ema = Ema(parameter_names(model, optimizer), cfg.TRAIN.EMA) if cfg.TRAIN.EMA > 0 else None
    return TrainState(model, optimizer, build_precision(cfg, device), ema, fixed), "\n".join(report)


def _load_weights(
    model: MetaArch, file: Path | None, state: Mapping[str, Tensor] | None
) -> tuple[LoadedParts, list[str]]:
    """Loads the tensors of a weight file, if there is one, and the files of re-loadable parts, which come after it.

    Returns:
        What the files of the parts hold, and the report's paragraphs.
    """
    if file is None or state is None:
        parts = read_parts(model, {}, "the configuration")
        model.load_state_dict(parts.tensors, strict=False)
        report = []
    else:
        header = read_header(weights_in_folder(file) if file.is_dir() else file)
        parts = read_parts(model, part_sources(header), str(file))
        report = [load_state(model, state, source=str(file), parts=parts.tensors).text()]
    return parts, [*report, *([parts.text()] if parts.sources else [])]


def loop_settings(cfg: Shared, steps: int, per_epoch: float = math.inf) -> LoopSettings:
    """Reads the loop's settings from the configuration; ``steps`` and ``per_epoch`` are those of :class:`Length`."""
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


def _build_loop(
    plan: Plan,
    folder: RunFolder,
    checkpoint: Checkpoint | None,
    length: Length,
    processes: Processes,
    stop: StopSignals,
) -> Loop:
    cfg = plan.cfg
    state, report = build_training(plan, processes.device, load=checkpoint is None)
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
    own = checkpoint is not None and checkpoint.path.resolve().parent == folder.store.folder.resolve()
    return Loop(
        model,
        state,
        train_data(plan, length.steps, processes),
        loop_settings(cfg, length.steps, length.per_epoch),
        processes=processes,
        stop=stop,
        callbacks=_callbacks(plan, folder, length, state, processes, stop, resumed=checkpoint if own else None),
    )


def _callbacks(
    plan: Plan,
    folder: RunFolder,
    length: Length,
    state: TrainState,
    processes: Processes,
    stop: StopSignals,
    *,
    resumed: Checkpoint | None,
) -> list[Callback]:
    """Returns the callbacks in their order: figures, then evaluation, then the checkpoint that holds its result."""
    cfg = plan.cfg
    config, categories = dump(plan.resolved), [category_mapping(c) for c in plan.categories]
    evaluations = EvaluateCallback(
        _evaluators(plan, folder, state, processes, stop),
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
        resumed=resumed,
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


def _evaluators(
    plan: Plan, folder: RunFolder, state: TrainState, processes: Processes, stop: StopSignals
) -> dict[str, Callable[[], dict[str, float] | None]]:
    """Returns for each evaluation set a function that evaluates the current weights on it."""
    model = state.model
    found: dict[str, Callable[[], dict[str, float] | None]] = {}
    kinds = prompt_kinds(model), model.result_kinds
    for (record, split), items in zip(plan.test, plan.test_items, strict=True):
        evaluation_kinds(plan.cfg, record, split, *kinds)  # answered before training
        name = dataset_label(found, record.name, split.name)

        def run(
            record: Record = record, split: Split = split, items: list[Item] = items, name: str = name
        ) -> dict[str, float] | None:
            summary = evaluate(
                model,
                record,
                split,
                plan.cfg,
                processes=processes,
                precision=state.precision,
                folder=folder.evaluation(name),
                about={"step": state.counters.step},
                stopped=lambda: stop.received,
                items=items,
            )
            return None if summary is None else scalars(name, summary)

        found[name] = run
    return found


def dataset_label(taken: Iterable[str], name: str, split: str) -> str:
    """Returns the name of a data set's result folder; the split is added when two parts of one set are evaluated."""
    return f"{name}_{split}" if name in taken else name
