"""Networks by name, and what the folder offers without loading torch."""

import subprocess
import sys

import pytest
import torch

from segfoundry.modeling import sam
from segfoundry.modeling.sam import sam_model_registry
from segfoundry.modeling.sam.network.build_sam import build_sam
from segfoundry.utils.errors import CheckpointError


def write_file(path, name, **options):
    """Writes a file with the names and shapes of a type, all values 0.5, in almost no bytes."""
    with torch.device("meta"):
        state = build_sam(name, **options).state_dict()
    torch.save({key: torch.tensor(0.5).to(like.dtype).expand(like.shape) for key, like in state.items()}, path)
    return path


def test_names():
    assert set(sam_model_registry) == {"default", "vit_h", "vit_l", "vit_b", "vit_t"}
    with torch.device("meta"):
        default = sam_model_registry["default"]()
    assert len(default.image_encoder.blocks) == 32 and not default.training
    assert default.image_encoder.img_size == 1024 == sam_model_registry["vit_t"]().image_encoder.img_size


def test_a_file_is_loaded_strictly(tmp_path):
    model = sam_model_registry["vit_t"](checkpoint=write_file(tmp_path / "mobile_sam.pt", "vit_t"))
    assert not model.training
    assert all((tensor == 0.5).all() for tensor in model.state_dict().values() if tensor.is_floating_point())


def test_a_file_of_another_type_is_named(tmp_path):
    file = write_file(tmp_path / "weights.pth", "vit_b")
    with pytest.raises(CheckpointError, match=r"vit_b.*vit_t"):
        sam_model_registry["vit_t"](checkpoint=str(file))


def test_options_of_the_network_go_through(tmp_path):
    file = write_file(tmp_path / "mobile_sam.pt", "vit_t")
    assert sam_model_registry["vit_t"](checkpoint=file, image_size=256).image_size == 256


def test_public_names():
    assert set(dir(sam)) >= {"Sam", "SamAutomaticMaskGenerator", "SamPredictor", "sam_model_registry"}
    with pytest.raises(AttributeError, match="SamSomething"):
        _ = sam.SamSomething


@pytest.mark.slow
def test_public_names_are_loaded_when_asked_for():
    code = (
        "import sys, segfoundry.modeling.sam.config\n"
        "assert 'torch' not in sys.modules\n"
        "from segfoundry.modeling.sam import Sam, SamAutomaticMaskGenerator, SamPredictor, sam_model_registry\n"
        "assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
