"""The evaluation loop: predict every image of a data set once, score, write the results."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...datasets.evaluators.base import METRIC_VERSION, Evaluator, units_in
from ...datasets.evaluators.build_evaluators import build_evaluators
from ...datasets.pipelines.base import find_pipeline
from ...datasets.records.image_item import ImageItem
from ...datasets.records.record import Record
from ...datasets.records.split import Split
from ...datasets.stream.loaders import EvalLoader, build_eval_loader
from ...datasets.tasks.registry import find_task
from ...modeling.base import MetaArch
from ...modeling.evaluation_mode import evaluation_mode
from ...modeling.promptable import prompt_kinds
from ...utils.config.sections import Shared
from ...utils.errors import UserError
from ...utils.files import atomic_write_json, atomic_write_text
from ...utils.logging import get_logger
from ..machine.distributed import Processes
from ..machine.memory_use import memory_errors
from ..machine.precision import Precision
from ..prediction.empty_results import EmptyResults
from .measured_tasks import evaluation_kinds
from .passes import EvaluationPasses
from .worst_pictures import WorstPictures

log = get_logger(__name__)

_MEMORY_KEYS = ("TEST.BATCH_SIZE_TOTAL", "the evaluation image size", "PRECISION bf16")
_PROGRESS_SECONDS = 20.0


def measure(
    model: MetaArch,
    record: Record,
    split: Split,
    cfg: Shared,
    *,
    processes: Processes,
    precision: Precision,
    folder: Path | None = None,
    pictures: int = 12,
    about: dict[str, Any] | None = None,
    stopped: Callable[[], int] = lambda: 0,
    items: Sequence[ImageItem] | None = None,
) -> dict[str, Any] | None:
    """Evaluates a model on one data set, with all processes.

    Args:
        model: bare meta-architecture.
        record: the data set.
        split: its part.
        cfg: configuration.
        processes: the processes of the job.
        precision: arithmetic of the forward pass.
        folder: where process 0 writes metrics.json, tables and result files; None: nowhere.
        pictures: comparison pictures of the worst images; 0: none.
        about: entries added to metrics.json, e.g. the weights' origin.
        stopped: returns a signal's number when the evaluation should be broken off.
        items: the images of the split; None: they are listed here.

    Returns:
        On process 0 kind -> metrics, in percent but for ``Evaluator.units``; elsewhere an empty mapping; None on all
        when broken off.

    Raises:
        UserError: on all processes, when one of them cannot read its data or has too little memory.
    """
    kinds = evaluation_kinds(cfg, record, split, prompt_kinds(model), model.result_kinds)
    pipeline = find_pipeline(cfg)
    evaluators = build_evaluators(record, split, kinds, pipeline.evaluator_options(split, kinds))
    worst = WorstPictures(record.categories, pictures if folder is not None else 0, cfg.INPUT.BIT_DEPTH)
    empty = EmptyResults()
    consumers: list[Any] = [*evaluators.values(), worst, empty]
    asked = tuple(find_task(kind).asks for kind in kinds)
    passes = EvaluationPasses(model, asked, pipeline.click_protocol(split), processes.device)
    started = time.perf_counter()
    complete, failure = False, None
    try:
        with evaluation_mode(model), memory_errors(processes.device, _MEMORY_KEYS):
            model.set_vocabulary(record.categories)
            loader = build_eval_loader(
                pipeline, record, split, rank=processes.rank, world=processes.world, kinds=kinds, items=items
            )
            complete = _predict_all(record.name, loader, passes, consumers, processes, precision, stopped)
    except UserError as error:
        failure = error
    # All processes learn here, at the same place, that one of them met bad data or was told to stop.
    outcomes = processes.all_gather((complete, failure and str(failure)))
    for _, text in outcomes:
        if text:
            raise UserError(text) from failure
    if not all(finished for finished, _ in outcomes):
        return None
    gathered = processes.gather([consumer.state() for consumer in consumers])
    if gathered is None:
        return {}
    for number, consumer in enumerate(consumers):
        consumer.merge([states[number] for states in gathered])
    empty.report(model.empty_hints)
    summary = {kind: _summarize(evaluator) for kind, evaluator in evaluators.items()}
    if folder is not None:
        about = {**(about or {}), "seconds": round(time.perf_counter() - started, 3)}
        _write(folder, record, split, evaluators, summary, worst, about)
    return summary


def _summarize(evaluator: Evaluator) -> dict[str, Any]:
    """Returns an evaluator's metrics; its warnings go to the log."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        summary = evaluator.summarize()
    for warning in caught:
        log.warning("%s", warning.message)
    return summary


def _predict_all(
    name: str,
    loader: EvalLoader,
    passes: EvaluationPasses,
    consumers: list[Any],
    processes: Processes,
    precision: Precision,
    stopped: Callable[[], int],
) -> bool:
    """Feeds every image of this process's share to the consumers; returns False when told to stop."""
    total = len(loader) if hasattr(loader, "__len__") else 0
    started = shown = time.perf_counter()
    images = 0
    for number, batch in enumerate(loader, start=1):
        if stopped():
            return False
        samples = batch.samples
        batch = batch.to(processes.device, non_blocking=True)
        with precision.autocast():
            predictions = passes(batch)
        for sample, prediction in zip(samples, predictions, strict=True):
            for consumer in consumers:
                consumer.process(sample, prediction)
        images += len(samples)
        now = time.perf_counter()
        if processes.main and now - shown > _PROGRESS_SECONDS:
            shown = now
            rate = images / (now - started)
            left = f", {(total - number) * (now - started) / number:.0f} s left" if total else ""
            log.info("evaluating %s: %d images, %.2f img/s per process%s", name, images, rate, left)
    return True


def _write(
    folder: Path,
    record: Record,
    split: Split,
    evaluators: dict[str, Evaluator],
    summary: dict[str, Any],
    worst: WorstPictures,
    about: dict[str, Any],
) -> None:
    """Writes metrics.json, one table per kind, the predictions and the pictures."""
    for kind, evaluator in evaluators.items():
        evaluator.write(folder)
        atomic_write_text(folder / evaluator.table_file, evaluator.table(summary[kind]) + "\n")
    worst.write(folder)
    units = {kind: units_in(summary[kind], evaluator.units) for kind, evaluator in evaluators.items()}
    head: dict[str, Any] = {"unit": "percent", "units": units, "dataset": record.name, "split": split.name}
    head |= {"metric_version": METRIC_VERSION, **about}
    protocol = {kind: evaluator.protocol() for kind, evaluator in evaluators.items()}
    atomic_write_json(folder / "metrics.json", {**head, **summary, "protocol": protocol})
