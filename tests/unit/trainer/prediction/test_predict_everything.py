"""predict --tasks everything and Predictor.everything, with an untrained network of the smallest size."""

import json

import numpy as np
import pytest
from PIL import Image

from segfoundry.modeling.build_model import build_model
from segfoundry.modeling.sam.config import tiny
from segfoundry.trainer.cli.main import main
from segfoundry.trainer.prediction.predict_files import overlay
from segfoundry.trainer.prediction.predictor import load_predictor
from segfoundry.trainer.prediction.result_memory import result_memory
from segfoundry.trainer.run_folder.checkpoints import write_weights
from segfoundry.utils.config.dump import dump
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.errors import UserError
from segfoundry.utils.image_io import read_image
from segfoundry.utils.masks import decode_masks
from segfoundry.utils.structures.category import Category
from segfoundry.utils.structures.requests import Request
from segfoundry.utils.structures.results import Prediction
from segfoundry.utils.video import read_video, write_video

OPEN = {"SAM.AMG.PRED_IOU_THRESH": 0.0, "SAM.AMG.STABILITY_SCORE_THRESH": 0.0, "SAM.AMG.BOX_NMS_THRESH": 1.0}
CATEGORIES = [Category(1, "cable", True, (220, 20, 60))]


def run_folder(folder, **values):
    resolved = load_mapping({**tiny(), **OPEN, **values})
    model = build_model(resolved.cfg, CATEGORIES)
    text = dump(resolved)
    (folder / "config.yaml").write_text(text)
    about = {"config": text, "categories": [vars(c) for c in CATEGORIES]}
    write_weights(folder / "weights" / "best" / "model.safetensors", model.state_dict(), about)
    return folder


@pytest.fixture(scope="module")
def promptable(tmp_path_factory):
    return run_folder(tmp_path_factory.mktemp("promptable"))


@pytest.fixture(scope="module")
def dlo(tmp_path_factory):
    return run_folder(tmp_path_factory.mktemp("dlo"), **{"SAM.TASK": "dlo"})


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    Image.fromarray(pixels).resize((90, 60)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def command(weights, image, out, *words):
    return ["predict", "--weights", str(weights), "--input", str(image), "--output", str(out), *words]


def test_records_are_written_and_drawn(promptable, image, tmp_path):
    assert main(command(promptable, image, tmp_path / "out")) == 0  # what a promptable network does unasked
    records = json.loads((tmp_path / "out" / "everything" / "photo.json").read_text())
    assert len(records) == 27
    for record in records:
        assert decode_masks([record["segmentation"]], (60, 90)).sum() == record["area"]
    drawn = read_image(tmp_path / "out" / "overlay" / "photo.jpg")
    assert drawn.shape == (60, 90, 3)


def test_settings_from_the_command_line_and_pictures(promptable, image, tmp_path):
    words = ["--tasks", "everything", "--png", "--overrides", "SAM.AMG.POINTS_PER_SIDE", "2"]
    assert main(command(promptable, image, tmp_path / "out", *words)) == 0
    folder = tmp_path / "out" / "everything" / "photo"
    assert len((folder / "metadata.csv").read_text().splitlines()) == 1 + 12
    assert len(list(folder.glob("*.png"))) == 12


def test_foreground_and_everything_together(dlo, image, tmp_path):
    predictor = load_predictor(str(dlo))
    assert predictor.result_tasks() == ("foreground",)
    both = predictor([read_image(image)] * 2, ("everything", "foreground"))
    assert all(len(p.everything) == 27 and p.foreground.mask.shape == (60, 90) for p in both)
    alone = predictor.everything(image)
    assert [r["segmentation"] for r in alone] == [r["segmentation"] for r in both[0].everything]
    assert predictor([read_image(image)])[0].everything is None


def test_the_network_answers_it_as_any_other_task(dlo, image):
    predictor = load_predictor(str(dlo))
    pixels = read_image(image)
    with predictor.running():
        batch = predictor.batch([pixels], originals=True)
        (found,) = predictor.model.predict(batch, Request(tasks=("everything", "foreground")))
        (alone,) = predictor.model.predict(batch, Request(tasks=("everything",)))
    assert batch.samples[0].original is pixels and batch.images.shape[-2:] != pixels.shape[:2]
    assert found.foreground.mask.shape == (60, 90) and alone.foreground is None
    assert len(found.everything) == 27 and alone.everything == found.everything
    assert all(record["segmentation"]["size"] == [60, 90] for record in found.everything)


def test_every_frame_of_a_video(promptable, tmp_path):
    write_video(tmp_path / "clip.mp4", [np.full((48, 64, 3), 40 * i, np.uint8) for i in range(3)], 10)
    assert main(command(promptable, tmp_path / "clip.mp4", tmp_path / "out", "--batch", "2")) == 0
    names = sorted(path.name for path in (tmp_path / "out" / "everything" / "clip").iterdir())
    assert names == ["000001.json", "000002.json", "000003.json"]
    assert len(list(read_video(tmp_path / "out" / "overlay" / "clip.mp4"))) == 3


def test_nothing_found(promptable, image, tmp_path, capsys):
    assert main(command(promptable, image, tmp_path / "out", "--overrides", "SAM.AMG.PRED_IOU_THRESH", "1000")) == 0
    assert json.loads((tmp_path / "out" / "everything" / "photo.json").read_text()) == []
    note = "no mask in 1 of 1 images: none passed its filters; lower SAM.AMG.PRED_IOU_THRESH or SAM.AMG.STABILITY"
    assert note in capsys.readouterr().err
    pixels = read_image(image)
    assert np.array_equal(overlay(pixels, Prediction(everything=[]), []), pixels)


def test_options_that_do_not_fit(dlo, promptable, image, tmp_path, capsys):
    assert main(command(dlo, image, tmp_path / "out", "--png")) == 2
    assert "--tasks everything" in capsys.readouterr().err
    assert main(command(promptable, image, tmp_path / "out", "--png", "--point", "3,3")) == 2
    assert "--png has no meaning with prompts" in capsys.readouterr().err
    assert main(command(promptable, image, tmp_path / "out", "--tasks", "panoptic")) == 2
    assert "gives no panoptic result; it offers everything" in capsys.readouterr().err
    with pytest.raises(UserError, match="foreground"):
        load_predictor(str(promptable))([read_image(image)], ("foreground",))


def test_memory_of_an_image_counts(promptable):
    cfg = load_predictor(str(promptable)).cfg
    one, two = (result_memory(cfg, (1000, 1000), ("everything",), n) for n in (1, 2))
    assert two - one == 20_000_000
