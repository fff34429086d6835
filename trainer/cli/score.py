"""Verb ``score``."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

HELP = "Measure prediction files of any tool against ground truth."
EXAMPLES = """
  python entry.py score panoptic --gt_json val.json --pred_json pred.json --output metrics.json   (PNGs: val/, pred/)
  python entry.py score semantic --gt_folder val/semantic --pred_folder out/semantic --record kitchen.yaml
  python entry.py score semantic --gt_folder val/semantic --pred_json sem_seg_predictions.json --record kitchen.yaml
  python entry.py score instances --gt_json instances_val.json --pred_json coco_instances_results.json
  python entry.py score referring --record kitchen.yaml:val --pred_json referring_predictions.json --sentences all
  python entry.py score interactive --pred_json interactive_clicks.json
  python entry.py score foreground --gt_folder test/masks --pred_folder predictions/foreground"""

_NEEDED = {
    "panoptic": ("gt_json", "pred_json"),
    "semantic": ("gt_folder",),
    "instances": ("gt_json", "pred_json"),
    "referring": ("record", "pred_json"),
    "interactive": ("pred_json",),
    "foreground": ("gt_folder", "pred_folder"),
}
_ALLOWED = {
    "panoptic": ("gt_json", "gt_folder", "pred_json", "pred_folder", "reference_area", "crowd_union"),
    "semantic": ("gt_folder", "pred_folder", "pred_json", "record", "num_classes", "ignore_value", "boundary"),
    "instances": ("gt_json", "pred_json"),
    "referring": ("record", "pred_json", "sentences"),
    "interactive": ("pred_json",),
    "foreground": ("gt_folder", "pred_folder"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this verb."""
    parser.add_argument("task", choices=tuple(_NEEDED), help="what is compared")
    files = parser.add_argument_group("files")
    files.add_argument("--gt_json", metavar="FILE", help="ground truth: COCO panoptic or instance JSON")
    files.add_argument("--gt_folder", metavar="DIR", help="ground-truth PNGs; panoptic default: gt_json without .json")
    files.add_argument("--pred_json", metavar="FILE", help="predictions: panoptic JSON, list of results, or clicks")
    files.add_argument("--pred_folder", metavar="DIR", help="predicted PNGs; panoptic default: pred_json without .json")
    files.add_argument(
        "--output", metavar="FILE", help="write the figures as JSON (fractions; overlaps of clicks in percent)"
    )
    rules = parser.add_argument_group("rules")
    rules.add_argument(
        "--reference_area", action="store_true", help="panoptic: believe the JSON's areas, as panopticapi"
    )
    rules.add_argument(
        "--crowd_union", action="store_true", help="panoptic: all crowds of a category excuse, not the last"
    )
    rules.add_argument(
        "--record", metavar="NAME", help="semantic: record with the categories; referring: NAME[:SPLIT] with phrases"
    )
    rules.add_argument("--num_classes", type=int, metavar="N", help="semantic: number of categories, without a record")
    rules.add_argument(
        "--ignore_value", type=int, metavar="V", help="semantic: ground-truth value left out (default 255)"
    )
    rules.add_argument(
        "--sentences", choices=("first", "all"), help="referring: sentences of an object that count (default first)"
    )
    rules.add_argument("--boundary", action="store_true", help="semantic: also the boundary IoU")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="threads (default 1)")
    parser.add_argument("--no_accelerator", action="store_true", help="do not use hotcoco, even where it is installed")


def run(args: argparse.Namespace) -> int:
    """Scores the files, prints the table, writes the JSON."""
    from ...utils.allocator import keep_freed_memory
    from ...utils.files import atomic_write_json

    _check(args)
    keep_freed_memory()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result, table = _SCORERS[args.task](args)
    for text in dict.fromkeys(str(w.message) for w in caught):
        print(f"warning: {text}", file=sys.stderr)
    print(table, end="")
    if args.output:
        atomic_write_json(args.output, result)
        print(f"\nwritten: {args.output}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuses options that are missing, or that the task does not read."""
    from .common import UsageError, check_result_file

    missing = [f"--{name}" for name in _NEEDED[args.task] if getattr(args, name) is None]
    if args.task == "semantic":
        if (args.pred_folder is None) == (args.pred_json is None):
            missing.append("either --pred_folder or --pred_json")
        if (args.record is None) == (args.num_classes is None):
            missing.append("either --record or --num_classes")
    if missing:
        raise UsageError(f"score {args.task} needs {', '.join(missing)}")
    known = {name for names in _ALLOWED.values() for name in names}
    surplus = [n for n in sorted(known - set(_ALLOWED[args.task])) if getattr(args, n) not in (None, False)]
    if surplus:
        raise UsageError(f"score {args.task} does not read --{surplus[0]}")
    if args.workers < 1:
        raise UsageError(f"--workers is {args.workers}, expected at least 1")
    if args.num_classes is not None and not 1 <= args.num_classes <= 255:
        raise UsageError(f"--num_classes is {args.num_classes}, expected 1..255")
    check_result_file("--output", args.output, "metric_version")


def _panoptic(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from ...datasets.evaluation.panoptic_quality import PanopticProtocol
    from ...datasets.evaluation.score_panoptic import PanopticFiles, panoptic_table, score_panoptic
    from ...datasets.formats.json_file import read_json

    result = score_panoptic(
        PanopticFiles.at(args.gt_json, args.gt_folder),
        PanopticFiles.at(args.pred_json, args.pred_folder),
        protocol=PanopticProtocol(args.reference_area, args.crowd_union),
        workers=args.workers,
        accelerate=not args.no_accelerator,
    )
    names = {c["id"]: str(c.get("name", c["id"])) for c in read_json(args.gt_json)["categories"]}
    return result, panoptic_table(result, names)


def _semantic(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from ...datasets.catalog import find_record
    from ...datasets.evaluation.score_semantic import score_semantic
    from ...datasets.evaluation.semantic import semantic_table
    from ...utils.structures import Category

    if args.record is not None:
        categories = find_record(args.record, "val")[0].categories
    else:
        categories = tuple(Category(i, str(i), False, (0, 0, 0)) for i in range(args.num_classes))
    result = score_semantic(
        args.gt_folder,
        Path(args.pred_folder or args.pred_json),
        categories,
        ignored=255 if args.ignore_value is None else args.ignore_value,
        boundary=args.boundary,
        workers=args.workers,
    )
    return result, semantic_table(result, "0..1")


def _instances(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from ...datasets.evaluation.instance import instance_table
    from ...datasets.evaluation.score_instances import score_instances

    result = score_instances(args.gt_json, args.pred_json, accelerate=not args.no_accelerator)
    return result, instance_table(result, "0..1")


def _referring(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from ...datasets.evaluation.referring import referring_table
    from ...datasets.evaluation.score_prompted import score_referring

    result = score_referring(args.record, args.pred_json, sentences=args.sentences or "first")
    return result, referring_table(result, "0..1")


def _interactive(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from ...datasets.evaluation.interactive import click_table
    from ...datasets.evaluation.score_prompted import score_interactive

    result = score_interactive(args.pred_json)
    return result, click_table(result)


def _foreground(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from ...datasets.evaluation.foreground import foreground_table
    from ...datasets.evaluation.score_foreground import score_foreground

    result = score_foreground(args.gt_folder, args.pred_folder, workers=args.workers)
    return result, foreground_table(result, "0..1")


_SCORERS = {
    "panoptic": _panoptic,
    "semantic": _semantic,
    "instances": _instances,
    "referring": _referring,
    "interactive": _interactive,
    "foreground": _foreground,
}
