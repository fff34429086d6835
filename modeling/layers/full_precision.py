"""Blocks that stay in full precision whatever the step's is."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def full_precision(device_type: str) -> AbstractContextManager:
    """Returns a context without autocast; nothing where none is on, so that exported graphs hold no such switch."""
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
