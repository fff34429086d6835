"""The embedded cable data set: drawn cables on real photographs, made from a seed, in the layout of DLO fine-tuning.

It needs no download, and a small Segment Anything network learns it in minutes. Test images show photographs that no
training image shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from ...utils.errors import UserError
from ...utils.files import atomic_write_json, atomic_write_text
from ...utils.image_io import encode_png
from ..prepare.image_splits import check_aliases
from ..prepare.parallel import run_parallel
from ..prepare.prepare_dataset import PrepareOptions, PrepareSummary
from ..prepare.staging import MANIFEST, check_output, count_files, made_by_prepare, staged
from ..records.record import write_record
from .cable_drawing import draw_cable, random_cable
from .photographs import photograph_path, random_crop
from .shapes import Array

TRAIN_IMAGES, TEST_IMAGES, BACKGROUNDS = 240, 40, 60
HEIGHT, WIDTH = 144, 256
MOST_CABLES = 3
DATA_FILE = "data.yaml"
TRAIN_PHOTOGRAPHS = (
    *("astronaut.png", "brick.png", "rocket.jpg", "grass.png"),
    *("hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png", "moon.png"),
)
TEST_PHOTOGRAPHS = ("chelsea.png", "coffee.png", "gravel.png", "retina.jpg")

_PARTS = ("train", "test", "backgrounds")  # their places key the random numbers
_CATEGORY = {"id": 1, "name": "cable", "isthing": False, "color": [255, 150, 0]}


@dataclass(frozen=True)
class CablePicture:
    """One picture: ``image`` (H, W, 3) uint8 RGB, ``mask`` (H, W) bool and the number of ``cables`` in it."""

    image: Array
    mask: Array
    cables: int


def draw_cables(seed: int, number: int, part: str = "train", size: tuple[int, int] = (HEIGHT, WIDTH)) -> CablePicture:
    """Draws picture ``number`` of a part's endless list that belongs to ``seed``.

    Args:
        seed: 0 or more.
        number: 0 or more.
        part: "train", "test", or "backgrounds" (training photographs without cables).
        size: height and width in pixels.

    Returns:
        The picture; a pixel is foreground when cables cover more than half of it.
    """
    rng = np.random.Generator(np.random.Philox(key=(_PARTS.index(part) << 64) + (seed << 32) + number))
    photographs = TEST_PHOTOGRAPHS if part == "test" else TRAIN_PHOTOGRAPHS
    image = random_crop(photographs, rng, *size)
    count = 0 if part == "backgrounds" else int(rng.integers(1, MOST_CABLES + 1))
    angle, tilt = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 0.75)
    light = np.array([np.cos(angle) * tilt, np.sin(angle) * tilt, np.sqrt(1 - tilt**2)])
    bare = np.ones(size, np.float32)  # share of each pixel that no cable covers
    for _ in range(count):
        bare *= 1 - draw_cable(image, random_cable(rng, *size), light)
    image += rng.normal(0, 2.5, image.shape)
    return CablePicture(image.clip(0, 255).astype(np.uint8), bare < 0.5, count)


def prepare_cables(
    output: Path,
    options: PrepareOptions,
    train: int = TRAIN_IMAGES,
    test: int = TEST_IMAGES,
    backgrounds: int = BACKGROUNDS,
) -> PrepareSummary:
    """Draws the data set.

    It consists of ``train/`` and ``test/`` with ``imgs/`` and ``masks/`` (255 = cable), ``backgrounds/``,
    :data:`DATA_FILE` in the form of the fine-tuning files (``dataset: train: [...] test: {...}``) and the record
    ``<name>.yaml``.

    Args:
        output: new folder.
        options: ``seed``, ``force``, ``workers``, ``name`` (default "cables") and ``aliases`` count.
        train: training images.
        test: held-back images.
        backgrounds: photographs without cables.

    Raises:
        UserError: the folder holds other files, or scikit-image is not installed.
    """
    output = output.absolute()
    if options.seed < 0:
        raise UserError(f"--seed {options.seed}: expected 0 or more")
    check_aliases(options.aliases, ("train", "val"))
    check_output(output, force=options.force, inputs=[], replaceable=made_by_prepare)
    for photograph in (*TRAIN_PHOTOGRAPHS, *TEST_PHOTOGRAPHS):
        photograph_path(photograph)
    name = options.name or "cables"
    counts = dict(zip(_PARTS, (train, test, backgrounds), strict=True))
    with staged(output) as (folder,):
        drawn = _write_pictures(folder, counts, options)
        atomic_write_text(folder / DATA_FILE, _data_file(name))
        write_record(folder / f"{name}.yaml", _record(name, options))
        files = count_files(folder) + 1
        atomic_write_json(
            folder / MANIFEST, {"embedded": "cables", "seed": options.seed, "images": counts, "files": files}
        )
    return PrepareSummary(output / f"{name}.yaml", {"train": train, "val": test}, {"cable": drawn}, 0, [])


def _write_pictures(folder: Path, counts: dict[str, int], options: PrepareOptions) -> int:
    """Writes all pictures; returns the number of cables."""
    for name in ("train/imgs", "train/masks", "test/imgs", "test/masks", "backgrounds"):
        (folder / name).mkdir(parents=True)
    tasks = [(folder, options.seed, number, part) for part, count in counts.items() for number in range(count)]
    return sum(run_parallel(_write_picture, tasks, workers=options.workers, label="draw cables"))


def _write_picture(task: tuple[Path, int, int, str]) -> int:
    folder, seed, number, part = task
    picture = draw_cables(seed, number, part)
    _, jpeg = cv2.imencode(".jpg", picture.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    if part == "backgrounds":
        (folder / part / f"background_{number:04d}.jpg").write_bytes(jpeg.tobytes())
    else:
        (folder / part / "imgs" / f"cable_{number:04d}.jpg").write_bytes(jpeg.tobytes())
        mask = encode_png(picture.mask.astype(np.uint8) * 255)
        (folder / part / "masks" / f"cable_{number:04d}.png").write_bytes(mask)
    return picture.cables


def _data_file(name: str) -> str:
    """Returns the text of the fine-tuning file: the images as they are, and the same cables on other photographs."""
    plain: dict[str, Any] = {"data_dir": "train", "bg_paths": None, "w_aug": True, "aug_details": [], "percentage": 1.0}
    composited = plain | {"bg_paths": ["backgrounds"], "aug_details": ["crop_foreground"], "percentage": 0.5}
    test = {"data_dir": "test", "bg_paths": None, "w_aug": False}
    text = yaml.safe_dump({"dataset": {"train": [plain, composited], "test": test}}, sort_keys=False)
    return f"# Data of {name} for fine-tuning; the record {name}.yaml names the same images.\n{text}"


def _record(name: str, options: PrepareOptions) -> dict[str, Any]:
    record: dict[str, Any] = {"name": name, "root": "."}
    if options.aliases:
        record["aliases"] = options.aliases
    record["categories"] = [_CATEGORY]
    splits = {"train": "train", "val": "test"}
    record["splits"] = {key: {"images": f"{part}/imgs", "foreground": f"{part}/masks"} for key, part in splits.items()}
    return record
