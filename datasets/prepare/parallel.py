"""Runs one function over many files in several processes, in order, with bounded memory and a progress display."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from ...utils.errors import DataError

T = TypeVar("T")
R = TypeVar("R")

_SMALL = 64  # fewer tasks are done before a second process has started
_LINE_SECONDS = 10.0


def default_workers() -> int:
    """Returns the processors this process may use, at most 8."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, 8)


def run_parallel(
    function: Callable[[T], R], tasks: Sequence[T], *, workers: int | None = None, label: str = ""
) -> Iterator[R]:
    """Yields ``function(task)`` for each task, in the order of the tasks.

    Args:
        function: a module-level function; what it raises is raised here.
        tasks: picklable arguments.
        workers: processes; 0 or 1: none but this one; None: as many as processors, for many tasks.
        label: name in the progress display; empty: none.

    Raises:
        DataError: a worker process died (out of memory, usually).
    """
    if workers is None:
        workers = default_workers() if len(tasks) >= _SMALL else 0
    results = map(function, tasks) if workers <= 1 else _pooled(function, tasks, workers)
    yield from track(results, len(tasks), label) if label else results


def track(rows: Iterable[R], total: int, label: str) -> Iterator[R]:
    """Passes ``rows`` on and shows how many came: a bar on a terminal, else a line every ten seconds, on stderr."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as rich_track

        yield from rich_track(rows, label, total=total, console=Console(stderr=True), transient=True)
        return
    shown = time.monotonic()
    for count, row in enumerate(rows, 1):
        yield row
        if time.monotonic() - shown >= _LINE_SECONDS:
            shown = time.monotonic()
            print(f"{label}: {count}/{total}", file=sys.stderr, flush=True)


def _pooled(function: Callable[[T], R], tasks: Sequence[T], workers: int) -> Iterator[R]:
    others = set(multiprocessing.active_children())
    # spawn: no copy of the parent's threads and locks; a worker imports only what the function's module needs.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupt)
    waiting: deque[Future[R]] = deque()
    complete = False
    try:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) >= 8 * workers:  # bounds the results held in memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        complete = True
    except BrokenProcessPool as error:
        raise DataError("a worker process was killed, probably for lack of memory; try --workers 1") from error
    finally:
        with _uninterrupted():
            if not complete:
                pool.shutdown(wait=False, cancel_futures=True)
                for child in set(multiprocessing.active_children()) - others:
                    child.terminate()
            pool.shutdown(wait=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C back while processes are being stopped: a second one there would leave the program hanging."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
