"""Loads the public files of SAM and MobileSAM, whoever wrote them: names, wrappers and image sizes are adapted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ....utils.errors import CheckpointError
from ....utils.logging import get_logger
from ...layers.image_encoder_vit import fit_positions
from ...weights.load_state import LoadReport, load_state
from ...weights.weight_files import read_state_dict
from ...weights.weight_places import find_weights
from ..network.sam import Sam
from ..recognise import decoder_only, find_encoder
from .key_map import is_transformers, published_names

log = get_logger(__name__)

# Parameters of MobileSAM's file that the network never uses (its classification head); a file may lack them.
UNUSED = ("image_encoder.norm_head.", "image_encoder.head.")
# Constants that some tools write along.
_CONSTANTS = ("pixel_mean", "pixel_std")


def load_base(model: Sam, path: str | Path, config_key: str = "SAM.CHECKPOINT") -> LoadReport:
    """Loads a whole SAM strictly; what fine-tuning added to the network keeps its values.

    Accepted are the public files in the published layout or in transformers', as a plain dict, nested ("model") or
    wrapped ("module.", "sam_model.", "model."), pickled or safetensors, and for another image size.

    Args:
        model: the network.
        path: file or folder; a bare name is looked for where published weights lie.
        config_key: the configuration key that names it, for messages.

    Returns:
        What was loaded.

    Raises:
        CheckpointError: the file is absent, damaged, of another type of SAM, without image encoder, or does not fit in
            some other way; says what was found and what to set.
    """
    file = find_weights(str(path), config_key)
    state = read_state_dict(file)
    if decoder_only(state):
        raise CheckpointError(
            f"{config_key} {file} holds a mask decoder without an image encoder, expected a whole SAM. Set "
            f"{config_key} to the base file that it was trained on, e.g. sam_vit_b_01ec64.pth, and give this "
            f"file as: WEIGHT True RESUME_FROM {file}"
        )
    state = adapt_state(model, state, f"{config_key} {file}")
    report = load_state(model, state, source=str(file))
    new = set(report.new)
    if report.unexpected or report.mismatched or any(name not in new for name in report.missing):
        raise CheckpointError(f"{config_key}: the weights do not fit the network exactly:\n{report.text()}")
    model.has_base = True
    return report


def adapt_state(model: Sam, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Brings the tensors of a file to the names of the network and the position tables to its image size.

    A file without image encoder (a fine-tuned decoder) is accepted on top of a base, see :func:`load_base`.

    Args:
        model: the network.
        state: the file's tensors.
        source: the file, for messages.

    Raises:
        CheckpointError: the file is of another type of SAM, or has no image encoder and there is no base.
    """
    own = model.state_dict()
    if is_transformers(state):
        names = published_names(state)
        state = {names[name]: tensor for name, tensor in state.items()}
    if decoder_only(state) and not model.has_base:
        raise CheckpointError(
            f"{source} holds a mask decoder without an image encoder, and there is no base network to put it on: set "
            "SAM.CHECKPOINT to the file that it was trained on, e.g. sam_vit_b_01ec64.pth"
        )
    _check_type(own, state, source)
    fitted = fit_positions(state, own)
    if decoder_only(state):
        log.info("%s holds a mask decoder alone; the other weights are those of SAM.CHECKPOINT", source)
        return {**own, **fitted}
    return {name: tensor for name, tensor in fitted.items() if name in own or not _optional(name)} | {
        name: tensor for name, tensor in own.items() if name not in fitted and name.startswith(UNUSED)
    }


def _optional(name: str) -> bool:
    return name in _CONSTANTS or name.startswith(UNUSED)


def _check_type(own: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    """Raises CheckpointError if the image encoder of the file is of another size than the network's."""
    found, expected = (find_encoder({name: tuple(x.shape) for name, x in s.items()}) for s in (state, own))
    if found is None or found == expected:
        return
    remedy = "set SAM.CUSTOM to that size" if found.type == "custom" else f"--overrides SAM.TYPE {found.type}"
    raise CheckpointError(
        f"{source} is a {found}, but the network is a {expected}: {remedy}, or name a file of the network's type"
    )
