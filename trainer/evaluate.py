"""The evaluation loop: predict every image of a data set once, score, write the results."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from segfoundry.datasets.build import build_eval_loader
from segfoundry.datasets.catalog import Record, Split
from segfoundry.datasets.evaluation.base import METRIC_VERSION, Evaluator
from segfoundry.datasets.evaluation.build import build_evaluators
from segfoundry.modeling.base import MetaArch
from segfoundry.trainer.callbacks.pictures import WorstPictures
from segfoundry.trainer.distributed import Processes
from segfoundry.trainer.memory import memory_errors
from segfoundry.trainer.precision import Precision
from segfoundry.utils.errors import ConfigError, UserError
from segfoundry.utils.files import atomic_write_json, atomic_write_text
from segfoundry.utils.logging import get_logger
from segfoundry.utils.structures import Request

log = get_logger(__name__)

_MEMORY_KEYS = ("TEST.BATCH_SIZE_TOTAL", "the evaluation image size", "PRECISION bf16")
_PROGRESS_SECONDS = 20.0
_SWITCHES = {"panoptic": "PANOPTIC_ON", "semantic": "SEMANTIC_ON", "instance": "INSTANCE_ON"}


def evaluation_kinds(cfg: Any, record: Record, split: Split) -> list[str]:
    """Returns what is scored: what the record offers and the configuration has not switched off.

    Raises:
        ConfigError: if nothing is left.
    """
    node: Any = cfg
    for part in ("MODEL", "DECODER", "TEST"):
        node = node.get(part, {})
    offered = record.evaluators_for(split)
    kinds = [kind for kind in offered if node.get(_SWITCHES.get(kind, ""), True)]
    if not kinds:
        keys = ", ".join(f"MODEL.DECODER.TEST.{_SWITCHES[kind]}" for kind in offered)
        raise ConfigError(
            f"nothing to evaluate on {record.name!r}: it offers {', '.join(offered)}; switch on one of {keys}"
        )
    return kinds


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each module's own mode returns afterwards, also after an error."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():  # not inference_mode: a model may re-enable gradients at test time
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def evaluate(
    model: MetaArch,
    record: Record,
    split: Split,
    cfg: Any,
    *,
    processes: Processes,
    precision: Precision,
    folder: Path | None = None,
    pictures: int = 12,
    about: dict[str, Any] | None = None,
    stopped: Callable[[], int] = lambda: 0,
) -> dict[str, Any] | None:
    """Evaluates a model on one data set, with all processes.

    Args:
        model: bare meta-architecture.
        record: the data set.
        split: its part.
        cfg: configuration tree.
        processes: the processes of the job.
        precision: arithmetic of the forward pass.
        folder: where process 0 writes metrics.json, tables and result files; None: nowhere.
        pictures: comparison pictures of the worst images; 0: none.
        about: entries added to metrics.json, e.g. the weights' origin.
        stopped: returns a signal's number when the evaluation should be broken off.

    Returns:
        On process 0 kind -> metrics in percent; elsewhere an empty mapping; None on all when broken off.

    Raises:
        UserError: on all processes, when one of them cannot read its data or has too little memory.
    """
    evaluators = build_evaluators(record, split, evaluation_kinds(cfg, record, split))
    worst = WorstPictures(record.categories, pictures if folder is not None else 0)
    consumers: list[Any] = [*evaluators.values(), worst]
    request = Request(tasks=tuple(evaluator.task for evaluator in evaluators.values()))
    started = time.perf_counter()
    complete, failure = False, None
    try:
        with evaluation_mode(model), memory_errors(processes.device, _MEMORY_KEYS):
            model.set_vocabulary(record.categories)
            complete = _predict_all(model, cfg, record, split, request, consumers, processes, precision, stopped)
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
    model: MetaArch,
    cfg: Any,
    record: Record,
    split: Split,
    request: Request,
    consumers: list[Any],
    processes: Processes,
    precision: Precision,
    stopped: Callable[[], int],
) -> bool:
    """Feeds every image of this process's share to the consumers; returns False when told to stop."""
    loader = build_eval_loader(cfg, record, split, rank=processes.rank, world=processes.world, mapper=model.mapper)
    total = len(loader) if hasattr(loader, "__len__") else 0
    started = shown = time.perf_counter()
    images = 0
    for number, batch in enumerate(loader, start=1):
        if stopped():
            return False
        samples = batch.samples
        batch = batch.to(processes.device, non_blocking=True)
        with precision.autocast():
            predictions = model(batch, request=request)
        for sample, prediction in zip(samples, predictions, strict=True):
            for consumer in consumers:
                consumer.process(sample, prediction)
        images += len(samples)
        now = time.perf_counter()
        if processes.main and now - shown > _PROGRESS_SECONDS:
            shown = now
            rate = images / (now - started)
            left = f", {(total - number) * (now - started) / number:.0f} s left" if total else ""
            log.info("evaluating %s: %d images, %.2f img/s per process%s", record.name, images, rate, left)
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
        atomic_write_text(folder / f"{kind}_per_class.txt", evaluator.table(summary[kind]) + "\n")
    worst.write(folder)
    head = {"unit": "percent", "dataset": record.name, "split": split.name, "metric_version": METRIC_VERSION, **about}
    protocol = {kind: evaluator.protocol() for kind, evaluator in evaluators.items()}
    atomic_write_json(folder / "metrics.json", {**head, **summary, "protocol": protocol})


def scalars(dataset: str, summary: dict[str, Any]) -> dict[str, float]:
    """Returns ``DATASET/KIND/METRIC`` -> value for the figures that are single numbers."""
    return {
        f"{dataset}/{kind}/{name}": float(value)
        for kind, metrics in summary.items()
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and name != "images"
    }
