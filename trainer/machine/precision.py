"""fp32, bf16 and fp16 training behind one interface."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ...utils.config.sections import Shared
from ...utils.logging import get_logger

log = get_logger(__name__)


class Precision:
    """Autocast and loss scaling.

    Args:
        name: ``fp32``, ``bf16`` or ``fp16``.
        device: where the model runs.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = name
        self.device = device
        self._dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
        self._scaler = torch.amp.GradScaler(device.type) if name == "fp16" else None

    def autocast(self) -> AbstractContextManager:
        """Returns the context of the forward pass."""
        if self._dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self._dtype)

    def backward(self, loss: Tensor) -> None:
        """Back-propagates, scaled when fp16 asks for it."""
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Brings gradients back to their true size; call it once per step, before looking at them."""
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer, *, update: bool) -> None:
        """Ends a step: updates the weights unless ``update`` is False, and adapts the loss scale."""
        if self._scaler is None:
            if update:
                optimizer.step()
            return
        if update:
            self._scaler.step(optimizer)
        self._scaler.update()

    def overflow_is_normal(self) -> bool:
        """True while non-finite gradients only mean that the fp16 loss scale has still to shrink."""
        return self._scaler is not None and self._scaler.get_scale() > 1.0

    def state(self) -> dict[str, Any]:
        """Returns the loss scale's state as plain numbers."""
        return {} if self._scaler is None else self._scaler.state_dict()

    def load(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state` returned."""
        if self._scaler is not None and state:
            self._scaler.load_state_dict(state)


def build_precision(cfg: Shared, device: torch.device) -> Precision:
    """Builds what PRECISION and FP16 ask for; fp16 away from CUDA becomes fp32, with a notice."""
    name = "fp16" if cfg.FP16 else cfg.PRECISION
    if name == "fp16" and device.type != "cuda":
        log.warning(
            "%s needs CUDA; this run on %s uses fp32", "FP16 True" if cfg.FP16 else "PRECISION fp16", device.type
        )
        name = "fp32"
    return Precision(name, device)
