"""The evaluation loop: predict every image of a data set once, score, write the results."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ...datasets.evaluators.base import METRIC_VERSION, Evaluator
from ...datasets.evaluators.build_evaluators import build_evaluators, possible_kinds
from ...datasets.pipelines.base import find_pipeline
from ...datasets.records.catalog import Item, Record, Split
from ...datasets.stream.loaders import EvalLoader, build_eval_loader
from ...datasets.tasks.registry import find_task, prompt_of
from ...modeling.base import MetaArch
from ...modeling.promptable import prompt_kinds
from ...utils.config.architectures import find_architecture
from ...utils.config.schema import value_at
from ...utils.config.sections import Shared
from ...utils.errors import ConfigError, UserError
from ...utils.files import atomic_write_json, atomic_write_text
from ...utils.logging import get_logger
from ..machine.distributed import Processes
from ..machine.memory_use import memory_errors
from ..machine.precision import Precision
from .passes import EvaluationPasses
from .worst_pictures import WorstPictures

log = get_logger(__name__)

_MEMORY_KEYS = ("TEST.BATCH_SIZE_TOTAL", "the evaluation image size", "PRECISION bf16")
_PROGRESS_SECONDS = 20.0


def evaluation_kinds(
    cfg: Shared,
    record: Record,
    split: Split,
    prompt_kinds: Collection[str] = (),
    result_kinds: Collection[str] | None = None,
) -> list[str]:
    """Returns what is scored: TEST.EVALUATORS or what the record offers, as far as it is possible.

    What the configuration has switched off is left out; what was asked for and cannot be done is named in the log. A
    network that gives none of the results a record offers is measured by what else the annotations allow.

    Args:
        cfg: configuration.
        record: the data set.
        split: its part.
        prompt_kinds: prompts that the model takes (``Promptable.prompt_kinds``).
        result_kinds: results that the model gives (``MetaArch.result_kinds``); None: all.

    Raises:
        ConfigError: if nothing is left, or TEST.EVALUATORS asks for what the model does not take or give.
    """
    switches = _Switches(cfg)
    asked, possible = list(cfg.TEST.EVALUATORS), possible_kinds(split)
    wanted = asked or list(record.evaluators_for(split))
    if not asked and result_kinds is not None and not any(prompt_of(k) or k in result_kinds for k in wanted):
        results = [k for k in possible if k in result_kinds]
        wanted = results or [k for k in possible if prompt_of(k)] or wanted
    kinds = []
    for kind in wanted:
        obstacle = _obstacle(cfg, kind, prompt_kinds, result_kinds)
        if asked and kind not in possible:
            _note(f"{record.name}: no {kind} evaluation, its annotations do not allow it ({', '.join(possible)} only)")
        elif not switches.on(kind):
            if prompt_of(kind):
                _note(f"{record.name}: no {kind} evaluation, {switches.keys[kind]} is off")
        elif obstacle:
            if asked:
                raise ConfigError(f"TEST.EVALUATORS: {obstacle}")
            _note(f"{record.name}: {obstacle}")
        else:
            kinds.append(kind)
    if not kinds:
        _refuse(cfg, record, [kind for kind in wanted if kind in possible] or possible, possible)
    return kinds


def _obstacle(
    cfg: Shared, kind: str, prompt_kinds: Collection[str], result_kinds: Collection[str] | None
) -> str | None:
    """Returns why a model cannot be measured by a kind of evaluator, or None."""
    prompt = prompt_of(kind)
    if prompt:
        verb, needed, offered = "takes", f"{prompt} prompts", prompt_kinds
        missing = prompt not in prompt_kinds
    else:
        verb, needed, offered = "gives", f"{kind} results", result_kinds or ()
        missing = result_kinds is not None and kind not in result_kinds
    if not missing:
        return None
    has = ", ".join(sorted(offered)) or "none"
    return f"the {kind} evaluation needs a model that {verb} {needed}; {cfg.MODEL.NAME} {verb} {has}"


def _refuse(cfg: Shared, record: Record, offered: Sequence[str], possible: Sequence[str]) -> None:
    """Raises a ConfigError: nothing can be measured; ``offered`` is what could be, but for the configuration."""
    asked = list(cfg.TEST.EVALUATORS)
    switches = _Switches(cfg)
    off = [switches.keys[kind] for kind in offered if not switches.on(kind)]
    ways = [f"switch on one of {', '.join(off)}"] if off else []
    if asked:
        ways.append(f"change TEST.EVALUATORS {asked}")
    ways = ways or [f"{cfg.MODEL.NAME} gives no such result; name another data set in DATASETS.TEST, or [] for none"]
    raise ConfigError(f"nothing to evaluate on {record.name!r}: it offers {', '.join(possible)}; {', or '.join(ways)}")


class _Switches:
    """The keys that switch tasks off; a task without one is on."""

    def __init__(self, cfg: Shared) -> None:
        self.keys = find_architecture(cfg.MODEL.NAME).task_switches
        self._cfg = cfg

    def on(self, kind: str) -> bool:
        return kind not in self.keys or bool(value_at(self._cfg, self.keys[kind]))


@cache
def _note(text: str) -> None:
    """Tells the user once, however many evaluations follow."""
    log.info("note: %s", text)


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
    cfg: Shared,
    *,
    processes: Processes,
    precision: Precision,
    folder: Path | None = None,
    pictures: int = 12,
    about: dict[str, Any] | None = None,
    stopped: Callable[[], int] = lambda: 0,
    items: Sequence[Item] | None = None,
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
        On process 0 kind -> metrics in percent; elsewhere an empty mapping; None on all when broken off.

    Raises:
        UserError: on all processes, when one of them cannot read its data or has too little memory.
    """
    kinds = evaluation_kinds(cfg, record, split, prompt_kinds(model), model.result_kinds)
    pipeline = find_pipeline(cfg)
    evaluators = build_evaluators(record, split, kinds, pipeline.evaluator_options(split, kinds))
    worst = WorstPictures(record.categories, pictures if folder is not None else 0)
    consumers: list[Any] = [*evaluators.values(), worst]
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
