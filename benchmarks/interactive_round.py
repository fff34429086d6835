"""Cost of a click in SEEM Focal-T: a round on an encoded image against a whole forward pass.

    python benchmarks/interactive_round.py --size 512

Random weights; one object, one click per round, masks at the image's size included. The first round encodes the image,
as the web page and interactive evaluation do; later rounds carry the memory of the round before.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sides import ROOT, import_product

CONFIG = ROOT / "configs/seem/focalt_unicl_lang_v1.yaml"
TARGET = 1 / 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="image side in pixels")
    parser.add_argument("--rounds", type=int, default=8, help="measured rounds after the first, and measured passes")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    import_product()
    import torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    with torch.no_grad():
        figures = measure(args)
    full = figures["whole forward pass (semantic)"]
    print(f"SEEM Focal-T, {args.size} px, CPU, {args.threads} threads, median of {args.rounds}\n")
    print("| what | wall s | of a forward pass |\n|---|---|---|")
    for what, seconds in figures.items():
        print(f"| {what} | {seconds:.3f} | {seconds / full:.3f} |")
    met = figures["later round, with its mask"] <= TARGET * full
    print(f"\ntarget: a later round at most {TARGET} of a forward pass: {'met' if met else 'NOT met'}")


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Returns the median seconds of each step of an interaction."""
    import torch

    from segfoundry.datasets.records.catalog import find_record
    from segfoundry.modeling.build_model import build_model
    from segfoundry.utils.config.engine import load_config
    from segfoundry.utils.structures.requests import Prompts, Request, Strokes
    from segfoundry.utils.structures.samples import Batch, Sample

    cfg = load_config([CONFIG], ["MODEL.TEXT.PROMPT", "plain"]).typed
    model = build_model(cfg, find_record("coco_2017", "train")[0].categories).eval()
    side, rng = args.size, np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (1, 3, side, side), dtype=np.uint8))
    batch = Batch(image, [(side, side)], [Sample(np.empty((0, 0, 3), np.uint8), 0, 0, "", (side, side))])
    stroke = torch.zeros(1, side, side, dtype=torch.bool)
    stroke[0, side // 2 - 1 : side // 2 + 2, side // 2 - 1 : side // 2 + 2] = True
    prompts = [Prompts(Strokes(stroke, torch.zeros_like(stroke)))]

    def answer(encoded: Any, previous: Any) -> Any:
        answers = model.prompted(encoded, prompts, previous)
        model.full_masks(encoded, answers)
        return answers[0].logits

    encoded = model.encode(batch)
    memory = answer(encoded, None)
    request = Request(("semantic",))
    return {
        "whole forward pass (semantic)": median(lambda: model(batch, request=request), args.rounds),
        "encoding the image": median(lambda: model.encode(batch), args.rounds),
        "first round, with its mask": median(lambda: answer(encoded, None), args.rounds),
        "later round, with its mask": median(lambda: answer(encoded, [memory]), args.rounds),
    }


def median(step: Callable[[], object], count: int) -> float:
    """Returns the median seconds of ``count`` calls, after one to warm up."""
    seconds = []
    for _ in range(count + 1):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
