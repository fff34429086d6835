"""Images per second and core of the training pipeline, against decoding and resizing alone.

    python benchmarks/data_pipeline.py --images 64 --size 1024

``pipeline`` is everything that a loader process does: read image and panoptic PNG, jitter, masks, collation in batches
of four. ``decode + resize`` decodes the same files with OpenCV and resizes both to the very window that the pipeline
draws (Pillow bilinear for the image, OpenCV nearest for the ids), and nothing else. One thread; CPU time; the two take
turns, the ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
sys.path[:] = [p for p in sys.path if Path(p or os.curdir).resolve() not in (_ROOT, _ROOT / "benchmarks")]
sys.path.insert(0, str(_ROOT / "src"))

HEIGHT, WIDTH, SEGMENTS, CLASSES, BATCH = 480, 640, 12, 133, 4


def make_items(folder: Path, count: int) -> list[Any]:
    """Writes photograph-like JPEGs and panoptic PNGs of ellipses over two halves."""
    import cv2
    import numpy as np

    from segfoundry.datasets.formats.panoptic import write_panoptic_png
    from segfoundry.datasets.records.image_item import ImageItem
    from segfoundry.utils.structures.results import Segment

    rng = np.random.default_rng(0)
    items = []
    for number in range(count):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.int16)
        image += rng.normal(0, 12, image.shape).astype(np.int16)
        path = folder / f"{number}.jpg"
        cv2.imwrite(str(path), np.clip(image, 0, 255).astype(np.uint8))
        ids = np.full((HEIGHT, WIDTH), 1, np.int32)
        ids[HEIGHT // 2 :] = 70000
        for segment in range(2, SEGMENTS):
            center, axes = rng.uniform(0, (WIDTH, HEIGHT)).astype(int), rng.uniform(20, 120, 2).astype(int)
            cv2.ellipse(ids, center.tolist(), axes.tolist(), rng.uniform(0, 180), 0, 360, segment * 70001, -1)
        png = folder / f"{number}.png"
        write_panoptic_png(png, ids)
        segments = [Segment(int(i), int(i) % CLASSES, True) for i in np.unique(ids)]
        items.append(ImageItem(number, path, HEIGHT, WIDTH, png, segments))
    return items


def pipeline(items: list[Any], size: int) -> Callable[[], int]:
    """Returns a function that makes one epoch of batches."""
    from segfoundry.datasets.mappers.panoptic import PanopticTrainMapper
    from segfoundry.datasets.stream.collate import collate
    from segfoundry.datasets.stream.train_stream import TrainStream
    from segfoundry.datasets.transforms.jitter import LargeScaleJitter

    stream = TrainStream(items, PanopticTrainMapper(LargeScaleJitter(size), CLASSES), seed=0, shuffle=False)

    def run() -> int:
        for start in range(0, len(items), BATCH):
            collate([stream[i] for i in range(start, min(start + BATCH, len(items)))])
        return len(items)

    return run


def decode_and_resize(items: list[Any], size: int) -> Callable[[], int]:
    """Returns a function that decodes and resizes every file once."""
    import cv2
    import numpy as np
    from PIL import Image

    from segfoundry.datasets.stream.samplers import augmentation_rng
    from segfoundry.datasets.transforms.jitter import LargeScaleJitter

    jitter = LargeScaleJitter(size)
    windows = [jitter.draw(HEIGHT, WIDTH, augmentation_rng(0, i)) for i in range(len(items))]

    def run() -> int:
        for item, geometry in zip(items, windows, strict=True):
            image = cv2.imread(str(item.image), cv2.IMREAD_COLOR_RGB)
            label = cv2.imread(str(item.panoptic), cv2.IMREAD_COLOR_RGB)
            (rows, columns), scale = geometry.window, WIDTH / geometry.resized[1]
            left, top = geometry.left * scale, geometry.top * scale
            box = (left, top, min(left + columns * scale, WIDTH), min(top + rows * scale, HEIGHT))
            np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR, box=box))
            x0, y0, x1, y1 = map(int, box)
            cv2.resize(
                label[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)], (columns, rows), interpolation=cv2.INTER_NEAREST
            )
        return len(items)

    return run


def rate(run: Callable[[], int]) -> float:
    """Returns images per CPU second."""
    start = time.process_time()
    return run() / (time.process_time() - start)


def main() -> None:
    """Prints both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, default=1024, help="COCO.INPUT.IMAGE_SIZE")
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    import cv2
    import torch

    from segfoundry.utils.allocator import keep_freed_memory

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    keep_freed_memory()  # as in the loader processes; both sides profit
    with tempfile.TemporaryDirectory() as folder:
        items = make_items(Path(folder), args.images)
        ours, bare = pipeline(items, args.size), decode_and_resize(items, args.size)
        ours(), bare()  # fill the file cache
        rounds = [(rate(ours), rate(bare)) for _ in range(args.repeat)]
    print(f"{args.images} images {WIDTH} x {HEIGHT}, IMAGE_SIZE {args.size}, median of {args.repeat}")
    for name, column in (("pipeline", 0), ("decode + resize", 1)):
        print(f"{name:<16}{statistics.median(r[column] for r in rounds):8.1f} images/s per core")
    print(f"{'ratio':<16}{statistics.median(a / b for a, b in rounds):8.2f}")


if __name__ == "__main__":
    main()
