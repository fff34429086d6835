"""The machine and the libraries: checked at the start, noted in the run folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import random
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...utils.errors import UserError
from ...utils.version import __version__

_OLDEST_TORCH = (2, 10)
_PAIR = "torch==2.15.0 torchvision==0.29.2"
_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "opencv-python-headless",
    "safetensors",
    "pycocotools",
    "hotcoco",
)


def check_torch() -> None:
    """Refuses a torch that is too old to load files safely, and a torchvision built for another torch.

    Raises:
        UserError: with the pip line that mends it.
    """
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < _OLDEST_TORCH:
        oldest = ".".join(map(str, _OLDEST_TORCH))
        raise UserError(f"torch {torch.__version__} is too old, {oldest} or newer is needed: pip install {_PAIR}")
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return
    reason = _torchvision_fault(Path(spec.submodule_search_locations[0]))
    if reason:
        raise UserError(
            f"torchvision {_installed('torchvision')} was built for another torch than {torch.__version__} "
            f"({reason}). Install a pair from one index: pip install --force-reinstall {_PAIR}  "
            "(without a GPU add --index-url https://download.pytorch.org/whl/cpu)"
        )


def _torchvision_fault(folder: Path) -> str:
    """Returns why torchvision does not fit this torch, or nothing; loads its library alone, a second quicker."""
    libraries = [path for path in sorted(folder.glob("_C*")) if path.suffix in (".so", ".pyd")]
    try:
        for library in libraries:
            torch.ops.load_library(str(library))
    except (OSError, RuntimeError) as error:
        cause = error.__cause__ or error
        return str(cause).splitlines()[0]
    if not hasattr(torch.ops.torchvision, "nms"):
        return "its operators are missing"
    built = torch.ops.torchvision._cuda_version()  # 13020 stands for 13.2, -1 for a build without CUDA
    if built > 0 and torch.version.cuda and built // 1000 != int(torch.version.cuda.split(".")[0]):
        return f"CUDA {built // 1000} against CUDA {torch.version.cuda}"
    return ""


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def seed_all(seed: int) -> None:
    """Seeds Python's, numpy's and torch's generators, before the model is built."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seeds torch's own generators, which dropout and stochastic depth use, for one step of one process."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") & (2**63 - 1))


def set_deterministic(on: bool) -> None:
    """Asks torch for deterministic algorithms; operators without one only warn."""
    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False


def describe_machine(device: torch.device, world: int, source: str) -> dict[str, Any]:
    """Returns what environment.json holds: versions, machine, processes, command line."""
    return {
        "segfoundry": __version__,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "folder": os.getcwd(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cuda": torch.version.cuda,
        "processes": world,
        "launcher": source,
        "packages": {name: version for name in _PACKAGES if (version := _installed(name))},
    }
