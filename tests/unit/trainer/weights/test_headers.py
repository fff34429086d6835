"""What a weight file's header may hold."""

import json

import pytest
import torch
from safetensors.torch import save_file

from segfoundry.trainer.weights.load_model import read_weight_header
from segfoundry.utils.errors import CheckpointError


def write(tmp_path, **entries):
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", entries)
    return tmp_path / "w.safetensors"


@pytest.mark.parametrize(
    ("entry", "text", "message"),
    [
        ("categories", "[", "categories in its header is '[', expected a list of categories"),
        ("vocabulary", "{}", "expected a list of categories"),
        ("reloadable", '{"a.": {"file": 1, "sha256": ""}}', "expected files and digests of parts"),
        ("reloadable", "[" * 200 + "]" * 200, "expected files and digests of parts"),
        ("test_size", '["x", true, "1", "bilinear"]', "expected [name, short side, long side, resize]"),
        ("test_size", "[]", "expected [name, short side, long side, resize]"),
        ("test_size", '["x", 480, 640, "nearest"]', "expected [name, short side, long side, resize]"),
    ],
)
def test_entries_of_another_form(tmp_path, entry, text, message):
    with pytest.raises(CheckpointError) as found:
        read_weight_header(write(tmp_path, **{entry: text}))
    assert message in str(found.value) and "w.safetensors" in str(found.value)


def test_whole_headers_are_read(tmp_path):
    entries = {
        "test_size": json.dumps(["x", None, 640, "bilinear"]),
        "reloadable": "{}",
        "categories": "[]",
        "more": "[",
    }
    assert read_weight_header(write(tmp_path, **entries)) == entries
