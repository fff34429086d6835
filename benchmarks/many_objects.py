"""Seconds and memory of ``prepare``, ``validate`` and conversions as the number of objects in an image grows.

    python benchmarks/many_objects.py --objects 300 3000 30000

Two images of 800 x 600 pixels with that many squares of 2 x 2 pixels each, and one of 2000 x 2000 with 500 polygons.
Figures are medians over fresh processes, one thread, one worker: seconds are CPU time with imports, memory is the
peak of the resident set. ``--checkout`` measures another version of this repository.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT, STEP = 800, 600, 4
IMAGES = 2
LARGE, POLYGONS, SIDE = 2000, 500, 40
COLORS = {
    "ignore_color": [0, 0, 0],
    "categories": [
        {"name": "wall", "color": [120, 120, 120], "isthing": False},
        {"name": "cup", "color": [220, 20, 60], "isthing": True},
    ],
}


def write_masks(folder: Path, objects: int) -> None:
    """Writes images, colour masks with ``objects`` squares each, and the table of colours."""
    import numpy as np
    from PIL import Image

    mask = np.full((HEIGHT, WIDTH, 3), COLORS["categories"][0]["color"], np.uint8)
    corners = [(y, x) for y in range(0, HEIGHT, STEP) for x in range(0, WIDTH, STEP)]
    if objects > len(corners):
        raise SystemExit(f"{objects} objects do not fit: at most {len(corners)}")
    for y, x in corners[:objects]:
        mask[y : y + 2, x : x + 2] = COLORS["categories"][1]["color"]
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(IMAGES):
        noise = np.random.default_rng(number).integers(0, 255, mask.shape, dtype=np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"{number}.jpg")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    (folder / "colors.json").write_text(json.dumps(COLORS))


def write_polygons(path: Path) -> None:
    """Writes an instance JSON of one large image with many squares."""
    places = [(x, y) for y in range(0, LARGE, 2 * SIDE) for x in range(0, LARGE, 2 * SIDE)][:POLYGONS]
    annotations = [
        {"id": i, "image_id": 1, "category_id": 1, "iscrowd": 0}
        | {"segmentation": [[x, y, x + SIDE, y, x + SIDE, y + SIDE, x, y + SIDE]]}
        for i, (x, y) in enumerate(places, 1)
    ]
    image = {"id": 1, "file_name": "a.jpg", "height": LARGE, "width": LARGE}
    categories = [{"id": 1, "name": "cell", "isthing": 1, "color": [220, 20, 60]}]
    path.write_text(json.dumps({"images": [image], "annotations": annotations, "categories": categories}))


def measure(checkout: Path, words: list[str]) -> tuple[float, float]:
    """Runs a command line once; returns CPU seconds and the peak of the resident set in MB."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            [sys.executable, "entry.py", *words], cwd=checkout, env=environment, stdout=output, stderr=output
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            output.seek(0)
            raise SystemExit(f"{' '.join(words)} failed:\n{output.read().decode()}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def jobs_of(folder: Path) -> dict[str, list[str]]:
    """Returns the command lines by name, each reading what those before it wrote."""
    train = folder / "set" / "train"
    masks = ["--images", str(folder / "images"), "--masks", str(folder / "masks")]
    jobs = {
        "prepare": [*masks, "--colors", str(folder / "colors.json"), "--output", str(folder / "set")],
        "panoptic2detection": ["--input", f"{train}/panoptic.json", "--output", str(folder / "detection.json")],
        "detection2panoptic": ["--input", str(folder / "detection.json"), "--output", str(folder / "back.json")],
    }
    common = ["--workers", "1", "--force"]
    lines = {name: ["prepare", "--convert", name, *words, *common] for name, words in jobs.items()}
    lines["prepare"] = ["prepare", *jobs["prepare"], *common]
    return lines | {"validate": ["validate", str(folder / "set" / "set.yaml"), "--workers", "1"]}


def main() -> None:
    """Writes the inputs, runs every command line, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=[300, 3000, 30000], help="objects in an image")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--checkout", type=Path, default=_ROOT, help="the version that is measured")
    args = parser.parse_args()
    print(f"{'command':<24}{'objects':>8}{'CPU s':>9}{'peak MB':>9}")
    with tempfile.TemporaryDirectory() as temporary:
        runs: list[tuple[str, int, list[str]]] = []
        for objects in args.objects:
            folder = Path(temporary) / str(objects)
            write_masks(folder, objects)
            runs += [(name, objects, words) for name, words in jobs_of(folder).items()]
        large = Path(temporary) / "large.json"
        write_polygons(large)
        words = ["--convert", "detection2panoptic", "--input", str(large), "--output", f"{temporary}/large_out.json"]
        runs.append(("2000 x 2000 polygons", POLYGONS, ["prepare", *words, "--workers", "1", "--force"]))
        for name, objects, words in runs:
            figures = [measure(args.checkout, words) for _ in range(args.repeats)]
            seconds, memory = (statistics.median(column) for column in zip(*figures, strict=True))
            print(f"{name:<24}{objects:>8}{seconds:>9.2f}{memory:>9.0f}", flush=True)


if __name__ == "__main__":
    main()
