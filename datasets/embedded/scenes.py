"""The embedded data set: drawn landscapes with balls, houses, trees and traffic cones, made from a seed.

It needs no download, goes through the same ``prepare`` as a user's data, and a small model learns it in minutes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ...utils.image_io import encode_png
from ..formats.color_table import read_color_table
from ..prepare.parallel import run_parallel
from ..prepare.prepare_dataset import PrepareOptions, PrepareSummary, prepare_color_masks
from ..prepare.staging import check_output, made_by_prepare
from ..records.record import write_record
from .shapes import Array, ellipse, gradient, grid, noise, paint, polygon, rgb
from .things import THINGS

TRAIN_IMAGES, VAL_IMAGES = 300, 40
STUFF_COLORS = {"sky": (70, 130, 180), "grass": (107, 142, 35), "road": (128, 64, 128), "water": (0, 90, 200)}
THING_COLORS = {"ball": (200, 30, 130), "house": (230, 200, 90), "tree": (10, 80, 60), "cone": (250, 120, 10)}
SUN = (0, 0, 0)  # the sun belongs to no category: unlabelled pixels, as real data have them
INSTANCE_STEP, MOST_INSTANCES = 3, 8  # the n-th instance of a thing differs by n * step in its blue value

_SIZES = ((128, 160), (128, 176), (120, 160), (144, 160))
_LEAST_VISIBLE, _LEAST_PIXELS = 0.6, 240


@dataclass(frozen=True)
class Scene:
    """One picture: ``image`` (H, W, 3) uint8 RGB and ``mask`` (H, W, 3) uint8, one exact colour per segment."""

    image: Array
    mask: Array


def color_table() -> dict:
    """Returns the colour table of the masks, in the form :func:`read_color_table` reads."""
    stuff = [{"name": n, "color": list(c), "isthing": False} for n, c in STUFF_COLORS.items()]
    things = []
    for name, (red, green, blue) in THING_COLORS.items():
        top = [red, green, blue + INSTANCE_STEP * (MOST_INSTANCES - 1)]
        entry = {"name": name, "color": [red, green, blue], "isthing": True, "instances": "color"}
        things.append(entry | {"range": [[red, green, blue], top]})
    return {"ignore_color": list(SUN), "categories": stuff + things}


def draw_scene(seed: int, number: int) -> Scene:
    """Draws scene ``number`` of the endless list that belongs to ``seed``."""
    rng = np.random.Generator(np.random.Philox(key=(seed << 32) + number))
    height, width = _SIZES[int(rng.integers(len(_SIZES)))]
    image = np.zeros((height, width, 3), np.float32)
    mask = np.zeros((height, width, 3), np.uint8)
    horizon = height * rng.uniform(0.32, 0.46)
    _draw_sky(image, mask, horizon, rng)
    _draw_ground(image, mask, horizon, rng)
    _draw_things(image, mask, horizon, rng)
    tint = rng.uniform(0.86, 1.1) * rng.uniform(0.96, 1.04, size=3)
    image = image * tint.astype(np.float32) + rng.normal(0, 4, image.shape).astype(np.float32)
    return Scene(image.clip(0, 255).astype(np.uint8), mask)


def write_scenes(folder: Path, count: int, seed: int, workers: int | None = None) -> None:
    """Writes ``count`` scenes the way a user's raw data look: ``images/``, ``masks/`` and ``colors.yaml``."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    tasks = [(folder, seed, number) for number in range(count)]
    for _ in run_parallel(_write_scene, tasks, workers=workers, label="draw scenes"):
        pass
    write_record(folder / "colors.yaml", color_table())


