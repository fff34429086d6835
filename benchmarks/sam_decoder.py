"""Speed of SAM's prompt encoder and mask decoder: many single-point prompts about one image, ours against the original.

    pip install --no-deps --target PEER segment-anything==1.0
    python benchmarks/sam_decoder.py --peer PEER

Random weights and a random image embedding; ``predict_torch`` with three masks per prompt, at the image's own size.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sides import import_product, measure, serve, table

OURS, ORIGINAL = "segfoundry", "segment-anything"
TARGET = 1.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="folder with the package segment_anything; default: importable")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--image", type=int, nargs=2, default=(720, 1280), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", choices=(OURS, ORIGINAL), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        serve(lambda: prepare(args), args.threads)
        return
    commands = {side: [sys.executable, __file__, *sys.argv[1:], "--side", side] for side in (OURS, ORIGINAL)}
    figures = measure(commands, args.repeats, args.threads)
    print(f"vit_b decoder, {args.prompts} points, masks of {args.image[0]} x {args.image[1]}, {args.threads} threads\n")
    print(table(figures, ORIGINAL))
    ratio = figures[ORIGINAL]["cpu_s"] / figures[OURS]["cpu_s"]
    print(f"\n{ratio:.2f} times as fast (CPU time); target {TARGET}: {'met' if ratio >= TARGET else 'NOT met'}")


def prepare(args: argparse.Namespace) -> Callable[[int], object]:
    """Returns one step of a side: all prompts answered once."""
    import torch

    predictor = ours() if args.side == OURS else original(args.peer)
    rows, columns = args.image
    scale = 1024 / max(rows, columns)
    predictor.features = torch.randn(1, 256, 64, 64)
    predictor.original_size = (rows, columns)
    predictor.input_size = (int(rows * scale + 0.5), int(columns * scale + 0.5))
    predictor.is_image_set = True
    points = torch.rand(args.prompts, 1, 2) * torch.tensor(predictor.input_size[::-1])
    labels = torch.ones(args.prompts, 1, dtype=torch.int)
    return lambda _: predictor.predict_torch(points, labels)


def ours() -> Any:
    """Builds this product's predictor."""
    import_product()
    from segfoundry.modeling.sam import SamPredictor, sam_model_registry

    return SamPredictor(without_encoder(sam_model_registry["vit_b"]()))


def original(folder: Path | None) -> Any:
    """Builds the original's predictor."""
    if folder is not None:
        sys.path.insert(0, str(folder))
    from segment_anything import SamPredictor, sam_model_registry

    return SamPredictor(without_encoder(sam_model_registry["vit_b"]()))


def without_encoder(model: Any) -> Any:
    """Frees the blocks of the image encoder, which take no part."""
    model.image_encoder.blocks = None
    return model


if __name__ == "__main__":
    main()
