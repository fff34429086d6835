"""convert: every source, complete files, safe and atomic writing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from segfoundry.modeling.build_model import build_model
from segfoundry.modeling.seem.config import tiny
from segfoundry.trainer.cli.main import main
from segfoundry.trainer.prediction.predictor import load_predictor
from segfoundry.trainer.run_folder.checkpoints import write_weights
from segfoundry.trainer.weights.load_model import read_weight_header
from segfoundry.utils.config.dump import dump
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.structures.category import Category

from ....support.tiny_data import write_dataset

CATEGORIES = [
    Category(3, "sky", False, (70, 130, 180)),
    Category(8, "ground", False, (90, 70, 40)),
    Category(21, "cup", True, (220, 20, 60)),
]
LORA = {"LORA.TARGETS": ["sem_seg_head.predictor.transformer_ffn_layers.*"], "LORA.RANK": 2}
IMAGE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)


def resolve(**values):
    return load_mapping({**tiny(), "MODEL.ENCODER.NUM_CLASSES": len(CATEGORIES), "DEVICE": "cpu", **values})


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run folder with random weights whose configuration names files that are gone."""
    folder = tmp_path_factory.mktemp("run")
    resolved = resolve(**{"MODEL.TEXT.OPEN_CLIP.PRETRAINED": "/gone.pt", "WEIGHT": True, "RESUME_FROM": "/gone.pt"})
    model = build_model(resolved.cfg, CATEGORIES)
    about = {"config": dump(resolved), "categories": [vars(c) for c in CATEGORIES]}
    write_weights(folder / "weights" / "best" / "model.safetensors", model.state_dict(), about)
    (folder / "config.yaml").write_text(dump(resolved))
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "model.yaml"
    path.write_text(dump(resolve().cfg))
    return path


def logits(weights: Path, *words: str) -> torch.Tensor:
    """Returns the mask logits and probabilities that a weight file gives."""
    predictor = load_predictor(str(weights), *words)
    image = torch.from_numpy(np.ascontiguousarray(IMAGE.transpose(2, 0, 1))).float()[None]
    with torch.no_grad():
        return torch.cat([x.flatten() for x in predictor.model.inference_graph()(image)])


