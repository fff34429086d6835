"""predict with prompts, from the command line, with an untrained network of the smallest size."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from segfoundry.modeling.build_model import build_model
from segfoundry.modeling.seem.config import tiny
from segfoundry.trainer.cli.main import main
from segfoundry.trainer.prediction.interactive_session import InteractiveSession
from segfoundry.trainer.prediction.predictor import Predictor
from segfoundry.trainer.run_folder.checkpoints import write_weights
from segfoundry.utils.config.dump import dump
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.image_io import read_image, read_label
from segfoundry.utils.masks import decode_masks
from segfoundry.utils.structures.category import Category

CATEGORIES = [Category(1, "sky", False, (70, 130, 180)), Category(2, "cup", True, (220, 20, 60))]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    resolved = load_mapping({**tiny(), "DEVICE": "cpu", "MODEL.ENCODER.NUM_CLASSES": len(CATEGORIES)})
    about = {"config": dump(resolved), "categories": [vars(c) for c in CATEGORIES]}
    write_weights(path, build_model(resolved.cfg, CATEGORIES).state_dict(), about)
    return path


@pytest.fixture
def images(tmp_path):
    (tmp_path / "in").mkdir()
    for number in (1, 2):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 64, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
    return tmp_path / "in"


def predict(weights, images, out, *words):
    return main(["predict", "--weights", str(weights), "--input", str(images), "--output", str(out), *words])


def test_masks_json_and_overlays(weights, images, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--text", "the left cup", "sky", "--point", "5,6", "--point", "60,30,-", "--box", "2,3,20,30"]
    assert predict(weights, images, out, *words) == 0
    assert "predicted 2 images" in capsys.readouterr().out
    found = json.loads((out / "prompted.json").read_text())
    assert [(i["id"], i["file_name"], i["height"], i["width"]) for i in found["images"]] == [
        (1, "1.png", 40, 64),
        (2, "2.png", 40, 64),
    ]
    assert [(a["image_id"], a["object"], a["name"]) for a in found["annotations"][:3]] == [
        (1, 1, "object 1"),
        (1, 2, "the left cup"),
        (1, 3, "sky"),
    ]
    prompts = [{"point": [5, 6]}, {"point": [60, 30], "positive": False}, {"box": [2, 3, 20, 30]}]
    assert found["annotations"][0]["prompts"] == prompts
    for entry in found["annotations"]:
        mask = decode_masks([entry["segmentation"]], (40, 64))[0]
        np.testing.assert_array_equal(read_label(out / entry["mask"]), mask * np.uint8(255))
        assert entry["area"] == mask.sum() and 0 <= entry["score"] <= 1
    assert read_image(out / "overlay" / "1.jpg").shape == (40, 64, 3)
    session = Predictor.from_checkpoint(weights).interactive(images / "1.png")
    session.text("sky")
    assert session.objects[0].rle == found["annotations"][2]["segmentation"]


def test_the_objects_are_a_coco_file_that_other_tools_read(weights, images, tmp_path):
    out = tmp_path / "out"
    assert predict(weights, images, out, "--text", "sky", "cup", "--point", "5,6") == 0
    coco = COCO(out / "prompted.json")
    assert {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())} == {1: "object", 2: "sky", 3: "cup"}
    assert sorted(coco.getAnnIds()) == [1, 2, 3, 4, 5, 6] and coco.getImgIds() == [1, 2]
    (sky,) = coco.loadAnns(coco.getAnnIds(imgIds=2, catIds=2))
    np.testing.assert_array_equal(coco.annToMask(sky) * 255, read_label(out / sky["mask"]))
    convert = ["prepare", "--convert", "detection2panoptic", "--input", f"{out}/prompted.json", "--overlap", "order"]
    assert main([*convert, "--output", f"{tmp_path}/panoptic.json", "--workers", "0"]) == 0
    assert [c["name"] for c in json.loads((tmp_path / "panoptic.json").read_text())["categories"]] == [
        "object",
        "sky",
        "cup",
    ]


def test_empty_masks_are_told(weights, images, tmp_path, capsys, monkeypatch):
    assert predict(weights, images, tmp_path / "a", "--box", "2,3,20,30") == 0
    assert "is empty" not in capsys.readouterr().err
    monkeypatch.setattr(InteractiveSession, "masks", property(lambda self: np.zeros((2, 40, 64), bool)))
    assert predict(weights, images, tmp_path / "b", "--text", "sky", "cup") == 0
    assert "the mask of 4 of 4 objects is empty" in capsys.readouterr().err


def test_a_file_of_prompts(weights, images, tmp_path, capsys):
    file = tmp_path / "prompts.yaml"
    file.write_text("images: {2.png: [{name: plate, text: a plate, prompts: [{circle: [9, 9, 4]}]}]}")
    assert predict(weights, images, tmp_path / "out", "--prompts", str(file)) == 0
    found = json.loads((tmp_path / "out" / "prompted.json").read_text())
    assert [i["file_name"] for i in found["images"]] == ["2.png"]
    assert [(a["name"], a["text"]) for a in found["annotations"]] == [("plate", "a plate")]
    file.write_text("images: {3.png: [{text: a plate}]}")
    assert predict(weights, images, tmp_path / "other", "--prompts", str(file)) == 2
    assert "no input is named '3.png'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--point", "5"], "--point: '5': expected X,Y"),
        (["--point", "a,b"], "expected X,Y"),
        (["--point", "64.5,3"], "1.png: point at 64.5,3 is outside the image, which is 64 wide and 40 high"),
        (["--point", "nan,3"], "finite"),
        (["--point", "3,3,-"], "1.png: an object needs something positive"),
        (["--box", "1,2,3"], "expected X0,Y0,X1,Y1"),
        (["--box", "9,2,3,8"], "no area"),
        (["--text", " "], "expected words"),
        (["--text", "cup", "--tasks", "panoptic"], "--tasks has no meaning with prompts"),
        (["--text", "cup", "--batch", "3"], "--batch has no meaning with prompts"),
        (["--prompts", "absent.yaml"], "absent.yaml: no such file"),
    ],
)
def test_bad_input_is_one_clear_line(weights, images, tmp_path, capsys, words, text):
    assert predict(weights, images, tmp_path / "out", *words) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("error: ") and text in error and "Traceback" not in error


def test_unreadable_images_stop_or_are_skipped(weights, images, tmp_path, capsys):
    (images / "1.png").write_bytes(b"no picture")
    assert predict(weights, images, tmp_path / "a", "--text", "cup") == 2
    assert "--skip-corrupt" in capsys.readouterr().err
    assert predict(weights, images, tmp_path / "b", "--text", "cup", "--skip-corrupt") == 0
    assert "predicted 1 images, 1 unreadable files skipped" in capsys.readouterr().out
