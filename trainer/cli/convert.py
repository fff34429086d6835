"""``convert``: rewrites a weight file so that it needs nothing beside it."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import UsageError, add_config_arguments, check_weights, is_first_process

HELP = "Rewrite weights of any kind as one .safetensors file with configuration and names, or in another layout."
EXAMPLES = """
  python entry.py convert --weights seem_focall_v1.pt --output seem_focall.safetensors
  python entry.py convert --weights runs/kitchen --output kitchen.safetensors --merge-lora
  python entry.py convert --weights seem_focalt_v1.pt --output roads.safetensors --classes 'car,person,road:stuff'
  python entry.py convert --weights runs/kitchen --output kitchen.pt --to published
  python entry.py convert --weights exp/cables --output sam_cables --to transformers --merge-lora

The weights are a run or checkpoint folder, a trainer's folder, or a .pt, .pth or .safetensors file; pickled code is
never run. predict, evaluate and export then take the .safetensors file as --weights without a configuration."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this verb."""
    parser.add_argument(
        "--weights", required=True, metavar="PATH", help="weight file, run, checkpoint or trainer folder"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="PATH", help="file or folder to write")
    parser.add_argument(
        "--to",
        default="segfoundry",
        choices=("segfoundry", "published", "transformers"),
        help="segfoundry (default): .safetensors with everything; published: tensors alone, .pt, .pth or .safetensors; "
        "transformers: a folder for from_pretrained, or its .safetensors (SAM)",
    )
    names = parser.add_mutually_exclusive_group()
    names.add_argument(
        "--classes",
        metavar="NAMES",
        help="names that the file tells apart: person,car,road:stuff (things unless :stuff)",
    )
    names.add_argument("--record", metavar="DATASET", help="a data set record whose names it tells apart")
    parser.add_argument("--merge-lora", action="store_true", help="add LoRA updates to the weights they belong to")
    parser.add_argument(
        "--partial", action="store_true", help="accept weights that lack tensors; initial values take their place"
    )
    parser.add_argument("--force", action="store_true", help="replace the file")
    add_config_arguments(parser, required=False)


def run(args: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    if not is_first_process():
        raise UsageError("convert runs in one process; start it without a launcher")
    if args.to != "segfoundry" and (args.classes or args.record):
        raise UsageError(f"a file --to {args.to} holds no names: leave out --classes and --record")
    check_weights(args.weights)

    from ..weights.convert_weights import check_target, convert_weights

    check_target(args.output, args.to, args.force)

    from ...utils.files import human_size
    from ...utils.logging import setup_logging
    from ..weights.load_model import parse_classes, record_categories

    setup_logging()
    vocabulary = None
    if args.classes is not None:
        vocabulary = parse_classes(args.classes)
    elif args.record is not None:
        vocabulary = record_categories(args.record)
    done = convert_weights(
        args.weights,
        args.output,
        layout=args.to,
        conf_files=args.conf_files or (),
        overrides=args.overrides,
        config_overrides=args.config_overrides,
        vocabulary=vocabulary,
        merge=args.merge_lora,
        partial=args.partial,
        force=args.force,
    )
    print(done.loaded)
    if args.merge_lora:
        print(f"merged the LoRA updates of {done.merged} layers")
    known = f", {len(done.trained)} trained categories, {len(done.vocabulary)} names" if done.vocabulary else ""
    print(f"wrote {args.output}: {done.tensors} tensors, {human_size(done.size)}{known}")
    return 0
