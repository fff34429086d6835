"""convert of SAM: published names, transformers, merged updates, decoders without encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from segfoundry.modeling.layers.lora import is_lora
from segfoundry.trainer.cli.main import main
from segfoundry.trainer.run_folder.checkpoints import write_weights
from segfoundry.trainer.weights.load_model import load_model
from segfoundry.utils.config.dump import dump

from ....support import tiny_sam

POINTS = torch.tensor([[[20.0, 30.0], [40.0, 11.0]]])
LABELS = torch.tensor([[1, 0]])


def write_run(folder: Path, **values) -> Path:
    """Writes weights as a run does, all of them random; returns the file."""
    model = tiny_sam.model(**values)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path = folder / "weights" / "best" / "model.safetensors"
    write_weights(path, model.state_dict(), {"config": dump(tiny_sam.config(**values)), "categories": []})
    return path


def answers(model) -> torch.Tensor:
    torch.manual_seed(0)
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        return model.eval().predict_masks(model.embed(pixels), points=POINTS, labels=LABELS)[0]


def convert(*words) -> int:
    return main(["convert", *map(str, words)])


def test_a_network_of_transformers_takes_folder_and_file(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    weights = write_run(tmp_path)
    assert convert("--weights", weights, "--output", tmp_path / "hf", "--to", "transformers") == 0
    theirs, info = transformers.SamModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert convert("--weights", weights, "--output", tmp_path / "hf.safetensors", "--to", "transformers") == 0
    theirs.load_state_dict(load_file(tmp_path / "hf.safetensors"), strict=True)
    torch.manual_seed(0)
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        found = theirs.eval()(pixel_values=pixels, input_points=POINTS[None], input_labels=LABELS[None])
    expected = answers(load_model(str(weights)).model)
    torch.testing.assert_close(found.pred_masks[0], expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_what_transformers_saved_comes_back(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    weights = write_run(tmp_path)
    assert convert("--weights", weights, "--output", tmp_path / "hf", "--to", "transformers") == 0
    transformers.SamModel.from_pretrained(tmp_path / "hf").save_pretrained(tmp_path / "theirs")
    (tmp_path / "sam.yaml").write_text(dump(tiny_sam.config()))
    words = ["--weights", tmp_path / "theirs" / "model.safetensors", "--conf_files", tmp_path / "sam.yaml"]
    assert convert(*words, "--output", tmp_path / "back.pth", "--to", "published") == 0
    back, original = torch.load(tmp_path / "back.pth"), load_file(weights)
    assert set(back) == set(original)
    assert all(torch.equal(back[name], original[name]) for name in back)


def test_merged_updates_leave_published_names_and_the_same_answers(tmp_path: Path, capsys):
    weights = write_run(tmp_path, SAM__TRAIN__IMAGE_ENCODER="lora", SAM__TRAIN__MASK_DECODER="lora")
    expected = answers(load_model(str(weights)).model)
    assert any(is_lora(name) for name in load_file(weights))
    for layout in ("published", "transformers"):
        output = tmp_path / f"{layout}.safetensors"
        assert convert("--weights", weights, "--output", output, "--to", layout) == 2
        assert "--merge-lora" in capsys.readouterr().err
    merged = tmp_path / "merged.safetensors"
    assert convert("--weights", weights, "--output", merged, "--merge-lora") == 0
    loaded = load_model(str(merged))
    assert loaded.report.complete and loaded.resolved.cfg.SAM.TRAIN.IMAGE_ENCODER == "frozen"
    torch.testing.assert_close(answers(loaded.model), expected, rtol=1e-4, atol=1e-4)
    plain = tmp_path / "plain.pth"
    assert convert("--weights", weights, "--output", plain, "--to", "published", "--merge-lora") == 0
    assert set(torch.load(plain)) == set(tiny_sam.model().state_dict())


def test_adapters_stay_in_our_own_layout(tmp_path: Path, capsys):
    weights = write_run(tmp_path, SAM__TRAIN__IMAGE_ENCODER="adapter")
    for layout in ("published", "transformers"):
        output = tmp_path / f"{layout}.safetensors"
        assert convert("--weights", weights, "--output", output, "--to", layout, "--merge-lora") == 2
        assert "cannot be merged" in capsys.readouterr().err
    assert convert("--weights", weights, "--output", tmp_path / "own.safetensors") == 0
    assert load_model(str(tmp_path / "own.safetensors")).report.complete


def test_mobile_sam_has_no_class_in_transformers(tmp_path: Path, capsys):
    weights = write_run(tmp_path, SAM__TYPE="vit_t", SAM__IMAGE_SIZE=64)
    assert convert("--weights", weights, "--output", tmp_path / "hf", "--to", "transformers") == 2
    assert "MobileSAM" in capsys.readouterr().err
    assert convert("--weights", weights, "--output", tmp_path / "t.pt", "--to", "published") == 0


def test_published_files_carry_no_categories(tmp_path: Path):
    (tmp_path / "sam.yaml").write_text(dump(tiny_sam.config()))
    save_file(tiny_sam.model().state_dict(), tmp_path / "bare.safetensors")
    output = tmp_path / "own.safetensors"
    words = ["--weights", tmp_path / "bare.safetensors", "--conf_files", tmp_path / "sam.yaml"]
    assert convert(*words, "--output", output) == 0
    assert load_model(str(output)).trained == ()


def test_a_decoder_alone_is_put_on_its_base(tmp_path: Path, capsys):
    base, tuned = tiny_sam.model(seed=1).state_dict(), tiny_sam.model(seed=2).state_dict()
    torch.save(base, tmp_path / "base.pth")
    torch.save({k: v for k, v in tuned.items() if k.startswith("mask_decoder.")}, tmp_path / "decoder.pth")
    (tmp_path / "sam.yaml").write_text(dump(tiny_sam.config()))
    words = ["--weights", tmp_path / "decoder.pth", "--output", tmp_path / "whole.safetensors"]
    assert convert(*words) == 2
    assert "SAM.CHECKPOINT" in capsys.readouterr().err
    words += ["--conf_files", tmp_path / "sam.yaml"]
    assert convert(*words) == 2
    assert "no base network" in capsys.readouterr().err
    assert convert(*words, "--overrides", "SAM.CHECKPOINT", tmp_path / "base.pth") == 0
    whole = load_file(tmp_path / "whole.safetensors")
    for name, tensor in whole.items():
        assert torch.equal(tensor, (tuned if name.startswith("mask_decoder.") else base)[name]), name


def test_folders_are_replaced_on_request_only(tmp_path: Path, capsys):
    weights, output = write_run(tmp_path), tmp_path / "hf"
    words = ["--weights", weights, "--output", output, "--to", "transformers"]
    assert convert(*words) == 0
    assert convert(*words) == 2
    assert "--force" in capsys.readouterr().err
    (output / "config.json").write_text("{}")
    assert convert(*words, "--force") == 0
    assert json.loads((output / "config.json").read_text())["model_type"] == "sam"
    (tmp_path / "other").mkdir()
    assert convert("--weights", weights, "--output", tmp_path / "other", "--to", "transformers", "--force") == 2
    assert convert("--weights", weights, "--output", tmp_path / "x.bin", "--to", "transformers") == 2
