"""Evaluates during training and keeps the best weights by a named metric."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ....datasets.tasks.registry import deciding_metric, fewer_is_better
from ....utils.errors import ConfigError, did_you_mean
from ....utils.logging import get_logger
from ...run_folder.checkpoints import write_weights
from ..loop import Callback, Loop
from .checkpoint_callback import crosses

log = get_logger(__name__)


class EvaluateCallback(Callback):
    """Evaluates when it is due, and once more after a resume that found an evaluation missing.

    Args:
        evaluations: data set name -> function that evaluates the current weights; it returns the scalar metrics
            ``DATASET/KIND/METRIC`` on process 0, an empty mapping elsewhere, and None when it was broken off.
        every: steps between evaluations; 0: none by steps.
        every_epochs: epochs between evaluations; 0: none by epochs.
        steps_per_epoch: steps of one pass over the data.
        at_start: evaluate before the first step.
        metric: what decides, ``DATASET/KIND/METRIC`` or its end; empty: what the tasks measured on the first data set
            say (``Task.deciding``).
        best: file of the best weights.
        about: ``config`` and ``categories`` written into that file.
    """

    def __init__(
        self,
        evaluations: dict[str, Callable[[], dict[str, float] | None]],
        *,
        every: int,
        every_epochs: float,
        steps_per_epoch: float,
        at_start: bool,
        metric: str,
        best: Path,
        about: dict[str, Any],
    ) -> None:
        self.evaluations = evaluations
        self.every, self.period = every, every_epochs * steps_per_epoch
        self.at_start, self.metric, self.best, self.about = at_start, metric, best, about

    def _due(self, loop: Loop) -> bool:
        if not self.evaluations:
            return loop.done
        if loop.step == 0:
            return self.at_start
        return crosses(loop.step, self.every) or crosses(loop.step, self.period) or loop.done

    def start(self, loop: Loop) -> None:
        """Evaluates at the start when asked to, or when a stop signal cut the evaluation of this step off."""
        self.step(loop)

    def step(self, loop: Loop) -> None:
        """Evaluates when it is due."""
        if self._due(loop) and loop.state.counters.evaluated != loop.step:
            self._evaluate(loop)

    def _evaluate(self, loop: Loop) -> None:
        metrics: dict[str, float] = {}
        records = []
        with loop.state.ema.applied() if loop.state.ema else nullcontext():
            for name, evaluator in self.evaluations.items():
                started = time.perf_counter()
                found = evaluator()
                if found is None:
                    log.info("evaluation broken off; it is made up for when the run continues")
                    return
                metrics.update(found)
                records.append({"dataset": name, "seconds": time.perf_counter() - started, "metrics": found})
            # Every process learns the figures, so that the state is the same everywhere.
            metrics = loop.processes.broadcast(metrics)
            self._keep_best(loop, metrics)
        loop.state.counters.evaluated = loop.step
        for record in records:
            loop.emit("record", {"kind": "eval", "step": loop.step, **record})

    def _keep_best(self, loop: Loop, metrics: dict[str, float]) -> None:
        """Saves the weights when the deciding metric is better than ever; without any metric the last weights count."""
        name = pick_metric(self.metric, metrics) if self.evaluations else None
        value = metrics.get(name) if name else None
        best = loop.state.counters.best
        if best is not None and best["value"] is not None and name in (None, best["metric"]):
            # A record of another metric (TRAIN.BEST_METRIC changed) cannot be compared.
            if value is None or not better(name or best["metric"], value, best["value"]):
                return
        loop.state.counters.best = {"metric": name, "value": value, "step": loop.step}
        if loop.processes.main:
            about = {**self.about, **loop.state.counters.best, **loop.state.about()}
            write_weights(self.best, loop.state.weights(), about)
            shown = f"{name} {value:.2f}" if value is not None else "no metric"
            log.info("best weights so far (%s at step %d): %s", shown, loop.step, self.best)


def better(name: str, value: float, than: float) -> bool:
    """Whether a metric's value beats another one: larger, or smaller where clicks, failures or losses are counted."""
    return value < than if fewer_is_better(name) else value > than


def pick_metric(wanted: str, metrics: dict[str, float]) -> str | None:
    """Returns the full name of the deciding metric.

    Args:
        wanted: configuration key TRAIN.BEST_METRIC: a full name, its end, or empty for the default.
        metrics: ``DATASET/KIND/METRIC`` -> value, the first data set first.

    Raises:
        ConfigError: if no metric, or more than one, ends like that; names what there is.
    """
    if not wanted:
        dataset = next(iter(metrics), "").split("/")[0]
        return deciding_metric([name for name in metrics if name.startswith(f"{dataset}/")])
    found = [name for name in metrics if name == wanted or name.endswith(f"/{wanted}")]
    if len(found) != 1:
        known = json.dumps(sorted(metrics))
        problem = "is no metric of this evaluation" if not found else f"fits several metrics: {', '.join(found)}"
        raise ConfigError(
            f"TRAIN.BEST_METRIC {wanted!r} {problem}{did_you_mean(wanted, metrics) or '.'} Known: {known}"
        )
    return found[0]