def test_a_run_becomes_one_file_that_needs_nothing(run: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "moved" / "model.safetensors"
    assert main(["convert", "--weights", str(run), "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "loaded" in printed and "3 trained categories" in printed
    assert [path.name for path in output.parent.iterdir()] == ["model.safetensors"]
    assert torch.equal(logits(output), logits(run))
    predictor = load_predictor(str(output))
    assert [c.name for c in predictor.categories] == ["sky", "ground", "cup"]
    assert not predictor.cfg.WEIGHT and predictor.cfg.RESUME_FROM == ""
    assert predictor.cfg.MODEL.TEXT.OPEN_CLIP.PRETRAINED == ""


@pytest.mark.parametrize("kind", ["pt", "prefixed", "nested", "safetensors", "trainer_folder"])
def test_weights_of_other_tools_with_a_configuration(run: Path, tmp_path: Path, config: Path, kind: str) -> None:
    state = load_file(run / "weights" / "best" / "model.safetensors")
    source = tmp_path / "source.pt"
    if kind == "safetensors":
        source = tmp_path / "source.safetensors"
        save_file(state, source)
    elif kind == "trainer_folder":
        source = tmp_path / "trained"
        (source / "default").mkdir(parents=True)
        torch.save(
            {f"model.{name}": tensor for name, tensor in state.items()}, source / "default" / "model_state_dict.pt"
        )
    else:
        prefix = "module.model." if kind == "prefixed" else ""
        named = {prefix + name: tensor for name, tensor in state.items()}
        torch.save({"model": named} if kind == "nested" else named, source)
    record = write_dataset(tmp_path)
    output = tmp_path / "model.safetensors"
    words = ["convert", "--weights", str(source), "--output", str(output), "--conf_files", str(config)]
    assert main([*words, "--record", str(record)]) == 0
    assert [c["name"] for c in json.loads(read_weight_header(output)["categories"])] == ["sky", "ground", "ball"]
    assert "vocabulary" not in read_weight_header(output), (
        "as many names as it was trained with: these are the trained ones"
    )
    written = load_file(output)
    assert written.keys() == state.keys() and all(torch.equal(written[name], state[name]) for name in state)


def test_another_vocabulary_goes_into_the_file(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"
    assert main(["convert", "--weights", str(run), "--output", str(output), "--classes", "dog,road:stuff"]) == 0
    predictor = load_predictor(str(output))
    assert [(c.name, c.isthing) for c in predictor.categories] == [("dog", True), ("road", False)]
    assert [c["name"] for c in json.loads(read_weight_header(output)["categories"])] == ["sky", "ground", "cup"]
    assert torch.equal(logits(output), logits(run, (), (), (), "dog,road:stuff"))
    again = tmp_path / "again.safetensors"
    assert main(["convert", "--weights", str(output), "--output", str(again)]) == 0
    assert [c.name for c in load_predictor(str(again)).categories] == ["dog", "road"]


def test_evaluation_size_of_the_record_travels_along(run: Path, tmp_path: Path) -> None:
    record = write_dataset(tmp_path)
    sized = json.loads(record.read_text()) | {"min_size_test": 40, "max_size_test": 50}
    record.write_text(json.dumps(sized))
    output = tmp_path / "model.safetensors"
    words = ["convert", "--weights", str(run), "--output", str(output), "--overrides", "DATASETS.TEST", f"[{record}]"]
    assert main(words) == 0
    shutil.rmtree(tmp_path / "train")
    record.unlink()
    assert load_predictor(str(output)).resize(IMAGE).shape[:2] == (33, 50)


def lora_run(folder: Path) -> Path:
    torch.manual_seed(1)
    resolved = resolve(**LORA)
    model = build_model(resolved.cfg, CATEGORIES)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("lora_up"):
                parameter.normal_(std=0.1)
    about = {"config": dump(resolved), "categories": [vars(c) for c in CATEGORIES]}
    write_weights(folder / "lora.safetensors", model.state_dict(), about)
    return folder / "lora.safetensors"


def test_merged_lora_gives_the_same_answers_without_it(tmp_path: Path, capsys) -> None:
    source, merged, kept = lora_run(tmp_path), tmp_path / "merged.safetensors", tmp_path / "kept.safetensors"
    assert main(["convert", "--weights", str(source), "--output", str(merged), "--merge-lora"]) == 0
    assert "merged the LoRA updates of 4 layers" in capsys.readouterr().out
    assert main(["convert", "--weights", str(source), "--output", str(kept)]) == 0
    assert any("lora_" in name for name in load_file(kept)) and not any("lora_" in name for name in load_file(merged))
    torch.testing.assert_close(logits(merged), logits(source), atol=1e-5, rtol=1e-4)
    assert torch.equal(logits(kept), logits(source))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_published_layout_is_a_bare_dict(run: Path, tmp_path: Path, config: Path, suffix: str) -> None:
    output = tmp_path / f"bare{suffix}"
    assert main(["convert", "--weights", str(run), "--output", str(output), "--to", "published"]) == 0
    state = torch.load(output, weights_only=True) if suffix == ".pt" else load_file(output)
    expected = load_file(run / "weights" / "best" / "model.safetensors")
    assert state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in state)
    assert "config" not in read_weight_header(output)


def test_lora_cannot_stay_in_the_published_layout(tmp_path: Path, capsys) -> None:
    words = ["convert", "--weights", str(lora_run(tmp_path)), "--output", str(tmp_path / "x.pt"), "--to", "published"]
    assert main(words) == 2
    assert "--merge-lora" in capsys.readouterr().err and not (tmp_path / "x.pt").exists()
    assert main([*words, "--merge-lora"]) == 0


def test_incomplete_weights_are_refused_unless_allowed(run: Path, tmp_path: Path, config: Path, capsys) -> None:
    state = load_file(run / "weights" / "best" / "model.safetensors")
    del state["sem_seg_head.predictor.class_embed"]
    torch.save(state, tmp_path / "part.pt")
    output = tmp_path / "model.safetensors"
    words = ["convert", "--weights", str(tmp_path / "part.pt"), "--output", str(output), "--conf_files", str(config)]
    assert main(words) == 2
    assert "lacks 1 tensors" in capsys.readouterr().err and not output.exists()
    assert main([*words, "--partial"]) == 0
    assert "class_embed" in capsys.readouterr().out


def test_nothing_is_overwritten_without_force(run: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "model.safetensors"
    output.write_text("precious")
    words = ["convert", "--weights", str(run), "--output", str(output)]
    assert main(words) == 2
    assert "--force" in capsys.readouterr().err and output.read_text() == "precious"
    assert main([*words, "--force"]) == 0
    assert read_weight_header(output)["converted_from"] == "model.safetensors"


def test_a_failed_write_leaves_the_old_file(run: Path, tmp_path: Path, monkeypatch) -> None:
    import segfoundry.trainer.weights.convert_weights as module

    output = tmp_path / "model.safetensors"
    output.write_text("old")

    def fail(path, *args):
        path.write_text("half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(module, "write_safetensors", fail)
    assert main(["convert", "--weights", str(run), "--output", str(output), "--force"]) == 2
    assert output.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--output", "x.pt"], "ends in .safetensors"),
        (["--output", "x.bin", "--to", "published"], ".pth or .safetensors"),
        (["--output", "x.pt", "--to", "published", "--classes", "a"], "holds no names"),
        (["--output", "x.safetensors", "--classes", "a", "--record", "b"], "not allowed with"),
        (["--output", "x.safetensors", "--record", "nowhere.yaml"], "nowhere.yaml"),
        (["--output", "x.safetensors", "--classes", "a,,b"], "empty"),
    ],
)
def test_wrong_words_are_answered(run: Path, tmp_path: Path, monkeypatch, capsys, words: list[str], found: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["convert", "--weights", str(run), *words]) == 2
    assert found in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_code_in_a_file_is_never_run(tmp_path: Path, config: Path, capsys) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"model": Bomb()}, tmp_path / "bomb.pt")
    words = ["convert", "--weights", str(tmp_path / "bomb.pt"), "--output", str(tmp_path / "x.safetensors")]
    assert main([*words, "--conf_files", str(config)]) == 2
    assert "could run code" in capsys.readouterr().err and not (tmp_path / "ran").exists()


def test_evaluate_takes_the_file_alone(run: Path, tmp_path: Path) -> None:
    record = write_dataset(tmp_path)
    output = tmp_path / "model.safetensors"
    assert main(["convert", "--weights", str(run), "--output", str(output)]) == 0
    words = ["evaluate", "--weights", str(output), "--output", str(tmp_path / "eval")]
    assert main([*words, "--overrides", "DATASETS.TEST", f"[{record}]", "SAVE_DIR", str(tmp_path)]) == 0
    assert (tmp_path / "eval" / "tiny" / "metrics.json").is_file()
