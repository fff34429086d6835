"""A progress bar on a terminal; nothing elsewhere."""

from __future__ import annotations

import sys
from typing import Any

from ....utils.files import human_size
from ....utils.logging import console
from ..loop import Callback, Loop


class ProgressCallback(Callback):
    """Steps, remaining time, speed, share of time spent waiting for data, memory, learning rate and loss."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def start(self, loop: Loop) -> None:
        """Opens the bar on the first process if standard error is a terminal."""
        if not (loop.processes.main and sys.stderr.isatty()):
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        steps = 2 * len(str(loop.settings.max_steps)) + 1
        # On a narrow terminal the figures at the end are cut, never the step and the remaining time.
        columns = (
            BarColumn(bar_width=12),
            MofNCompleteColumn(table_column=Column(min_width=steps, no_wrap=True)),
            TimeRemainingColumn(table_column=Column(min_width=len("0:00:00"), no_wrap=True)),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="crop")),
        )
        self._bar = Progress(*columns, console=console(), transient=True)
        self._task = self._bar.add_task("", total=loop.settings.max_steps, completed=loop.step)
        self._bar.start()

    def step(self, loop: Loop) -> None:
        """Advances the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=loop.step)

    def record(self, loop: Loop, record: dict[str, Any]) -> None:
        """Renews the figures."""
        if self._bar is not None and record["kind"] == "train":
            text = (
                f"loss {record['loss_mean']:.3f}  lr {record['lr']:.1e}  {record['images_per_second']:.1f} img/s  "
                f"data {100 * record['data_wait']:.0f}%  mem {human_size(record['memory'])}"
            )
            self._bar.update(self._task, description=text)

    def stop(self, loop: Loop, error: BaseException | None) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.stop()
