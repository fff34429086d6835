"""Log lines: coloured on a terminal, plain otherwise, and a copy in the run folder."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

_ROOT = "segfoundry"
_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def get_logger(name: str = "") -> logging.Logger:
    """Returns the logger of a module; pass ``__name__``. Nothing is configured by importing it."""
    if not name or name == _ROOT:
        return logging.getLogger(_ROOT)
    return logging.getLogger(name if name.startswith(f"{_ROOT}.") else f"{_ROOT}.{name}")


class _Lines(logging.Formatter):
    """``12:34:56 text``; the level is named from WARNING upwards only."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return f"{self.formatTime(record, '%H:%M:%S')} {level}{super().format(record)}"


class _TerminalHandler(logging.Handler):
    """Writes to standard error; through rich's console on a terminal, so that a progress bar stays intact."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if sys.stderr.isatty():
            style = {logging.WARNING: "yellow", logging.ERROR: "red"}.get(record.levelno, "")
            console().print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)


_console = None


def console():  # noqa: ANN201 - rich is imported only when a terminal is written to
    """Returns the one rich console (standard error) that progress bars and log lines share."""
    global _console
    if _console is None:
        from rich.console import Console

        _console = Console(stderr=True)
    return _console


def setup_logging(*, quiet: bool = False) -> None:
    """Sends log lines to standard error; calling it again replaces the earlier set-up.

    Args:
        quiet: errors only; for processes other than the first.
    """
    root = get_logger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    handler = _TerminalHandler()
    handler.setFormatter(_Lines())
    root.addHandler(handler)
    root.setLevel(logging.ERROR if quiet else logging.INFO)
    root.propagate = False


def add_log_file(path: str | Path) -> logging.Handler:
    """Appends all further log lines to a file; returns the handler, for :func:`remove_log_file`."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(_FORMAT))
    get_logger().addHandler(handler)
    return handler


def remove_log_file(handler: logging.Handler) -> None:
    """Closes a log file opened by :func:`add_log_file`."""
    get_logger().removeHandler(handler)
    handler.close()
