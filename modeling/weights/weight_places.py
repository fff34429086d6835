"""Where weights lie: published files, other trainers' folders, our checkpoints and runs. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ...utils.errors import CheckpointError, did_you_mean
from ...utils.paths import nearest_path, product_root, user_path

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
_SHOWN = 3
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


def find_weights(name: str, key: str = "RESUME_FROM") -> Path:
    """Returns the file or folder that a key names.

    A name without a folder is also looked for in ``datasets/xdecoder_data/pretrained`` and ``ckpts/base_model`` under
    the working directory and under the product's root.

    Args:
        name: path, or the bare name of a file.
        key: the configuration key or the option, for messages.

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
    close = "" if path.name in PUBLISHED else did_you_mean(path.name, PUBLISHED)
    close = nearest_path(path) or close
    what = f"{key} {name}: no such file or folder" if key.startswith("--") else f"no weights at {name!r}"
    raise CheckpointError(f"{what}{close}\n{_where_published(path, bare, key, folders)}")


def _where_published(path: Path, bare: bool, key: str, folders: Sequence[Path]) -> str:
    """Returns the part of an error message that says where a missing file can be had and where it is looked for."""
    verb = "give" if key.startswith("--") else "set"
    searched = f"A bare file name is also looked for in {', '.join(map(str, folders))}.\n"
    if path.name in PUBLISHED:
        place = "into one of these folders" if bare else f"to {path}"
        found = f"The file is published at {PUBLISHED[path.name]}: download it {place}"
        return f"{searched}{found}, then {verb} {key} {path}"
    example = SAM_EXAMPLE if key.startswith("SAM.") else EXAMPLE
    return (
        f"{searched}Published weights are, for example, {PUBLISHED[example]}: download it into one of these folders, "
        f"then {verb} {key} {example}"
    )


def weights_in_folder(folder: Path) -> Path:
    """Returns the weight file inside a checkpoint or run folder of this product or of SEEM's trainer.

    Raises:
        CheckpointError: if there is none.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no folder")
    found = _newest_in(folder)
    if found is not None:
        return found
    around = [*sorted(p for p in folder.iterdir() if p.is_dir()), folder.parent]
    close = [str(p) for p in around if _newest_in(p) is not None][:_SHOWN]
    hint = f" There are some in {', '.join(close)}." if close else ""
    raise CheckpointError(
        f"{folder} holds no weights; looked for {', '.join(IN_FOLDER)}. Give a weight file, a checkpoint or a run."
        f"{hint}"
    )


def _newest_in(folder: Path) -> Path | None:
    for pattern in IN_FOLDER:
        matches = [p for p in folder.glob(pattern) if p.is_file()]
        if matches:
            return max(matches, key=_step_of)
    return None


def _step_of(path: Path) -> int:
    match = re.fullmatch(r"step-(\d+)", path.parent.name)
    return int(match[1]) if match else -1
