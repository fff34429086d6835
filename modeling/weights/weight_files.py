"""Reads files of weights safely; :mod:`segfoundry.modeling.weights.weight_places` finds them.

Nothing is ever unpickled that could run code: PyTorch files are read with ``weights_only``, the rest is safetensors.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from ...utils.errors import CheckpointError
from .weight_places import weights_in_folder

# Keys under which training tools nest the weights; prefixes that wrappers put before all names.
NESTED = ("model", "state_dict", "module", "model_state_dict", "model_state")
WRAPPERS = ("module.", "model.", "sam_model.", "sam.")


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Reads names and tensors, on the CPU, memory-mapped where the format allows.

    Nested dicts ("model", "state_dict", "module") are opened and prefixes that all names share ("module.", "model.",
    "sam_model.", "sam.") are taken off.

    Args:
        path: a ``.pt``/``.pth`` or safetensors file (told apart by content), or a checkpoint or run folder of this
            product or of SEEM's trainer.

    Raises:
        CheckpointError: if it is absent, damaged, holds code, or holds no tensors.
    """
    path = Path(path)
    file = weights_in_folder(path) if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file")
    state = _unwrap(_read(file))
    if not state:
        raise CheckpointError(f"{file} holds no tensors; a weight file is a dict of names and tensors")
    return state


def _read(file: Path) -> Any:
    """Reads a file by what it holds, whatever its name."""
    try:
        with file.open("rb") as opened:
            head = opened.read(512)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from error
    size = file.stat().st_size
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{file} is a Git LFS pointer, not the weights themselves; run: git lfs pull")
    if head.lstrip()[:1] == b"<":
        raise CheckpointError(f"{file} is a web page, not weights; the download went wrong, repeat it")
    if head[8:9] == b"{":
        return _read_safetensors(file, size)
    is_zip, is_pickle = head.startswith(b"PK"), head.startswith(b"\x80")
    if not (is_zip or is_pickle):
        raise CheckpointError(f"{file} ({size:,} bytes) is neither a PyTorch file nor safetensors")
    return _read_torch(file, size, mmap=is_zip)


def _read_safetensors(file: Path, size: int) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except safetensors.SafetensorError as error:
        raise CheckpointError(_damaged(file, size)) from error


def _read_torch(file: Path, size: int, mmap: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle protocol: what cannot be read is said below
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|global) '?([\w.]+(?: [\w.]+)?)", str(error))
        if found is None and "Unsupported" not in str(error):
            raise CheckpointError(_damaged(file, size)) from error
        what = f" ({found[1]})" if found else ""
        raise CheckpointError(
            f"{file} holds Python objects beside tensors{what}: reading them could run code, so the file is refused. "
            "Where you trust it, save its tensors alone, for example with "
            "safetensors.torch.save_file(state_dict, 'model.safetensors'), and use that file."
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can fail at any instruction, with any error
        raise CheckpointError(_damaged(file, size)) from error


def _damaged(file: Path, size: int) -> str:
    return f"{file} ({size:,} bytes) is truncated or damaged; copy or download it again"


def _unwrap(value: Any) -> dict[str, Tensor]:
    """Opens nested dicts down to the one with tensors and takes wrappers' prefixes off."""
    while isinstance(value, Mapping) and not any(isinstance(v, Tensor) for v in value.values()):
        inner = next((value[key] for key in NESTED if isinstance(value.get(key), Mapping)), None)
        if inner is None:
            return {}
        value = inner
    if not isinstance(value, Mapping):
        return {}
    state = {name: tensor for name, tensor in value.items() if isinstance(name, str) and isinstance(tensor, Tensor)}
    while prefix := next((p for p in WRAPPERS if state and all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state
