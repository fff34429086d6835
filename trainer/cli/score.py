"""Verb ``score``: each task measures files in its own way (``Task.score``)."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Mapping

from ...datasets.tasks.base import Option, ScoreCommand
from ...datasets.tasks.registry import all_tasks

HELP = "Measure prediction files of any tool against ground truth."
_FILES = {
    "gt_json": ("FILE", "ground truth"),
    "gt_folder": ("DIR", "ground-truth PNGs"),
    "pred_json": ("FILE", "predictions"),
    "pred_folder": ("DIR", "predicted PNGs"),
}
"""Option that several tasks read -> what it names, and its help."""


def _commands() -> dict[str, ScoreCommand]:
    return {task.score.name: task.score for task in all_tasks() if task.score is not None}


EXAMPLES = "\n".join(f"  python entry.py score {line}" for command in _commands().values() for line in command.examples)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this verb."""
    parser.add_argument("task", choices=tuple(_commands()), help="what is compared")
    declared = _declared()
    files = parser.add_argument_group("files")
    for name, (metavar, text) in _FILES.items():
        files.add_argument(f"--{name}", metavar=metavar, help=_help(declared.get(name, {}), text))
    files.add_argument(
        "--output", metavar="FILE", help="write the figures as JSON (fractions; overlaps of clicks in percent)"
    )
    rules = parser.add_argument_group("rules")
    for name, options in declared.items():
        if name not in _FILES:
            first = next(iter(options.values()))
            rules.add_argument(f"--{name}", help=_help(options), **first.arguments)
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="threads (default 1)")
    parser.add_argument("--no_accelerator", action="store_true", help="do not use hotcoco, even where it is installed")


def _declared() -> dict[str, dict[str, Option]]:
    """Returns option name -> task -> the option as that task declares it."""
    found: dict[str, dict[str, Option]] = {}
    for task, command in _commands().items():
        for option in command.options:
            found.setdefault(option.name, {})[task] = option
    return found


def _help(options: Mapping[str, Option], start: str = "") -> str:
    """Returns the help of an option: what each task says about it."""
    return "; ".join(filter(None, [start, *(f"{task}: {o.text}" for task, o in options.items() if o.text)]))


def run(args: argparse.Namespace) -> int:
    """Scores the files, prints the table, writes the JSON."""
    from ...utils.allocator import keep_freed_memory
    from ...utils.files import atomic_write_json

    command = _commands()[args.task]
    _check(args, command)
    keep_freed_memory()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result, table = command.run(args)
    for text in dict.fromkeys(str(w.message) for w in caught):
        print(f"warning: {text}", file=sys.stderr)
    print(table, end="")
    if args.output:
        atomic_write_json(args.output, result)
        print(f"\nwritten: {args.output}")
    return 0


def _check(args: argparse.Namespace, command: ScoreCommand) -> None:
    """Refuses options that are missing, or that the task does not read."""
    from .common import UsageError, check_result_file, check_there

    missing = list(_missing(args, command))
    if missing:
        raise UsageError(f"score {args.task} needs {', '.join(missing)}")
    unread = {*_FILES, *_declared()} - {option.name for option in command.options}
    surplus = [name for name in sorted(unread) if getattr(args, name) not in (None, False)]
    if surplus:
        raise UsageError(f"score {args.task} does not read --{surplus[0]}")
    if args.workers < 1:
        raise UsageError(f"--workers is {args.workers}, expected at least 1")
    for name, (metavar, _) in _FILES.items():
        if getattr(args, name) is not None:
            check_there(f"--{name}", getattr(args, name), {"FILE": "file", "DIR": "folder"}[metavar])
    check_result_file("--output", args.output, "metric_version")


def _missing(args: argparse.Namespace, command: ScoreCommand) -> Iterator[str]:
    """Yields what a task needs and was not given."""
    given = lambda name: getattr(args, name) is not None  # noqa: E731
    yield from (f"--{name}" for name in command.needed if not given(name))
    for one, other in command.either:
        if given(one) == given(other):
            yield f"either --{one} or --{other}"
