"""export: the written graph answers as the network does, and what must not be written is not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import segfoundry.trainer.prediction.graph_export as export_module
from segfoundry.modeling.build_model import build_model
from segfoundry.modeling.seem.config import tiny
from segfoundry.trainer.cli.main import main
from segfoundry.trainer.prediction.graph_export import compare, inference_graph
from segfoundry.trainer.prediction.predictor import load_predictor
from segfoundry.trainer.run_folder.checkpoints import write_weights
from segfoundry.utils.config.dump import dump
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.errors import UserError
from segfoundry.utils.structures.category import Category

CATEGORIES = [Category(3, "sky", False, (70, 130, 180)), Category(21, "cup", True, (220, 20, 60))]


def write_run(folder: Path, **values) -> Path:
    resolved = load_mapping({**tiny(), "MODEL.ENCODER.NUM_CLASSES": len(CATEGORIES), "DEVICE": "cpu", **values})
    torch.manual_seed(0)
    model = build_model(resolved.cfg, CATEGORIES)
    about = {"config": dump(resolved), "categories": [vars(c) for c in CATEGORIES]}
    write_weights(folder / "model.safetensors", model.state_dict(), about)
    return folder / "model.safetensors"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("weights"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"MODEL.ENCODER.NAME": "transformer_encoder_deform", "MODEL.BACKBONE.NAME": "focal_dw"},
        {"MODEL.BACKBONE.FOCAL.FINE_TUNE": True, "MODEL.DECODER.FINE_TUNE": True},
    ],
    ids=["fpn", "deform_dw", "adapters"],
)
def test_torch_export_answers_as_the_network_does(tmp_path: Path, capsys, values: dict) -> None:
    weights = write_run(tmp_path, **values)
    output = tmp_path / "out" / "model.pt2"
    assert main(["export", "--weights", str(weights), "--size", "64", "96", "--output", str(output)]) == 0
    assert "largest difference" in capsys.readouterr().out
    assert sorted(path.name for path in output.parent.iterdir()) == ["model.pt2", "model.pt2.json"]
    about = json.loads((tmp_path / "out" / "model.pt2.json").read_text())
    assert [c["name"] for c in about["classes"]] == ["sky", "cup"] and about["no_object"] == 2
    assert about["input"]["shape"] == [1, 3, 64, 96] and about["largest_difference"] < 1e-3
    extra = {"metadata.json": ""}
    graph = torch.export.load(output, extra_files=extra).module()
    assert json.loads(extra["metadata.json"])["classes"] == about["classes"]
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(5)) * 255
    with torch.no_grad():
        found, expected = graph(image), load_predictor(str(weights)).model.inference_graph()(image)
    for a, b, name in zip(found, expected, ("class_probabilities", "mask_logits"), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
        assert list(a.shape) == about["outputs"][name]["shape"]


def test_graph_holds_what_predictions_are_made_of(weights: Path) -> None:
    predictor = load_predictor(str(weights))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    image = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None]
    with torch.no_grad():
        probabilities, logits = predictor.model.inference_graph()(image)
    masks = torch.nn.functional.interpolate(logits, (64, 64), mode="bilinear", align_corners=False)[0].sigmoid()
    scores = torch.einsum("qk,qhw->khw", probabilities[0, :, :-1], masks)
    (prediction,) = predictor([pixels], ("semantic",))
    assert (torch.from_numpy(np.asarray(prediction.semantic)) == scores.argmax(dim=0)).float().mean() > 0.99


def test_graph_leaves_the_text_tower_out_and_the_model_as_it_was(weights: Path) -> None:
    model = load_predictor(str(weights)).model
    before = set(model.state_dict())
    graph = model.inference_graph()
    assert not any("token_embedding" in name for name in graph.state_dict())
    assert set(model.state_dict()) == before
    shared = dict(model.named_parameters())["sem_seg_head.predictor.class_embed"]
    assert graph.predictor.class_embed is shared


@pytest.mark.parametrize("factor", [1.01, float("nan")])
def test_a_graph_that_differs_is_refused(weights: Path, factor: float) -> None:
    graph = load_predictor(str(weights)).model.inference_graph()
    assert compare(graph, graph, (64, 64)) == 0
    with pytest.raises(UserError, match="differs from the network"):
        compare(graph, lambda image: [output * factor for output in graph(image)], (64, 64))


@pytest.mark.slow
def test_a_graph_that_differs_is_not_left_behind(weights: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(export_module, "_load_torch", lambda path: lambda image: [torch.zeros(1), torch.zeros(1)])
    words = ["export", "--weights", str(weights), "--size", "64", "64", "--output", str(tmp_path / "x.pt2")]
    assert main(words) == 2
    assert "differs" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--size", "64", "100", "--output", "x.pt2"], "multiples of 32, e.g. 64 96"),
        (["--size", "0", "64", "--output", "x.pt2"], "e.g. 32 64"),
        (["--size", "64", "64", "--output", "x.bin"], ".pt2"),
        (["--size", "64", "64", "--output", "there.pt2"], "--force"),
        (["--size", "64", "--output", "x.pt2"], "--size"),
    ],
)
def test_wrong_words_are_answered(weights: Path, tmp_path: Path, monkeypatch, capsys, words, found: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.pt2").write_text("precious")
    assert main(["export", "--weights", str(weights), *words]) == 2
    assert found in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there.pt2"]


def test_onnx_says_which_packages_it_needs(weights: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(export_module, "_ONNX_PACKAGES", ("onnx_of_nowhere",))
    words = ["export", "--weights", str(weights), "--size", "64", "64", "--output", str(tmp_path / "x.onnx")]
    assert main(words) == 2
    assert "pip install onnx_of_nowhere" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["transformer_encoder_fpn", "transformer_encoder_deform"])
def test_onnx_answers_as_the_network_does(tmp_path: Path, decoder: str) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    import onnx

    weights = write_run(tmp_path, **{"MODEL.ENCODER.NAME": decoder})
    output = tmp_path / "model.onnx"
    assert main(["export", "--weights", str(weights), "--size", "64", "96", "--output", str(output)]) == 0
    about = json.loads((tmp_path / "model.onnx.json").read_text())
    assert about["largest_difference"] < 1e-3
    stored = {entry.key: entry.value for entry in onnx.load(output).metadata_props}
    assert json.loads(stored["segfoundry"])["classes"] == about["classes"]


def test_other_architectures_say_that_they_cannot(weights: Path) -> None:
    from ....support.toy import Toy

    with pytest.raises(UserError, match="cannot be exported"):
        inference_graph(Toy())
