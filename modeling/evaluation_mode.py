"""Evaluation mode for a while, whatever the modes of the parts were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each module's own mode returns afterwards, also after an error."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():  # not inference_mode: a model may re-enable gradients at test time
            yield
    finally:
        for module, training in modes.items():
            module.training = training
