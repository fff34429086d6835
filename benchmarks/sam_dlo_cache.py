"""Speed of fine-tuning SAM's mask decoder for cables: with embeddings from the cache against computing them.

    python benchmarks/sam_dlo_cache.py --type vit_b --image-size 1024

Random weights; a step is forward, losses at 720 x 1280, backward and Adam. The cached side's images were encoded
before.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from sides import import_product, measure, serve, table

CACHED, PLAIN = "cached", "computed"
TARGET = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", default="vit_b", choices=("vit_b", "vit_l", "vit_h", "vit_t"))
    parser.add_argument("--image-size", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", choices=(CACHED, PLAIN), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        with tempfile.TemporaryDirectory() as folder:
            serve(lambda: prepare(args, Path(folder)), args.threads)
        return
    commands = {side: [sys.executable, __file__, *sys.argv[1:], "--side", side] for side in (CACHED, PLAIN)}
    figures = measure(commands, args.repeats, args.threads)
    print(f"{args.type} at {args.image_size}, {args.batch} images per step, {args.threads} threads\n")
    print(table(figures, PLAIN))
    ratio = figures[PLAIN]["cpu_s"] / figures[CACHED]["cpu_s"]
    print(f"\n{ratio:.1f} times as fast (CPU time); target {TARGET:g}: {'met' if ratio >= TARGET else 'NOT met'}")


def prepare(args: argparse.Namespace, folder: Path) -> Callable[[int], object]:
    """Returns one training step of a side; the images of the two steps that take turns are encoded already."""
    import_product()
    import numpy as np
    import torch

    from segfoundry.datasets.stream.collate import collate
    from segfoundry.modeling.finetune import apply_policy
    from segfoundry.modeling.sam.model import SamSegmenter, feature_cache
    from segfoundry.modeling.sam.network.build_sam import build_sam
    from segfoundry.modeling.sam.training_tasks.dlo import DloTask
    from segfoundry.modeling.sam.training_tasks.loss_settings import LossSettings
    from segfoundry.modeling.sam.tuning import TuningSettings
    from segfoundry.utils.draws import Draws
    from segfoundry.utils.structures.samples import Sample, Targets

    sam, task = build_sam(args.type, args.image_size), DloTask(LossSettings())
    cache = None
    if args.side == CACHED:
        cache = feature_cache(sam, folder, 10**9)
    tuning = TuningSettings(ways={"mask_decoder": "full"}, unreached=task.unreached)
    model = SamSegmenter(sam, task, tuning=tuning, cache=cache)
    apply_policy(model, model.train_policy())
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    rng = np.random.default_rng(0)

    def sample(index: int) -> Sample:
        rows = args.image_size * 9 // 16
        image = rng.integers(0, 256, (rows, args.image_size, 3), dtype=np.uint8)
        foreground = np.zeros((1, 720, 1280), bool)
        foreground[:, 300:320] = True
        targets = Targets(np.zeros((0, rows, args.image_size), bool), np.zeros(0, np.int64), foreground=foreground)
        return Sample(image, index, index, f"{index}.png", (720, 1280), targets=targets)

    batches = [collate([sample(args.batch * step + i) for i in range(args.batch)]) for step in range(2)]
    if cache is not None:
        for batch in batches:
            model.eval().encode(batch)

    def step(number: int) -> None:
        losses = model.train()(batches[number % len(batches)], rng=Draws(0, number))
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main()
