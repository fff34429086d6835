"""Random draws of a training step as pure functions of (seed, step, sample, purpose). Needs torch.

The same draw has the same value whichever process or micro-batch asks for it, and however often it was asked for
before; tests replay recorded draws by passing another object with the same methods.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Draws:
    """Source of the random numbers of one optimizer step.

    Args:
        seed: the run's seed.
        step: number of the optimizer step, from 0.
    """

    def __init__(self, seed: int, step: int) -> None:
        self.seed = seed
        self.step = step

    def generator(self, purpose: str, sample: int | None = None) -> np.random.Generator:
        """Returns a fresh Philox generator keyed by (seed, step, sample, purpose).

        Args:
            purpose: what the numbers are for; different purposes are independent.
            sample: position of the image in the step's whole batch; None: shared by the batch.
        """
        text = f"{self.seed}/{self.step}/{'all' if sample is None else sample}/{purpose}"
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))

    def uniform(
        self, purpose: str, shape: Sequence[int], *, sample: int | None = None, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Returns float32 numbers in [0, 1) of the given shape."""
        numbers = torch.from_numpy(self.generator(purpose, sample).random(tuple(shape), dtype=np.float32))
        if torch.device(device).type == "cuda":
            numbers = numbers.pin_memory()  # copied from ordinary memory, each draw would wait for the device
        return numbers.to(device, non_blocking=True)

    def integers(
        self,
        purpose: str,
        high: int,
        shape: Sequence[int] = (),
        *,
        sample: int | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Returns int64 numbers in 0..high-1 of the given shape."""
        return torch.as_tensor(self.generator(purpose, sample).integers(0, high, size=tuple(shape))).to(device)
