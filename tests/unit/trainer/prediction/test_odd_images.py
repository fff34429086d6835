"""predict, sessions and memory with images that are tiny, huge, or not plain 8-bit RGB."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from segfoundry.datasets.formats.panoptic import read_panoptic_png
from segfoundry.modeling.build_model import build_model
from segfoundry.modeling.seem.config import tiny
from segfoundry.trainer.cli.main import main
from segfoundry.trainer.prediction.result_memory import check_result_memory, largest_batch, result_memory
from segfoundry.trainer.run_folder.checkpoints import write_weights
from segfoundry.utils.config.dump import dump
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.errors import UserError
from segfoundry.utils.image_io import decode_image, read_image, to_rgb, write_png
from segfoundry.utils.structures.category import Category

from ....support.pointer import picture

CATEGORIES = [Category(1, "sky", False, (70, 130, 180)), Category(2, "cup", True, (220, 20, 60))]
HUGE = 10_000


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    low = {"MODEL.DECODER.TEST.OBJECT_MASK_THRESHOLD": 0.0, "MODEL.DECODER.TEST.OVERLAP_THRESHOLD": 0.0}
    resolved = load_mapping({**tiny(), **low, "DEVICE": "cpu", "MODEL.ENCODER.NUM_CLASSES": len(CATEGORIES)})
    about = {"config": dump(resolved), "categories": [vars(c) for c in CATEGORIES]}
    write_weights(path, build_model(resolved.cfg, CATEGORIES).state_dict(), about)
    return path


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    path = tmp_path_factory.mktemp("huge") / "huge.png"
    Image.new("1", (HUGE, HUGE)).save(path)
    return path


def cfg(**keys):
    return load_mapping({**tiny(), **{name.replace("__", "."): value for name, value in keys.items()}}).cfg


def odd_images(folder):
    """Writes images of every kind; returns file name -> (height, width) as displayed."""
    image = Image.fromarray(picture())
    image.convert("L").save(folder / "grey.png")
    image.convert("RGBA").save(folder / "alpha.png")
    image.convert("P").save(folder / "palette.png")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.convert("1").save(folder / "one_bit.png")
    write_png(folder / "deep.png", picture()[..., 0].astype(np.uint16) * 257)
    turned = Image.Exif()
    turned[0x0112] = 6
    image.save(folder / "turned.jpg", exif=turned)
    Image.new("RGB", (1, 1)).save(folder / "pixel.png")
    Image.new("RGB", (300, 1)).save(folder / "line.png")
    sizes = dict.fromkeys(["grey.png", "alpha.png", "palette.png", "cmyk.jpg", "one_bit.png", "deep.png"], (48, 64))
    return {**sizes, "turned.jpg": (64, 48), "pixel.png": (1, 1), "line.png": (1, 300)}


def test_every_kind_of_image_is_predicted_at_its_own_size(weights, tmp_path):
    (tmp_path / "in").mkdir()
    sizes = odd_images(tmp_path / "in")
    words = ["predict", "--weights", str(weights), "--input", str(tmp_path / "in"), "--output"]
    assert main([*words, str(tmp_path / "out")]) == 0
    for name, size in sizes.items():
        stem = name.split(".")[0]
        assert read_panoptic_png(tmp_path / "out" / "panoptic" / f"{stem}.png").shape == size
        assert read_image(tmp_path / "out" / "overlay" / f"{stem}.jpg").shape[:2] == size
    assert main([*words, str(tmp_path / "cups"), "--point", "0,0", "--text", "cup"]) == 0
    found = json.loads((tmp_path / "cups" / "prompted.json").read_text())
    assert {i["file_name"]: (i["height"], i["width"]) for i in found["images"]} == sizes
    assert len(found["annotations"]) == 2 * len(sizes)


def test_files_bytes_and_pillow_images_give_the_same_pixels(tmp_path):
    for name, size in odd_images(tmp_path).items():
        expected = read_image(tmp_path / name)
        assert expected.shape == (*size, 3) and expected.dtype == np.uint8
        np.testing.assert_array_equal(decode_image((tmp_path / name).read_bytes(), name), expected)
        opened = to_rgb(Image.open(tmp_path / name)).astype(int)
        assert np.abs(opened - expected).max() <= 2, name  # two JPEG decoders


def test_a_huge_image_is_refused_by_the_name_of_the_key(weights, huge, tmp_path, capsys):
    words = ["predict", "--weights", str(weights), "--input", str(huge), "--output", str(tmp_path / "out")]
    assert main([*words, "--overrides", "INPUT.MAX_PIXELS", "99_999_999"]) == 2
    assert "INPUT.MAX_PIXELS" in capsys.readouterr().err
    assert main([*words, "--tasks", "instance", "--force"]) == 2
    error = capsys.readouterr().err
    assert "20.6 GB" in error and "TEST.MAX_RESULT_GB" in error and "TEST.DETECTIONS_PER_IMAGE" in error
    assert not (tmp_path / "out" / "overlay").exists()


def test_the_depth_of_images_reaches_predictions(weights, tmp_path, capsys):
    write_png(tmp_path / "deep.png", np.full((40, 50), 1000, np.uint16))
    words = ["predict", "--weights", str(weights), "--input", str(tmp_path / "deep.png"), "--output"]
    for prompts in ([], ["--point", "0,0"]):
        assert main([*words, str(tmp_path / "out"), "--force", *prompts, "--overrides", "INPUT.BIT_DEPTH", "8"]) == 2
        assert "holds the value 1000, INPUT.BIT_DEPTH 8 allows 0..255" in capsys.readouterr().err


def test_pages_that_are_not_read_are_said(weights, tmp_path, capsys):
    first = Image.fromarray(picture())
    first.save(tmp_path / "stack.tif", save_all=True, append_images=[first, first])
    for number, prompts in enumerate(([], ["--point", "0,0"])):
        words = ["predict", "--weights", str(weights), "--input", str(tmp_path / "stack.tif"), *prompts]
        assert main([*words, "--output", str(tmp_path / f"out{number}")]) == 0
        assert "stack.tif has 3 pages or frames; only the first is read" in capsys.readouterr().err


MEASURE = """
import sys
import numpy as np
import segfoundry
from segfoundry.trainer.prediction.result_memory import result_memory

