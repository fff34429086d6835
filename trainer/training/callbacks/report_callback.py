"""The HTML report of a run, renewed when training or an evaluation has finished."""

from __future__ import annotations

from pathlib import Path

from ...run_folder.report_page import refresh_report
from ..loop import Callback, Loop


class ReportCallback(Callback):
    """Writes the report at the end of a complete training, on the first process.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stop(self, loop: Loop, error: BaseException | None) -> None:
        """Writes the page unless training failed or was stopped: a stopped process has little time left."""
        if error is None and loop.done and loop.processes.main:
            refresh_report(self.folder)
