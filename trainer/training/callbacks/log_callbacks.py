"""Figures of training: computed every LOG_EVERY steps, then written by whoever listens."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from ....utils.files import atomic_write_text, human_size
from ....utils.json_text import parse_json
from ....utils.logging import get_logger
from ...machine.memory_use import peak_memory
from ..loop import Callback, Loop

log = get_logger(__name__)

_HEADLINE = ("PQ", "SQ", "RQ", "mIoU", "AP", "AP50")


class LogCallback(Callback):
    """Collects figures and emits a ``record``; losses leave the device only then.

    Args:
        every: steps between records.
        first: each of the first steps has a record.
        steps_per_epoch: for the epoch shown.
    """

    def __init__(self, every: int, first: int, steps_per_epoch: float) -> None:
        self.every, self.first, self.steps_per_epoch = max(1, every), first, steps_per_epoch
        self._reported = 0
        self._clear()

    def _clear(self) -> None:
        self._steps = self._images = 0
        self._seconds = self._data = 0.0
        self._sum = torch.zeros(())

    def step(self, loop: Loop) -> None:
        """Adds the step to the running figures and emits a record when one is due."""
        self._steps += 1
        self._images += loop.step_images
        self._seconds += loop.step_seconds
        self._data += loop.data_seconds
        self._sum = self._sum + torch.stack(list(loop.losses.values())).sum().float()
        if loop.step % self.every == 0 or loop.step <= self.first or loop.done:
            loop.emit("record", self._record(loop))
            self._clear()

    def _record(self, loop: Loop) -> dict[str, Any]:
        names = sorted(loop.losses)
        values = torch.stack([*(loop.losses[name].float() for name in names), self._sum / self._steps])
        *terms, mean = loop.processes.sum_(values).tolist()
        unreadable = self._unreadable(loop)
        monitors = {name: float(value) for name, value in sorted(loop.state.model.monitors.items())}
        return {
            "kind": "train",
            "step": loop.step,
            "epoch": round(loop.step / self.steps_per_epoch, 4),
            "loss": sum(terms),
            "loss_mean": mean,
            "losses": dict(zip(names, terms, strict=True)),
            **({"monitors": monitors} if monitors else {}),
            "lr": max(group["lr"] for group in loop.state.optimizer.param_groups),
            "grad_norm": float(loop.grad_norm),
            "images_per_second": self._images / self._seconds,
            "step_seconds": self._seconds / self._steps,
            "data_wait": self._data / self._seconds,
            "memory": peak_memory(loop.processes.device),
            "images": loop.state.counters.images,
            "skipped": loop.state.counters.skipped,
            **({"unreadable_images": unreadable} if unreadable else {}),
            "eta_seconds": (loop.settings.max_steps - loop.step) * self._seconds / self._steps,
        }

    def _unreadable(self, loop: Loop) -> int:
        """Warns of images that had to be replaced since the last record; returns their number since this start."""
        everyone = loop.processes.all_gather((len(loop.unreadable), loop.unreadable[self._reported :]))
        self._reported = len(loop.unreadable)
        for message in (text for _, texts in everyone for text in texts):
            log.warning("%s; another image took its place", message)
        return sum(count for count, _ in everyone)


class ConsoleCallback(Callback):
    """One log line per record, and once the loss terms."""

    def __init__(self) -> None:
        self._introduced = False

    def record(self, loop: Loop, record: dict[str, Any]) -> None:
        """Writes the line, on the first process."""
        if not loop.processes.main:
            return
        if record["kind"] == "train":
            if not self._introduced:
                terms = ", ".join(f"{name} {value:.4g}" for name, value in record["losses"].items())
                log.info("%d loss terms, whose sum is trained: %s", len(record["losses"]), terms)
                self._introduced = True
            log.info(train_line(record, loop.settings.max_steps))
        else:
            shown = "  ".join(f"{name} {value:.2f}" for name, value in headline(record["metrics"]).items())
            log.info(
                "evaluation at step %d on %s (%.1f s): %s", record["step"], record["dataset"], record["seconds"], shown
            )


def headline(metrics: dict[str, float]) -> dict[str, float]:
    """Returns the figures that people look at first, or the first six when none has a usual name."""
    usual = {name: value for name, value in metrics.items() if name.rsplit("/", 1)[-1] in _HEADLINE}
    return usual or dict(list(metrics.items())[:6])


def train_line(record: dict[str, Any], max_steps: int) -> str:
    """Returns a training record as one line of text."""
    eta = time.strftime("%H:%M:%S", time.gmtime(record["eta_seconds"] % 86400))
    days = int(record["eta_seconds"] // 86400)
    skipped = f"  skipped {record['skipped']}" if record["skipped"] else ""
    return (
        f"step {record['step']}/{max_steps}  epoch {record['epoch']:.2f}  loss {record['loss']:.4f} "
        f"(mean {record['loss_mean']:.4f})  lr {record['lr']:.2e}  {record['images_per_second']:.2f} img/s  "
        f"data {100 * record['data_wait']:.0f}%  mem {human_size(record['memory'])}  "
        f"eta {f'{days}d ' if days else ''}{eta}{skipped}"
    )


class JsonLinesCallback(Callback):
    """Appends every record as one line of ``metrics.jsonl``, on the first process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(self, loop: Loop, record: dict[str, Any]) -> None:
        """Appends the line and pushes it to the system at once, so that a crash loses nothing written before."""
        if loop.processes.main:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


def truncate_records(path: Path, step: int) -> None:
    """Removes lines of ``metrics.jsonl`` after ``step``, and a last line cut off by a crash: they are written again."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            if line.endswith("\n") and parse_json(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    atomic_write_text(path, "".join(kept))
