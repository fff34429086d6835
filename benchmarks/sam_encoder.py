"""Speed and memory of SAM's vit_b image encoder: ours against the original and transformers.

    pip install --no-deps --target PEER segment-anything==1.0
    python benchmarks/sam_encoder.py --peer PEER --size 1024
    python benchmarks/sam_encoder.py --peer PEER --size 512

One image, random weights, evaluation mode without gradients, float32 on a CPU. Each side runs in a process of its own,
and their passes alternate. Memory is the growth of the peak resident set over the loaded model.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sides import import_product, measure, serve, table

OURS, ORIGINAL, TRANSFORMERS = "segfoundry", "segment-anything", "transformers"
TARGET_SPEED, TARGET_MEMORY, TARGET_TRANSFORMERS = 1.3, 0.6, 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="folder with the package segment_anything; default: importable")
    parser.add_argument("--size", type=int, default=1024, help="image side in pixels, a multiple of 16")
    parser.add_argument("--repeats", type=int, default=5, help="measured passes per side, after one warm-up pass")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", choices=(OURS, ORIGINAL, TRANSFORMERS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        serve(lambda: prepare(args), args.threads)
        return
    sides = (OURS, ORIGINAL, TRANSFORMERS)
    commands = {side: [sys.executable, __file__, *sys.argv[1:], "--side", side] for side in sides}
    figures = measure(commands, args.repeats, args.threads)
    print(f"vit_b image encoder, {args.size} px, CPU, {args.threads} threads, median of {args.repeats}\n")
    print(table(figures, ORIGINAL))
    report(figures)


def report(figures: dict[str, dict[str, float]]) -> None:
    """Prints images per second and whether the targets are met (speed by CPU time)."""
    ours, original, transformers = (figures[side] for side in (OURS, ORIGINAL, TRANSFORMERS))
    print("\nimages/s: " + ", ".join(f"{side} {1 / row['wall_s']:.3f}" for side, row in figures.items()))
    found = (
        (f"speed of {ORIGINAL}", original["cpu_s"] / ours["cpu_s"], ">=", TARGET_SPEED),
        (f"speed of {TRANSFORMERS}", transformers["cpu_s"] / ours["cpu_s"], ">=", TARGET_TRANSFORMERS),
        (f"growth of {ORIGINAL}", ours["growth_mib"] / original["growth_mib"], "<=", TARGET_MEMORY),
    )
    for what, ratio, order, target in found:
        met = ratio >= target if order == ">=" else ratio <= target
        print(f"{ratio:.2f} x the {what}; target {order} {target}: {'met' if met else 'NOT met'}")


def prepare(args: argparse.Namespace) -> Callable[[int], object]:
    """Returns one step of a side: one image encoded."""
    import torch

    builders = {OURS: ours, ORIGINAL: functools.partial(original, args.peer), TRANSFORMERS: transformers_encoder}
    encoder = builders[args.side](args.size).eval()
    image = torch.randn(1, 3, args.size, args.size)

    def step(_: int) -> None:
        with torch.no_grad():
            encoder(image)

    return step


def ours(size: int) -> Any:
    """Builds this product's encoder."""
    import_product()
    from segfoundry.modeling.sam.network.build_sam import build_sam

    return build_sam("vit_b", size).image_encoder


def original(folder: Path | None, size: int) -> Any:
    """Builds the original's encoder."""
    if folder is not None:
        sys.path.insert(0, str(folder))
    try:
        from segment_anything.modeling import ImageEncoderViT
    except ImportError as error:
        raise SystemExit(
            "the package segment_anything is not there: pip install --no-deps --target PEER segment-anything==1.0, "
            "then --peer PEER (it needs torchvision)"
        ) from error
    import torch

    return ImageEncoderViT(
        img_size=size,
        embed_dim=768,
        depth=12,
        num_heads=12,
        norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6),
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=(2, 5, 8, 11),
        window_size=14,
        out_chans=256,
    )


def transformers_encoder(size: int) -> Any:
    """Builds the vision encoder of transformers' SAM, whose default size is vit_b."""
    try:
        from transformers import SamVisionConfig, SamVisionModel
    except ImportError as error:
        raise SystemExit("transformers with SamVisionModel is not there: pip install transformers") from error
    return SamVisionModel(SamVisionConfig(image_size=size))


if __name__ == "__main__":
    main()
