"""``export``: writes a network for other programs, as torch.export or ONNX."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import (
    UsageError,
    add_config_arguments,
    add_weights_argument,
    check_weights,
    count_option,
    is_first_process,
)

HELP = "Write image encoder and panoptic head for one image size and vocabulary, as torch.export (.pt2) or ONNX."
EXAMPLES = """
  python entry.py export --weights runs/kitchen --size 512 512 --output kitchen.pt2
  python entry.py export --weights seem_focalt_v1.pt --size 512 768 --output seem.onnx --classes 'person,road:stuff'

The graph maps images (1, 3, H, W) float32 RGB 0..255 to class probabilities (1, Q, K + 1), the last one of
"no object", and mask logits (1, Q, H / 4, W / 4). FILE.json beside it names the classes. ONNX needs the packages onnx,
onnxscript and onnxruntime."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this verb."""
    add_weights_argument(parser)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="ends in .pt2 or .onnx")
    parser.add_argument(
        "--size",
        required=True,
        nargs=2,
        type=count_option,
        metavar=("H", "W"),
        help="height and width of the images in pixels, multiples of 32",
    )
    parser.add_argument(
        "--classes", metavar="NAMES", help="other category names: person,car,road:stuff (things unless :stuff)"
    )
    parser.add_argument("--force", action="store_true", help="replace the file")
    add_config_arguments(parser, required=False)


def run(args: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    if not is_first_process():
        raise UsageError("export runs in one process; start it without a launcher")
    if args.output.exists() and not (args.force and args.output.is_file()):
        raise UsageError(f"--output {args.output} exists; name another file, or add --force to replace it")
    check_weights(args.weights)

    from ...utils.files import human_size
    from ...utils.logging import setup_logging
    from ..prediction.graph_export import check_format, export
    from ..prediction.predictor import load_predictor

    setup_logging()
    check_format(args.output)
    # The graph names its device; one for the processor runs everywhere.
    overrides = [*args.overrides, "DEVICE", "cpu", "PRECISION", "fp32"]
    predictor = load_predictor(args.weights, args.conf_files or (), overrides, args.config_overrides, args.classes)
    about = export(predictor, args.output, (args.size[0], args.size[1]))
    size = human_size(args.output.stat().st_size)
    print(
        f"wrote {args.output} ({size}) and {args.output.name}.json: {len(about['classes'])} classes, "
        f"largest difference from the network {about['largest_difference']:.1g}"
    )
    return 0