def peak():
    # Not resource.getrusage: its peak starts with the memory of the process that started this one.
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

predictor = segfoundry.Predictor.from_checkpoint(sys.argv[1])
size, tasks = (int(sys.argv[3]),) * 2, ("semantic", "panoptic")
small = np.zeros((32, 32, 3), np.uint8)
predictor([small], tasks), predictor.interactive(small).click(1, 1)
image = np.zeros((*size, 3), np.uint8)
image[::7] = 200
before = peak()
if sys.argv[2] == "everything":
    assert predictor([image], tasks)[0].panoptic.ids.shape == size
    allowed = result_memory(predictor.cfg, size, tasks)
else:
    session = predictor.interactive(image)
    for _ in range(3):
        session.click(size[1] - 1, size[0] - 1)
        session.new_object()
    assert session.masks.shape == (3, *size)
    allowed = 12 * size[0] * size[1]
print(peak() - before, allowed)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of the process from /proc")
@pytest.mark.parametrize(("what", "side"), [("everything", 5000), ("session", HUGE)])
def test_memory_stays_below_what_is_promised(weights, what, side):
    command = [sys.executable, "-c", MEASURE, str(weights), what, str(side)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    used, allowed = map(int, done.stdout.split()[-2:])
    assert side * side < used < allowed


def test_the_memory_limit_lowers_the_batch_before_it_refuses():
    keys = cfg(TEST__MAX_RESULT_GB=1.0)
    tasks = ("semantic",)
    assert largest_batch(keys, (1000, 1000), tasks, 8) == 8
    batch = largest_batch(keys, (3000, 3000), tasks, 8)
    assert 1 <= batch < 8
    check_result_memory(keys, (3000, 3000), tasks, batch)
    with pytest.raises(UserError, match="TEST.MAX_RESULT_GB"):
        check_result_memory(keys, (3000, 3000), tasks, batch + 1)
    assert largest_batch(keys, (9000, 9000), tasks, 8) == 1
    with pytest.raises(UserError, match="an image of 9000 x 9000 pixels"):
        check_result_memory(keys, (9000, 9000), tasks)
    assert largest_batch(keys, (9000, 9000), (), 8) == 8
    one, two = (result_memory(keys, (1000, 1000), ("instance",), n) for n in (1, 2))
    assert two - one == 2 * keys.TEST.DETECTIONS_PER_IMAGE * 1_000_000


def test_a_photo_of_a_telephone_is_not_refused():
    everything = ("semantic", "panoptic", "instance")
    check_result_memory(cfg(TEST__DETECTIONS_PER_IMAGE=100), (4000, 6000), everything)
