"""Finds and safely reads files of weights: published files, other trainers' folders, our checkpoints and runs.

Nothing is ever unpickled that could run code: PyTorch files are read with ``weights_only``, the rest is safetensors.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from ...utils.errors import CheckpointError, did_you_mean
from ...utils.paths import product_root, user_path

# Where a bare file name is also looked for: the published places of the weights of SEEM, and of SAM's fine-tuning.
PRETRAINED = Path("datasets/xdecoder_data/pretrained")
BASE_MODELS = Path("ckpts/base_model")
_SEEM, _X_DECODER, _SAM, _MOBILE_SAM = (
    "https://huggingface.co/xdecoder/SEEM/resolve/main",
    "https://huggingface.co/xdecoder/X-Decoder/resolve/main",
    "https://dl.fbaipublicfiles.com/segment_anything",
    "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights",
)
PUBLISHED = {
    name: f"{place}/{name}"
    for place, names in (
        (_SEEM, ("seem_focall_v1.pt", "seem_focalt_v1.pt", "seem_focall_v0.pt", "seem_focalt_v0.pt")),
        (_SEEM, ("seem_samvitb_v1.pt", "seem_samvitl_v1.pt")),
        (_X_DECODER, ("xdecoder_focall_last.pt", "xdecoder_focalt_last.pt")),
        (_SAM, ("sam_vit_b_01ec64.pth", "sam_vit_l_0b3195.pth", "sam_vit_h_4b8939.pth")),
        (_MOBILE_SAM, ("mobile_sam.pt",)),
    )
    for name in names
}
EXAMPLE, SAM_EXAMPLE = "seem_focall_v1.pt", "sam_vit_b_01ec64.pth"

# What a folder may hold, best first: a checkpoint or weights folder of ours, a run of ours, folders of SEEM's trainer.
IN_FOLDER = (
    "model.safetensors",
    "weights/best/model.safetensors",
    "best/model.safetensors",
    "checkpoints/step-*/model.safetensors",
    "step-*/model.safetensors",
    "default/model_state_dict.pt",
    "default/module_training_states.pt",
    "model_state_dict.pt",
    "module_training_states.pt",
    "model_state_dict_best.pt",
    "pytorch_model.bin",  # of transformers, beside model.safetensors
)

# Keys under which training tools nest the weights; prefixes that wrappers put before all names.
NESTED = ("model", "state_dict", "module", "model_state_dict", "model_state")
WRAPPERS = ("module.", "model.", "sam_model.", "sam.")


def find_weights(name: str, key: str = "RESUME_FROM") -> Path:
    """Returns the file or folder that a key names.

    A name without a folder is also looked for in ``datasets/xdecoder_data/pretrained`` and ``ckpts/base_model`` under
    the working directory and under the product's root.

    Args:
        name: path, or the bare name of a file.
        key: the configuration key, for messages.

    Raises:
        CheckpointError: if there is none; names the folders searched and the published files.
    """
    if not name:
        raise CheckpointError(f"{key} is empty; give it a weight file, or a checkpoint or run folder")
    path = user_path(name)
    roots = dict.fromkeys([Path.cwd(), product_root()])
    folders = [root / place for place in (PRETRAINED, BASE_MODELS) for root in roots]
    bare = path.parent == Path()
    for candidate in [path, *(folder / path for folder in folders if bare)]:
        if candidate.exists():
            return candidate
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    known = path.name in PUBLISHED
    close = did_you_mean(path.name, [*beside, *(() if known else PUBLISHED)])
    raise CheckpointError(f"no weights at {name!r}{close}\n{_where_published(path, bare, key, folders)}")


def _where_published(path: Path, bare: bool, key: str, folders: Sequence[Path]) -> str:
    """Returns the part of an error message that says where a missing file can be had and where it is looked for."""
    searched = f"A bare file name is also looked for in {', '.join(map(str, folders))}.\n"
    if path.name in PUBLISHED:
        place = "into one of these folders" if bare else f"to {path}"
        found = f"The file is published at {PUBLISHED[path.name]}: download it {place}"
        return f"{searched}{found}, then set {key} {path}"
    example = SAM_EXAMPLE if key.startswith("SAM.") else EXAMPLE
    return (
        f"{searched}Published weights are, for example, {PUBLISHED[example]}: download it into one of these folders, "
        f"then set {key} {example}"
    )


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


def weights_in_folder(folder: Path) -> Path:
    """Returns the weight file inside a checkpoint or run folder of this product or of SEEM's trainer.

    Raises:
        CheckpointError: if there is none.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no folder")
    for pattern in IN_FOLDER:
        matches = [p for p in folder.glob(pattern) if p.is_file()]
        if matches:
            return max(matches, key=_step_of)
    raise CheckpointError(
        f"{folder} holds no weights; looked for {', '.join(IN_FOLDER)}. Give a weight file, a checkpoint or a run."
    )


def _step_of(path: Path) -> int:
    match = re.fullmatch(r"step-(\d+)", path.parent.name)
    return int(match[1]) if match else -1


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
