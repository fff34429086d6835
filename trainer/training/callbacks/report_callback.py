"""The HTML report of a run, renewed when training or an evaluation has finished."""

from __future__ import annotations

from pathlib import Path

from ....datasets.tasks.registry import report_figures
from ....utils.errors import UserError
from ....utils.logging import get_logger
from ...run_folder.report_page import write_report
from ..loop import Callback, Loop

log = get_logger(__name__)


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


def refresh_report(folder: Path) -> None:
    """Writes the report of a run folder; a report that cannot be written is a warning, never the end of a run."""
    try:
        log.info("report: %s", write_report(folder, report_figures()))
    except (UserError, OSError, ValueError, ImportError) as error:
        log.warning("no report was written: %s (entry.py report --run %s tries again)", error, folder)
