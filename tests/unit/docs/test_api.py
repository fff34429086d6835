"""The examples of docs/api.md run as they stand."""

import doctest
from pathlib import Path

import pytest
import torch
from PIL import Image

from segfoundry.modeling.build import build_model
from segfoundry.modeling.seem.config import tiny
from segfoundry.trainer.checkpoints import write_weights
from segfoundry.utils.config.dump import dump
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.structures import Category

from ...support.pointer import picture

PAGE = Path(__file__).resolve().parents[3] / "docs" / "api.md"


@pytest.fixture
def kitchen(tmp_path, monkeypatch):
    """The working directory of the page: a run with untrained weights, and a photo."""
    categories = [Category(1, "cup", True, (220, 20, 60)), Category(2, "table", False, (90, 70, 40))]
    low = {"MODEL.DECODER.TEST.OBJECT_MASK_THRESHOLD": 0.0, "MODEL.DECODER.TEST.OVERLAP_THRESHOLD": 0.0}
    resolved = load_mapping({**tiny(), **low, "DEVICE": "cpu", "MODEL.ENCODER.NUM_CLASSES": len(categories)})
    torch.manual_seed(0)
    about = {"config": dump(resolved), "categories": [vars(c) for c in categories]}
    run = tmp_path / "runs" / "kitchen"
    write_weights(
        run / "weights" / "best" / "model.safetensors", build_model(resolved.cfg, categories).state_dict(), about
    )
    (run / "config.yaml").write_text(dump(resolved))
    Image.fromarray(picture(240, 320)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)


def test_the_examples_of_the_page_run(kitchen):
    found = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS | doctest.REPORT_NDIFF)
    assert found.attempted > 25 and found.failed == 0
