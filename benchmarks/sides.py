"""Runs the sides of a comparison in processes of their own, step by step in turn, and measures time and memory.

A benchmark script calls :func:`measure` with a command per side; the process that the command starts calls
:func:`serve` with a function that does one step.
"""

from __future__ import annotations

import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def measure(commands: dict[str, Sequence[str]], repeats: int, threads: int) -> dict[str, dict[str, float]]:
    """Runs every side once to warm up, then ``repeats`` times in turn.

    Args:
        commands: side -> command of its process.
        repeats: measured steps per side.
        threads: computing threads of each process.

    Returns:
        Side -> medians of wall and CPU seconds, largest resident set in MiB, and its growth over the loaded model.
    """
    workers = {side: _start(command, threads) for side, command in commands.items()}
    steps: dict[str, list[dict[str, float]]] = {side: [] for side in workers}
    try:
        for worker in workers.values():
            _ask(worker)  # allocator, optimizer state, caches
        for _ in range(repeats):
            for side, worker in workers.items():
                steps[side].append(_ask(worker))
    finally:
        for worker in workers.values():
            worker.terminate()
            worker.wait()
    return {side: _summary(values) for side, values in steps.items()}


def table(figures: dict[str, dict[str, float]], peer: str) -> str:
    """Returns a Markdown table of the figures, with ratios to the side ``peer`` (time: smaller is faster)."""
    lines = [
        "| side | wall s | CPU s | peak MiB | growth MiB | wall ratio | CPU ratio | peak ratio | growth ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    keys = ("wall_s", "cpu_s", "peak_mib", "growth_mib")
    for side, row in figures.items():
        row |= {f"{key}_ratio": row[key] / figures[peer][key] for key in keys}
        values = f"{row['wall_s']:.3f} | {row['cpu_s']:.3f} | {row['peak_mib']:.0f} | {row['growth_mib']:.0f}"
        lines.append(f"| {side} | {values} | " + " | ".join(f"{row[f'{key}_ratio']:.2f}" for key in keys) + " |")
    return "\n".join(lines)


def serve(prepare: Callable[[], Callable[[int], object]], threads: int) -> None:
    """Does one step per line of standard input and prints its figures; the body of a side's process.

    Args:
        prepare: loads everything and returns the step; it is called with the step's number.
        threads: computing threads.
    """
    answers = os.fdopen(os.dup(1), "w")  # libraries may print; only figures may reach the parent
    os.dup2(2, 1)
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    step = prepare()
    ctypes.CDLL(None).malloc_trim(0)  # what building the model left behind is not part of the model
    loaded = _resident_mib("VmRSS")
    for number, _ in enumerate(sys.stdin):
        Path("/proc/self/clear_refs").write_text("5")  # restarts the peak
        wall, cpu = time.perf_counter(), time.process_time()
        step(number)
        figures = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        figures["peak_mib"] = _resident_mib("VmHWM")
        figures["growth_mib"] = figures["peak_mib"] - loaded
        print(json.dumps(figures), file=answers, flush=True)


def import_product() -> None:
    """Makes ``segfoundry`` importable, and the repository's folders not importable by their bare names."""
    sys.path[:] = [str(ROOT / "src"), *(p for p in sys.path if Path(p or ".").resolve() != ROOT)]


def _start(command: Sequence[str], threads: int) -> subprocess.Popen:
    # Waiting threads sleep instead of spinning: on a busy machine spinning would be most of the CPU time.
    settings = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | settings
    )


def _ask(worker: subprocess.Popen) -> dict[str, float]:
    """Lets a worker do one step and returns its figures."""
    worker.stdin.write("step\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise SystemExit("a benchmark process ended early; its error is above")
    return json.loads(line)


def _summary(steps: Sequence[dict[str, float]]) -> dict[str, float]:
    medians = {key: statistics.median(step[key] for step in steps) for key in ("wall_s", "cpu_s")}
    return medians | {key: max(step[key] for step in steps) for key in ("peak_mib", "growth_mib")}


def _resident_mib(field: str) -> float:
    """Returns VmRSS (now) or VmHWM (peak) of this process in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) / 1024
