"""What processes of one job say to each other. With one process every function is free."""

from __future__ import annotations

import gc
import os
import re
import warnings
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ...utils.errors import UserError
from .launch import Ranks, die_with_parent

T = TypeVar("T")

# The first process may score a large data set alone while the others wait.
_TIMEOUT = timedelta(hours=4)
# What gloo says in the processes that remain.
_PEER_GONE = re.compile(r"Connection (closed by peer|reset by peer)|Broken pipe")


class Processes:
    """The processes of a job; use it as a context manager.

    Tensors on the device travel by NCCL on CUDA and gloo on CPU; objects and host numbers always by gloo.

    Args:
        ranks: this process among all.
        device: device of this process.
    """

    def __init__(self, ranks: Ranks, device: torch.device) -> None:
        self.ranks = ranks
        self.device = device
        self.rank, self.world, self.main = ranks.rank, ranks.world, ranks.main
        self._host: Any = None

    def __enter__(self) -> Processes:
        die_with_parent()
        if self.world > 1:
            if self.device.type == "cuda":
                torch.cuda.set_device(self.device)
            os.environ.setdefault("MASTER_ADDR", self.ranks.address)
            os.environ.setdefault("MASTER_PORT", str(self.ranks.port))
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            dist.init_process_group(backend, rank=self.rank, world_size=self.world, timeout=_TIMEOUT)
            self._host = dist.group.WORLD if backend == "gloo" else dist.new_group(backend="gloo", timeout=_TIMEOUT)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.world == 1 or not dist.is_initialized():
            return
        # A wrapped model that outlives the group takes the group's threads down with it, and the process with them.
        gc.collect()
        if error is None:
            dist.barrier(group=self._host)
        self._host = None
        dist.destroy_process_group()
        if isinstance(error, RuntimeError) and _PEER_GONE.search(str(error)):
            raise UserError("another process of this job ended early; its message says why") from error

    def all_gather(self, value: Any) -> list[Any]:
        """Returns every process's (picklable) value, in rank order, on all processes."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=self._host)
        return values

    def gather(self, value: Any) -> list[Any] | None:
        """Returns every process's (picklable) value in rank order on process 0, None elsewhere."""
        if self.world == 1:
            return [value]
        values: list[Any] | None = [None] * self.world if self.main else None
        dist.gather_object(value, values, dst=0, group=self._host)
        return values

    def broadcast(self, value: T) -> T:
        """Returns process 0's (picklable) value on all processes."""
        if self.world == 1:
            return value
        values: list[Any] = [value]
        dist.broadcast_object_list(values, src=0, group=self._host)
        return values[0]

    def on_main(self, function: Callable[[], T]) -> T:
        """Calls ``function`` on process 0 and returns its (picklable) result on all processes.

        Raises:
            UserError: the one that ``function`` raised, on all processes.
        """
        if self.world == 1:
            return function()
        result, failure = None, None
        if self.main:
            try:
                result = function()
            except UserError as error:
                failure = error
        result, failure = self.broadcast((result, failure))
        if failure is not None:
            raise failure
        return result  # type: ignore[return-value]

    def sum_(self, tensor: Tensor) -> Tensor:
        """Adds a device tensor over all processes, in place, and returns it."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def min_(self, tensor: Tensor) -> Tensor:
        """Takes a device tensor's elementwise minimum over all processes, in place, and returns it."""
        if self.world > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.MIN)
        return tensor

    def wrap(self, model: nn.Module, *, find_unused: bool) -> nn.Module:
        """Returns the model, inside DistributedDataParallel when there are several processes."""
        if self.world == 1:
            return model
        # Only says that a 1x1 convolution's gradient lies differently in memory.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(
            model, device_ids=ids, find_unused_parameters=find_unused, gradient_as_bucket_view=True
        )


def pick_device(name: str, ranks: Ranks) -> torch.device:
    """Returns the device of this process.

    Args:
        name: configuration key DEVICE: ``auto`` (CUDA, else Apple's MPS for one process, else CPU), ``cpu``,
            ``cuda``, ``cuda:N`` or ``mps``.
        ranks: this process; with several on a machine each takes the GPU of its local rank.

    Raises:
        UserError: if the device does not exist.
    """
    if name == "auto":
        mps = ranks.world == 1 and torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"DEVICE {name}: expected auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not torch.cuda.is_available():
            raise UserError(f"DEVICE {name}: torch {torch.__version__} sees no CUDA device here; use DEVICE cpu")
        index = ranks.local_rank if ranks.world > 1 else (device.index or 0)
        if ranks.source == "Slurm" and count == 1:  # each task sees its own GPU only (--gpus-per-task)
            index = 0
        if index >= count:
            raise UserError(
                f"this machine has {count} GPU(s), but GPU number {index} (from 0) is wanted; start fewer processes"
            )
        return torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("DEVICE mps: not available here; use DEVICE cpu")
    if device.type not in ("cpu", "mps"):
        raise UserError(f"DEVICE {name}: expected auto, cpu, cuda, cuda:N or mps")
    return device
