"""predict from the command line, with an untrained network of the smallest size."""

import json

import numpy as np
import pytest
from PIL import Image

from segfoundry.datasets.formats.panoptic import read_panoptic_json, read_panoptic_png
from segfoundry.modeling.build_model import build_model
from segfoundry.modeling.seem.config import tiny
from segfoundry.trainer.cli.main import main
from segfoundry.trainer.prediction.predictor import load_predictor
from segfoundry.trainer.run_folder.checkpoints import write_weights
from segfoundry.trainer.weights.load_model import parse_classes
from segfoundry.utils.config.dump import dump
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.errors import ConfigError, UserError
from segfoundry.utils.image_io import read_image, read_label
from segfoundry.utils.structures.category import Category
from segfoundry.utils.video import read_video, write_video

CATEGORIES = [
    Category(3, "sky", False, (70, 130, 180)),
    Category(8, "ground", False, (90, 70, 40)),
    Category(21, "cup", True, (220, 20, 60)),
]
TEST = "MODEL.DECODER.TEST."


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder as training leaves it, with random weights and a threshold that lets every query through."""
    folder = tmp_path_factory.mktemp("run")
    values = {**tiny(), f"{TEST}OBJECT_MASK_THRESHOLD": 0.0, f"{TEST}OVERLAP_THRESHOLD": 0.0}
    resolved = load_mapping({**values, "DEVICE": "cpu", "MODEL.ENCODER.NUM_CLASSES": len(CATEGORIES)})
    model = build_model(resolved.cfg, CATEGORIES)
    text = dump(resolved)
    (folder / "config.yaml").write_text(text)
    about = {"config": text, "categories": [vars(c) for c in CATEGORIES]}
    write_weights(folder / "weights" / "best" / "model.safetensors", model.state_dict(), about)
    return folder


def save(path, height, width, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    Image.fromarray(pixels).resize((width, height)).save(path)


@pytest.fixture
def images(tmp_path):
    for number, (height, width) in enumerate([(40, 64), (64, 48), (40, 64)]):
        save(tmp_path / "in" / f"{number:04d}.jpg", height, width, number)
    return tmp_path / "in"


def test_every_kind_of_result_is_written(run, images, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["predict", "--weights", str(run), "--input", str(images), "--output", str(out)]
    assert main([*words, "--tasks", "panoptic,semantic,instance"]) == 0
    assert "predicted 3 images" in capsys.readouterr().out
    document = read_panoptic_json(out / "panoptic.json")
    assert [i["file_name"] for i in document["images"]] == ["0000.jpg", "0001.jpg", "0002.jpg"]
    assert [c["name"] for c in document["categories"]] == ["sky", "ground", "cup"]
    for info, annotation in zip(document["images"], document["annotations"], strict=True):
        ids = read_panoptic_png(out / "panoptic" / annotation["file_name"])
        assert ids.shape == (info["height"], info["width"])
        listed = {s["id"]: s["area"] for s in annotation["segments_info"]}
        assert listed == {int(i): int((ids == i).sum()) for i in np.unique(ids) if i}
        assert {s["category_id"] for s in annotation["segments_info"]} <= {3, 8, 21}
        semantic = read_label(out / "semantic" / annotation["file_name"])
        assert semantic.shape == ids.shape and semantic.max() < 3
        assert read_image(out / "overlay" / info["file_name"]).shape == (*ids.shape, 3)
    entries = json.loads((out / "instances.json").read_text())
    assert entries and {e["category_id"] for e in entries} == {21}


def test_batching_does_not_change_the_results(run, images):
    predictor = load_predictor(str(run))
    first, second = read_image(images / "0000.jpg"), read_image(images / "0002.jpg")
    together = predictor([first, second], ("semantic",))
    alone = [predictor([image], ("semantic",))[0] for image in (first, second)]
    for a, b in zip(together, alone, strict=True):
        assert (a.semantic == b.semantic).mean() > 0.999
    with pytest.raises(ValueError, match="one size"):
        predictor([first, first[:30]])


def test_results_go_into_an_empty_folder_unless_forced(run, images, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep me")
    words = ["predict", "--weights", str(run), "--input", str(images / "0000.jpg"), "--output", str(out)]
    assert main(words) == 2
    assert "--force" in capsys.readouterr().err
    assert [p.name for p in out.iterdir()] == ["mine.txt"]
    assert main([*words, "--force"]) == 0
    assert (out / "mine.txt").read_text() == "keep me"


def test_own_vocabulary(run, images, tmp_path):
    out = tmp_path / "out"
    words = ["predict", "--weights", str(run), "--input", str(images), "--output", str(out), "--tasks", "semantic"]
    assert main([*words, "--classes", "dog, road:stuff"]) == 0
    names = [(c["id"], c["name"], c["isthing"]) for c in json.loads((out / "categories.json").read_text())]
    assert names == [(1, "dog", 1), (2, "road", 0)]
    assert max(read_label(p).max() for p in (out / "semantic").iterdir()) < 2
    assert main([*words, "--force", "--classes", ""]) == 2


@pytest.mark.parametrize("text", ["a,,b", "a,a", "a:person", ""])
def test_faulty_vocabulary(text):
    with pytest.raises(UserError, match="--classes"):
        parse_classes(text)


def test_truncated_image_stops_or_is_skipped(run, images, tmp_path, capsys):
    bad = images / "0002.jpg"
    bad.write_bytes(bad.read_bytes()[:-200])
    words = ["predict", "--weights", str(run), "--input", str(images), "--batch", "2"]
    assert main([*words, "--output", str(tmp_path / "a")]) == 2
    text = capsys.readouterr().err
    assert "0002.jpg" in text and "--skip-corrupt" in text
    finished = read_panoptic_json(tmp_path / "a" / "panoptic.json")["images"]
    assert [i["file_name"] for i in finished] == ["0000.jpg"]  # of the damaged image's size, and before it
    assert [p.name for p in (tmp_path / "a" / "overlay").iterdir()] == ["0000.jpg"]
    assert main([*words, "--output", str(tmp_path / "b"), "--skip-corrupt"]) == 0
    assert "predicted 2 images, 1 unreadable files skipped" in capsys.readouterr().out


def test_nothing_readable_is_an_error(run, tmp_path, capsys):
    (tmp_path / "a.jpg").write_bytes(b"")
    words = ["predict", "--weights", str(run), "--input", str(tmp_path / "a.jpg"), "--output", str(tmp_path / "out")]
    assert main([*words, "--skip-corrupt"]) == 2
    assert "none of the 1 inputs" in capsys.readouterr().err


def test_video(run, tmp_path):
    frames = [np.full((48, 64, 3), 40 * i, np.uint8) for i in range(5)]
    write_video(tmp_path / "clip.mp4", frames, 10)
    out = tmp_path / "out"
    words = ["predict", "--weights", str(run), "--input", str(tmp_path / "clip.mp4"), "--output", str(out)]
    assert main([*words, "--batch", "2", "--tasks", "panoptic"]) == 0
    assert len(list(read_video(out / "overlay" / "clip.mp4"))) == 5
    document = read_panoptic_json(out / "panoptic.json")
    assert [a["file_name"] for a in document["annotations"]] == [f"clip/{i:06d}.png" for i in range(1, 6)]
    assert all((out / "panoptic" / a["file_name"]).is_file() for a in document["annotations"])


def test_weight_file_alone_is_enough_and_bare_weights_need_a_configuration(run, images, tmp_path):
    import torch

    file = run / "weights" / "best" / "model.safetensors"
    predictor = load_predictor(str(file))
    assert [c.name for c in predictor.categories] == ["sky", "ground", "cup"]
    bare = tmp_path / "published.pt"
    torch.save({k: v for k, v in predictor.model.state_dict().items() if k != "criterion.empty_weight"}, bare)
    with pytest.raises(ConfigError, match="--conf_files"):
        load_predictor(str(bare))
    published = load_predictor(str(bare), [str(run / "config.yaml")], ["MODEL.ENCODER.NUM_CLASSES", "133"])
    assert len(published.categories) == 133 and published.categories[0].name == "person"
    shown = published([read_image(images / "0000.jpg")], ("semantic",))[0].semantic
    assert shown.shape == (40, 64)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--tasks", "boxes"], "--tasks boxes"),
        (["--batch", "0"], "--batch 0"),
        (["--weights", "absent.pt"], "absent.pt"),
        (["--input", "absent.jpg"], "absent.jpg"),
    ],
)
def test_bad_input_is_one_clear_line(run, images, tmp_path, capsys, words, text):
    command = ["predict", "--weights", str(run), "--input", str(images), "--output", str(tmp_path / "out"), *words]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and text in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_nothing_found_is_told_with_the_keys_that_decide(run, images, tmp_path, capsys):
    words = [
        "predict",
        "--weights",
        str(run),
        "--input",
        str(images),
        "--output",
        f"{tmp_path}/out",
        "--tasks",
        "panoptic",
    ]
    assert main([*words, "--overrides", f"{TEST}OBJECT_MASK_THRESHOLD", "1.0"]) == 0
    told = capsys.readouterr()
    assert "with no panoptic result in any of them" in told.out
    assert "warning: no segment at all in 3 of 3 images" in told.err and f"{TEST}OBJECT_MASK_THRESHOLD" in told.err
    assert main([*words, "--force"]) == 0
    told = capsys.readouterr()
    assert "no segment" not in told.err and "in any of them" not in told.out