def prepare_scenes(
    output: Path, options: PrepareOptions, train: int = TRAIN_IMAGES, val: int = VAL_IMAGES
) -> PrepareSummary:
    """Draws the embedded data set and runs the ordinary ``prepare`` on it.

    Args:
        output: new folder; the record is ``OUTPUT/<name>.yaml``, name "scenes" unless the options say otherwise.
        options: ``seed``, ``force``, ``workers``, ``name`` and ``aliases`` count; the split follows from the counts.
        train: training images.
        val: held-back images.
    """
    output = output.absolute()
    check_output(output, force=options.force, inputs=[], replaceable=made_by_prepare)
    output.parent.mkdir(parents=True, exist_ok=True)
    options = PrepareOptions(
        name=options.name or "scenes",
        split=train / (train + val),
        seed=options.seed,
        force=options.force,
        workers=options.workers,
        aliases=options.aliases,
    )
    # Beside the output, so that images can be linked instead of copied.
    with tempfile.TemporaryDirectory(prefix=".scenes-", dir=output.parent) as raw:
        folder = Path(raw)
        write_scenes(folder, train + val, options.seed, options.workers)
        table = read_color_table(folder / "colors.yaml")
        return prepare_color_masks(folder / "images", folder / "masks", table, output, options)


def _write_scene(task: tuple[Path, int, int]) -> None:
    folder, seed, number = task
    scene = draw_scene(seed, number)
    name = f"scene_{number:04d}"
    _, jpeg = cv2.imencode(".jpg", scene.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    (folder / "images" / f"{name}.jpg").write_bytes(jpeg.tobytes())
    (folder / "masks" / f"{name}.png").write_bytes(encode_png(scene.mask))


def _draw_sky(image: Array, mask: Array, horizon: float, rng: np.random.Generator) -> None:
    height, width = mask.shape[:2]
    blue = rng.uniform(0.85, 1.05)
    image[:] = gradient(height, (80 * blue, 140 * blue, 215 * blue), (205, 225, 240), 0, horizon)
    clouds = noise(rng, height, width, 5, 2.2) + 0.5 * noise(rng, height, width, 12, 1.8)
    image += np.clip(clouds - rng.uniform(0.1, 0.9), 0, 1.2)[..., None] * (rgb([250, 250, 250]) - image) * 0.8
    mask[:] = STUFF_COLORS["sky"]
    if rng.random() < 0.4:
        x, y = grid(height, width)
        radius = height * rng.uniform(0.05, 0.08)
        shape = ellipse(x, y, rng.uniform(0.1, 0.9) * width, rng.uniform(0.2, 0.5) * horizon, radius, radius)
        image += np.exp(-np.clip(shape, 0, None) / radius)[..., None] * rgb([40, 32, 5])
        paint(image, shape, (255, 240, 150))
        mask[shape < 0] = SUN


def _draw_ground(image: Array, mask: Array, horizon: float, rng: np.random.Generator) -> None:
    height, width = mask.shape[:2]
    x, y = grid(height, width)
    hills = sum(
        a * np.sin(x / width * f * 2 * np.pi + rng.uniform(0, 6.3)) for a, f in ((0.02, 1), (0.01, 2.3), (0.004, 6))
    )
    grass = horizon + hills * height - y
    blades = noise(rng, height, width, height / 2.5, 0.6) * 7 + noise(rng, height, width, 7, 2) * 9
    color = gradient(height, (150, 190, 95), (70, 135, 40), horizon, height) + blades[..., None]
    paint(image, grass, color)
    mask[np.broadcast_to(grass < 0, mask.shape[:2])] = STUFF_COLORS["grass"]
    kinds = rng.choice([1, 2, 3], p=[0.4, 0.35, 0.25])  # 1: water, 2: road, 3: both
    if kinds in (1, 3):
        _draw_water(image, mask, horizon, rng)
    if kinds in (2, 3):
        _draw_road(image, mask, horizon, rng)


def _draw_water(image: Array, mask: Array, horizon: float, rng: np.random.Generator) -> None:
    height, width = mask.shape[:2]
    x, y = grid(height, width)
    top = horizon + height * rng.uniform(0.04, 0.1)
    depth = height * rng.uniform(0.18, 0.3)
    center, half = width * rng.uniform(0.15, 0.85), width * rng.uniform(0.38, 0.65)
    shore = 2 * np.sin(x / 9 + rng.uniform(0, 6)) + 1.5 * np.sin(x / 4.3)
    shape = ellipse(x, y + shore, center, top + depth / 2, half, depth / 2)
    waves = np.sin(y * 1.9 + 2 * noise(rng, height, width, 10, 4)) * 14
    color = gradient(height, (95, 160, 225), (20, 75, 165), top, top + depth) + waves[..., None]
    paint(image, shape - 1.5, (205, 190, 140))  # sand
    paint(image, shape, color)
    mask[shape < 0] = STUFF_COLORS["water"]


def _draw_road(image: Array, mask: Array, horizon: float, rng: np.random.Generator) -> None:
    height, width = mask.shape[:2]
    x, y = grid(height, width)
    top, far, near = horizon + 0.03 * height, width * rng.uniform(0.25, 0.75), width * rng.uniform(0.2, 0.8)
    narrow, wide = width * 0.035, width * rng.uniform(0.2, 0.32)
    corners = [(far - narrow, top), (far + narrow, top), (near + wide, height + 1.0), (near - wide, height + 1.0)]
    shape = polygon(x, y, corners)
    grain = noise(rng, height, width, height / 1.5) * 6
    paint(image, shape - 2, (190, 185, 175))
    paint(image, shape, gradient(height, (135, 132, 138), (88, 86, 92), top, height) + grain[..., None])
    t = np.clip((y - top) / (height - top), 0, 1)
    line = np.abs(x - (far + (near - far) * t)) - 0.06 * (narrow + (wide - narrow) * t)
    dashes = np.where(np.sin(9 * np.sqrt(t) * np.pi) > 0, line, 9)
    paint(image, np.maximum(dashes, shape), (235, 230, 210))
    mask[shape < 0] = STUFF_COLORS["road"]


def _draw_things(image: Array, mask: Array, horizon: float, rng: np.random.Generator) -> None:
    """Places 3 to 6 objects, far ones first; an object that would hide another one too much is placed elsewhere."""
    height, width = mask.shape[:2]
    x, y = grid(height, width)
    names = list(THINGS)
    count = int(rng.integers(3, 7))
    feet = np.sort(rng.uniform(horizon + 0.14 * height, height * 0.98, size=count))
    placed: list[tuple[Array, int]] = []  # visible mask and full area of each object
    used = dict.fromkeys(names, 0)
    for foot in feet:
        name = names[int(rng.integers(len(names)))]
        painter, small, large = THINGS[name]
        near = (foot - horizon) / (height - horizon)
        size = height * (small + (large - small) * near) * rng.uniform(0.9, 1.1)
        for _ in range(12):
            fx = width * rng.uniform(0.08, 0.92)
            trial = image.copy()
            paint(trial, ellipse(x, y, fx + size * 0.1, foot, size * 0.42, size * 0.07), (25, 35, 25), 0.45)
            shape = painter(trial, x, y, float(fx), float(foot), float(size), rng) < 0
            if _fits(shape, placed):
                image[:] = trial
                for number, (visible, area) in enumerate(placed):
                    placed[number] = (visible & ~shape, area)
                placed.append((shape, int(shape.sum())))
                red, green, blue = THING_COLORS[name]
                mask[shape] = (red, green, blue + INSTANCE_STEP * used[name])
                used[name] += 1
                break


def _fits(shape: Array, placed: Sequence[tuple[Array, int]]) -> bool:
    """Says whether every object stays visible enough when ``shape`` is drawn in front."""
    if shape.sum() < _LEAST_PIXELS:
        return False
    rest = ((int((visible & ~shape).sum()), area) for visible, area in placed)
    return all(left >= max(_LEAST_PIXELS, _LEAST_VISIBLE * area) for left, area in rest)
