"""Which processes take part: reads the launcher's variables, or starts local processes itself. Imports no torch."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...utils.errors import UserError
from ...utils.logging import get_logger
from ...utils.paths import product_root

log = get_logger(__name__)

_PARENT = "SEGFOUNDRY_LAUNCHER"
_STOP_CODES = (128 + signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGUSR1)
_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Ranks:
    """This process among all processes of the job.

    Attributes:
        rank: number of this process, 0..world-1.
        world: number of processes.
        local_rank: number of this process on its machine; picks the GPU.
        local_world: number of processes on this machine.
        source: who said so, for the log.
        address: host name of process 0.
        port: port of process 0.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    source: str = "one process"
    address: str = "127.0.0.1"
    port: int = 0

    @property
    def main(self) -> bool:
        """True for the one process that writes files and log lines."""
        return self.rank == 0


def read_ranks(environ: Mapping[str, str] = os.environ, *, port: str = "36873") -> Ranks:
    """Finds the processes of the job in the environment: torchrun first, then Slurm (``srun``), then Open MPI.

    Args:
        environ: the environment variables.
        port: port for process 0 when the launcher gives none (configuration key PORT).

    Raises:
        UserError: if a variable is missing or no number.
    """
    if "RANK" in environ and "WORLD_SIZE" in environ:
        names: tuple[str, ...] = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        source = "--num-gpus" if _PARENT in environ else "torchrun"
    elif "SLURM_STEP_NUM_TASKS" in environ and "SLURM_PROCID" in environ:  # not set in a batch script outside srun
        names, source = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"), "Slurm"
    elif "OMPI_COMM_WORLD_SIZE" in environ:
        names = tuple(f"OMPI_COMM_WORLD_{n}" for n in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE"))
        source = "Open MPI"
    else:
        return Ranks()
    rank, world, local_rank, local_world = (_number(environ, name, source) for name in names)
    if not 0 <= rank < world:
        raise UserError(f"{source} says rank {rank} of {world} processes ({names[0]}, {names[1]}): not possible")
    if world == 1:
        return Ranks(source=f"{source}, one process")
    address = environ.get("MASTER_ADDR") or _address(environ, source, world == local_world)
    return Ranks(rank, world, local_rank, local_world, source, address, int(environ.get("MASTER_PORT", port)))


def _number(environ: Mapping[str, str], name: str, source: str) -> int:
    text = environ.get(name, "0" if "LOCAL" in name else "")
    if name == "SLURM_STEP_TASKS_PER_NODE":  # "4(x2),3": the count of this node is not needed exactly
        text = text.split("(")[0].split(",")[0] or "1"
    if not text.isdigit():
        raise UserError(f"{source} was found, but its variable {name} is {text!r}; expected a number")
    return int(text)


def _address(environ: Mapping[str, str], source: str, one_machine: bool) -> str:
    """Returns the host of process 0 when MASTER_ADDR is not set."""
    if one_machine:
        return "127.0.0.1"
    if source == "Slurm" and (nodes := environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST")):
        return first_host(nodes)
    raise UserError(f"{source} started processes on several machines: set MASTER_ADDR to the host name of process 0")


def first_host(nodes: str) -> str:
    """Returns the first host of a Slurm list: ``gpu[07-09,12],x1`` -> ``gpu07``."""
    match = re.match(r"([^,\[]+)(?:\[([^\],-]+)[^\]]*\]([^,]*))?", nodes.strip())
    if match is None:
        raise UserError(f"cannot read the host list {nodes!r}; set MASTER_ADDR to the host name of process 0")
    return match[1] + (match[2] or "") + (match[3] or "")


def free_port() -> int:
    """Returns a port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def process_count(text: str) -> int:
    """Reads ``--num-gpus``: a number of processes, or ``auto`` for one per GPU (one when there is none)."""
    if text == "auto":
        import torch

        return max(1, torch.cuda.device_count())
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"--num-gpus {text}: expected a number from 1, or auto")
    return int(text)


def launched() -> bool:
    """True when a launcher (torchrun, srun, mpirun or ``--num-gpus``) has already started this process."""
    return read_ranks().source != "one process"


def launch_local(count: int, arguments: Sequence[str]) -> int:
    """Runs the command line in ``count`` processes of this machine and returns their exit code.

    SIGTERM, SIGINT and SIGUSR1 are passed on, so that all processes write their checkpoint; when one process fails,
    the others are ended.

    Args:
        count: number of processes.
        arguments: the words after ``entry.py``.
    """
    entry = product_root() / "entry.py"
    command = [sys.executable, str(entry)] if entry.is_file() else [sys.executable, "-m", "segfoundry"]
    shared = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        _PARENT: str(os.getpid()),
    }
    shared.setdefault("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count))))
    children: list[subprocess.Popen] = []
    received: list[int] = []

    def forward(number: int, _frame: object) -> None:
        received.append(number)
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    try:
        for rank in range(count):
            environ = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            # Own session: a Ctrl-C on the terminal reaches this process alone, which passes it on once.
            children.append(subprocess.Popen([*command, *arguments], env=environ, start_new_session=True))
        return _wait(children)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _wait(children: list[subprocess.Popen]) -> int:
    """Waits for all; after the first failure the others get some seconds. Returns the first code that is not 0."""
    failed, deadline = 0, float("inf")
    while True:
        codes = [child.poll() for child in children]
        for code in codes:
            if code and not failed:
                failed = code if code > 0 else 128 - code
                deadline = float("inf") if failed in _STOP_CODES else time.monotonic() + _GRACE_SECONDS
        if all(code is not None for code in codes):
            return failed
        if time.monotonic() > deadline:
            log.error("one process failed with code %d; ending the others", failed)
            for child in children:
                child.kill()
            deadline = float("inf")
        time.sleep(0.05)


def die_with_parent() -> None:
    """Ends this process when the ``--num-gpus`` parent dies (Linux), so that nothing keeps running unseen."""
    if os.environ.get(_PARENT) == str(os.getppid()) and sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
