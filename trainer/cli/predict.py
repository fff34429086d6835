"""``predict``: runs a network on pictures and videos and writes label files and overlays."""

from __future__ import annotations

import argparse
from pathlib import Path

from segfoundry.trainer.cli.common import UsageError, add_config_arguments, is_first_process

HELP = (
    "Run a network on images, folders, glob patterns or videos; write panoptic, semantic, instance files and overlays."
)
EXAMPLES = """
  python entry.py predict --weights runs/demo --input photos --output predictions
  python entry.py predict --weights runs/demo --input 'photos/**/*.jpg' clip.mp4 --output predictions --tasks panoptic
  python entry.py predict --weights seem_focalt_v1.pt --input photo.jpg \\
      --output predictions --classes 'person,bicycle,road:stuff,sky:stuff'
"""
TASKS = ("panoptic", "semantic", "instance")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this verb."""
    parser.add_argument(
        "--weights",
        required=True,
        metavar="PATH",
        help="run folder, checkpoint folder, or weight file (.safetensors, .pt)",
    )
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        action="extend",
        metavar="PATH",
        help="images, videos, folders, glob patterns",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--classes", metavar="NAMES", help="other category names: person,car,road:stuff (things unless :stuff)"
    )
    parser.add_argument(
        "--tasks", metavar="LIST", help=f"any of {','.join(TASKS)}; default: what the configuration does"
    )
    parser.add_argument(
        "--batch", type=int, metavar="N", help="images of one size per pass; default TEST.BATCH_SIZE_TOTAL"
    )
    parser.add_argument("--skip-corrupt", action="store_true", help="count unreadable files instead of stopping")
    parser.add_argument(
        "--force", action="store_true", help="write into a folder that holds files, replacing equal names"
    )
    add_config_arguments(parser, required=False)


def run(args: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    from segfoundry.datasets.inputs import find_inputs

    tasks = parse_tasks(args.tasks)
    if args.batch is not None and args.batch < 1:
        raise UsageError(f"--batch {args.batch}: expected 1 or more")
    if not is_first_process():
        raise UsageError("predict runs in one process; start it without a launcher")
    inputs = find_inputs(args.input)
    if args.output.is_dir() and any(args.output.iterdir()) and not args.force:
        raise UsageError(
            f"--output {args.output} is not empty; name another folder, or add --force to replace files in it"
        )

    from segfoundry.trainer.environment import check_torch
    from segfoundry.trainer.predict import predict_files
    from segfoundry.trainer.predictor import load_predictor
    from segfoundry.utils.logging import setup_logging

    setup_logging()
    check_torch()
    predictor = load_predictor(args.weights, args.conf_files or (), args.overrides, args.config_overrides, args.classes)
    batch = args.batch or max(1, int(predictor.cfg.TEST.BATCH_SIZE_TOTAL))
    summary = predict_files(
        predictor,
        inputs,
        args.output,
        tasks=tasks,
        batch_size=batch,
        skip_corrupt=args.skip_corrupt,
        force=args.force,
    )
    frames = f" and {summary.frames} video frames" if summary.frames else ""
    skipped = f", {len(summary.skipped)} unreadable files skipped" if summary.skipped else ""
    done = f"predicted {summary.images} images{frames}{skipped}"
    print(f"{done}; results in {args.output}, pictures in {args.output / 'overlay'}")
    return 0


def parse_tasks(text: str | None) -> tuple[str, ...] | None:
    """Reads ``--tasks``.

    Raises:
        UsageError: an unknown task.
    """
    if text is None:
        return None
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    unknown = [word for word in found if word not in TASKS]
    if unknown or not found:
        raise UsageError(f"--tasks {text}: expected some of {', '.join(TASKS)}, separated by commas")
    return found
