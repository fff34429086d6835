"""The examples of docs/api.md run as they stand."""

import doctest
from pathlib import Path

import pytest
import torch
from PIL import Image

from segfoundry.modeling.build_model import build_model
from segfoundry.modeling.sam.config import tiny as tiny_sam
from segfoundry.modeling.sam.network.build_sam import build_sam
from segfoundry.modeling.seem.config import tiny
from segfoundry.trainer.run_folder.checkpoints import write_weights
from segfoundry.utils.config.dump import dump
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.structures.category import Category

from ...support.pointer import picture

PAGE = Path(__file__).resolve().parents[3] / "docs" / "api.md"


def write_run(run, keys, categories):
    """Writes a run folder with untrained weights."""
    resolved = load_mapping({**keys, "DEVICE": "cpu"})
    torch.manual_seed(0)
    about = {"config": dump(resolved), "categories": [vars(c) for c in categories]}
    write_weights(
        run / "weights" / "best" / "model.safetensors", build_model(resolved.cfg, categories).state_dict(), about
    )
    (run / "config.yaml").write_text(dump(resolved))


@pytest.fixture
def kitchen(tmp_path, monkeypatch):
    """The working directory of the page: runs with untrained weights, a file of MobileSAM's layout, and a photo."""
    categories = [Category(1, "cup", True, (220, 20, 60)), Category(2, "table", False, (90, 70, 40))]
    low = {"MODEL.DECODER.TEST.OBJECT_MASK_THRESHOLD": 0.0, "MODEL.DECODER.TEST.OVERLAP_THRESHOLD": 0.0}
    write_run(tmp_path / "runs/kitchen", {**tiny(), **low, "MODEL.ENCODER.NUM_CLASSES": len(categories)}, categories)
    cable = [Category(1, "cable", False, (255, 150, 0))]
    write_run(tmp_path / "runs/cables", {**tiny_sam(), "SAM.TASK": "dlo"}, cable)
    torch.save(build_sam("vit_t", image_size=64).state_dict(), tmp_path / "mobile_sam.pt")
    Image.fromarray(picture(240, 320)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)


def test_the_examples_of_the_page_run(kitchen):
    found = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS | doctest.REPORT_NDIFF)
    assert found.attempted > 50 and found.failed == 0
