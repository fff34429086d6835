"""Small data sets on disk for tests: raw colour masks, and finished panoptic sets."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = Path(os.environ.get("SEGFOUNDRY_DATA", ROOT.parent / "shared" / "data")) / "panoptic_sample"

TABLE = """\
ignore_color: "#000000"
categories:
  - {name: wall, color: "#787878", isthing: false}
  - {name: floor, color: [80, 50, 50], isthing: false}
  - {name: cup, color: [220, 20, 60], isthing: true}
"""
WALL, FLOOR, CUP, VOID = (120, 120, 120), (80, 50, 50), (220, 20, 60), (0, 0, 0)


def color_mask(height=40, width=60):
    """Wall above, floor below, two cups (one across the border), a void strip on the right."""
    mask = np.zeros((height, width, 3), np.uint8)
    mask[:] = WALL
    mask[height // 2 :] = FLOOR
    mask[5:15, 5:15] = CUP
    mask[15:30, 30:40] = CUP
    mask[:, -3:] = VOID
    return mask


def photo(number, height=40, width=60):
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_raw(folder, names=("a", "b", "c", "d", "e")):
    """Writes images/, masks/ and colors.yaml; returns the folder."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        for kind in ("images", "masks"):
            (folder / kind / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(number)).save(folder / "images" / f"{name}.jpg", quality=95)
        Image.fromarray(color_mask()).save(folder / "masks" / f"{name}.png")
    (folder / "colors.yaml").write_text(TABLE)
    return folder


def prepare(folder, output=None, sentences=None, workers=0, **options):
    """Runs prepare on a folder of :func:`write_raw`; returns the summary."""
    from segfoundry.datasets.formats.color_table import read_color_table
    from segfoundry.datasets.formats.grounding import read_sentences
    from segfoundry.datasets.prepare.prepare_dataset import PrepareOptions, prepare_color_masks

    table = read_color_table(folder / "colors.yaml")
    own = None if sentences is None else read_sentences(sentences, table.categories)
    settings = PrepareOptions(workers=workers, **options)
    return prepare_color_masks(
        folder / "images", folder / "masks", table, output or folder / "out", settings, own, [folder / "colors.yaml"]
    )
