"""``predict``: runs a network on pictures and videos and writes label files, masks and overlays."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...datasets.tasks.registry import all_result_tasks
from .common import (
    UsageError,
    add_config_arguments,
    add_weights_argument,
    check_there,
    check_weights,
    is_first_process,
)

if TYPE_CHECKING:
    from ...datasets.input_files import InputFile
    from ...datasets.tasks.base import WriterOption
    from ..prediction.predict_prompted import ObjectsOf

HELP = (
    "Run a network on images, folders, glob patterns or videos; write panoptic, semantic, instance files, masks of "
    "foreground or of everything, and overlays. "
    "With prompts: write the mask of each object that they point at or name."
)
EXAMPLES = """
  python entry.py predict --weights runs/demo --input photos --output predictions
  python entry.py predict --weights runs/demo --input 'photos/**/*.jpg' clip.mp4 --output predictions --tasks panoptic
  python entry.py predict --weights seem_focalt_v1.pt --input photo.jpg \\
      --output predictions --classes 'person,bicycle,road:stuff,sky:stuff'
  python entry.py predict --weights sam_vit_b_01ec64.pth --input photos --output masks --tasks everything \\
      --overrides PRECISION bf16
  python entry.py predict --weights runs/demo --input photo.jpg --output cups --text 'the left cup' 'the saucer'
  python entry.py predict --weights runs/demo --input photo.jpg --output cup --point 120,80 --point 40,30,-
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this verb."""
    add_weights_argument(parser)
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
    names = ",".join(task.name for task in all_result_tasks())
    parser.add_argument("--tasks", metavar="LIST", help=f"any of {names}; default: what the configuration does")
    for option in _writer_options():
        parser.add_argument(f"--{option.name}", action="store_true", help=option.text, **option.arguments)
    parser.add_argument(
        "--batch", type=int, metavar="N", help="images of one size per pass; default TEST.BATCH_SIZE_TOTAL"
    )
    parser.add_argument("--skip-corrupt", action="store_true", help="count unreadable files instead of stopping")
    parser.add_argument(
        "--force", action="store_true", help="write into a folder that holds files, replacing equal names"
    )
    group = parser.add_argument_group(
        "prompts: segment objects instead of everything; pixels from the upper left corner"
    )
    group.add_argument("--text", nargs="+", action="extend", metavar="WORDS", help="an object for each text")
    group.add_argument(
        "--point",
        action="append",
        type=point_option,
        metavar="X,Y[,-]",
        help="pixel of the object; with - of what is not it",
    )
    group.add_argument("--box", action="append", type=box_option, metavar="X0,Y0,X1,Y1", help="box around the object")
    group.add_argument(
        "--prompts", metavar="FILE", help="YAML or JSON: objects by image, also scribbles, polygons, circles"
    )
    add_config_arguments(parser, required=False)


def run(args: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    from ...datasets.input_files import find_inputs

    tasks = parse_tasks(args.tasks)
    if args.batch is not None and args.batch < 1:
        raise UsageError(f"--batch {args.batch}: expected 1 or more")
    if not is_first_process():
        raise UsageError("predict runs in one process; start it without a launcher")
    check_weights(args.weights)
    inputs = find_inputs(args.input)
    if args.output.is_dir() and any(args.output.iterdir()) and not args.force:
        raise UsageError(
            f"--output {args.output} is not empty; name another folder, or add --force to replace files in it"
        )
    prompted = any((args.text, args.point, args.box, args.prompts))
    objects_of = _objects(args, inputs) if prompted else None

    from ...utils.logging import setup_logging
    from ..machine.environment import check_torch
    from ..prediction.predict_files import predict_files
    from ..prediction.predict_prompted import check_objects, predict_prompted
    from ..prediction.predictor import load_predictor

    setup_logging()
    check_torch()
    if objects_of is not None:
        check_objects(inputs, objects_of)
    predictor = load_predictor(args.weights, args.conf_files or (), args.overrides, args.config_overrides, args.classes)
    reading: dict[str, Any] = {"skip_corrupt": args.skip_corrupt, "force": args.force}
    if objects_of is not None:
        summary = predict_prompted(predictor, inputs, objects_of, args.output, **reading)
    else:
        batch = args.batch or max(1, int(predictor.cfg.TEST.BATCH_SIZE_TOTAL))
        options = _chosen_options(args, predictor.result_tasks(tasks))
        summary = predict_files(
            predictor, inputs, args.output, tasks=tasks, batch_size=batch, options=options, **reading
        )
    frames = f" and {summary.frames} video frames" if summary.frames else ""
    skipped = f", {len(summary.skipped)} unreadable files skipped" if summary.skipped else ""
    barren = summary.empty.barren()
    nothing = f", with no {' and no '.join(barren)} result in any of them" if barren else ""
    done = f"predicted {summary.images} images{frames}{skipped}{nothing}"
    print(f"{done}; results in {args.output}, pictures in {args.output / 'overlay'}")
    return 0


def _writer_options() -> list[WriterOption]:
    return [option for task in all_result_tasks() for option in task.options]


def _chosen_options(args: argparse.Namespace, asked: Sequence[str]) -> dict[str, bool]:
    """Returns the keywords of the tasks' writers.

    Raises:
        UsageError: an option is about a task that is not predicted.
    """
    for task in all_result_tasks():
        for option in task.options:
            if getattr(args, option.name) and task.name not in asked:
                raise UsageError(option.misplaced)
    return {option.keyword: getattr(args, option.name) for option in _writer_options()}


def _objects(args: argparse.Namespace, inputs: Sequence[InputFile]) -> ObjectsOf:
    """Returns the objects that the options ask for, by image.

    Raises:
        UserError: options contradict each other, or the file of prompts is wrong.
    """
    from ...datasets.formats.prompt_file import ObjectToSegment, read_prompt_file
    from ...utils.prompts import Box, Point, Prompt

    for option in ("tasks", "batch", *(option.name for option in _writer_options())):
        if getattr(args, option) not in (None, False):
            raise UsageError(f"--{option} has no meaning with prompts; leave it out")
    shapes: tuple[Prompt, ...] = (*(Point(*p) for p in args.point or ()), *(Box(*b) for b in args.box or ()))
    named: list[ObjectToSegment] = [ObjectToSegment(shapes)] if shapes else []
    named += [ObjectToSegment(text=text) for text in args.text or ()]
    if not args.prompts:
        return lambda path: named
    check_there("--prompts", args.prompts)
    found = read_prompt_file(args.prompts).fitted_to([file.path for file in inputs], args.prompts)
    return lambda path: (*named, *found.objects(path))


def point_option(text: str) -> tuple[Any, ...]:
    """Reads a value of ``--point``."""
    numbers, comma, sign = text.rpartition(",")
    if comma and sign.strip() in ("+", "-"):
        return (*_numbers(numbers, 2, "X,Y, or X,Y,- for what does not belong to the object"), sign.strip() == "+")
    return (*_numbers(text, 2, "X,Y, or X,Y,- for what does not belong to the object"), True)


def box_option(text: str) -> tuple[float, ...]:
    """Reads a value of ``--box``."""
    return _numbers(text, 4, "X0,Y0,X1,Y1")


def _numbers(text: str, count: int, form: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise argparse.ArgumentTypeError(f"{text!r}: expected {form}")
    return numbers


def parse_tasks(text: str | None) -> tuple[str, ...] | None:
    """Reads ``--tasks``.

    Raises:
        UsageError: an unknown task.
    """
    if text is None:
        return None
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    known = [task.name for task in all_result_tasks()]
    if not found or not set(found) <= set(known):
        raise UsageError(f"--tasks {text}: expected some of {', '.join(known)}, separated by commas")
    return found
