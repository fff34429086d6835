"""How much memory a run uses, and what to say when it is not enough."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ...utils.config.architectures import find_architecture
from ...utils.config.sections import Shared
from ...utils.errors import UserError
from ...utils.files import human_size

_SMALLER_BATCHES = "TRAIN.BATCH_SIZE_PER_GPU (splits a step into smaller batches, same result)"


def training_keys(cfg: Shared) -> tuple[str, ...]:
    """Returns the keys that lower the memory of training, best first."""
    return (_SMALLER_BATCHES, *find_architecture(cfg.MODEL.NAME).training_memory)


def peak_memory(device: torch.device) -> int:
    """Returns the largest memory use so far, in bytes: of the GPU's allocator, or of this process on CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def is_out_of_memory(error: BaseException) -> bool:
    """True when an exception means that GPU or host memory was used up."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("not enough memory" in text or "can't allocate memory" in text)


@contextmanager
def memory_errors(device: torch.device, keys: tuple[str, ...]) -> Iterator[None]:
    """Turns running out of memory inside the block into one clear message.

    Args:
        device: where the block runs.
        keys: configuration keys (with a hint) that lower the need, best first.

    Raises:
        UserError: names the device, its peak and the keys.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"out of memory on {device} (peak {human_size(peak_memory(device))}). Lower one of: {'; '.join(keys)}"
        ) from error
