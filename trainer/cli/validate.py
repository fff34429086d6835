"""``validate``: checks a data set before training; exit code 1 when training would go wrong."""

from __future__ import annotations

import argparse
from pathlib import Path

from segfoundry.trainer.cli.common import check_result_file, whole_number

HELP = "Check a data set before training: files, sizes, ids, areas, categories, balance."
EXAMPLES = """
  python entry.py validate data/kitchen/kitchen.yaml
  python entry.py validate coco_2017:val --report runs/coco_val_check --json findings.json
"""

_COLORS = {"error": "bold red", "warning": "yellow", "note": "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this verb."""
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        help="a record file, its folder, NAME or NAME:SPLIT (default: all splits of different images)",
    )
    parser.add_argument("--report", metavar="DIR", help="write DIR/index.html with overlays and class histograms")
    parser.add_argument("--json", metavar="FILE", help="write all findings and numbers as JSON")
    parser.add_argument(
        "--max-void", "--max_void", type=float, default=0.3, metavar="SHARE",
        help="unlabelled share above which a split is reported (default 0.3)",
    )  # fmt: skip
    parser.add_argument(
        "--min-area",
        "--min_area",
        type=whole_number,
        default=16,
        metavar="PIXELS",
        help="smaller segments are reported (default 16)",
    )
    parser.add_argument(
        "--samples", type=whole_number, default=12, metavar="N", help="overlays per split in the report (default 12)"
    )
    parser.add_argument(
        "--workers", type=whole_number, metavar="N", help="processes (default: as many as processors, at most 8)"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    from segfoundry.datasets.catalog import find_data_set
    from segfoundry.datasets.validate.scan import Limits
    from segfoundry.datasets.validate.validate import distinct_splits, validate_record
    from segfoundry.utils.errors import DataError, UserError
    from segfoundry.utils.files import atomic_write_json

    if not 0 <= args.max_void <= 1:
        raise UserError(f"--max-void {args.max_void}: expected a share between 0 and 1")
    check_result_file("--json", args.json, "findings")
    record, name = find_data_set(args.dataset)
    if name is not None and name not in record.splits:
        raise DataError(f"{record.path}: no split {name!r}. Splits: {', '.join(record.splits)}.")
    chosen = distinct_splits(record) if name is None else [record.splits[name]]
    if any(split.registered for split in chosen):
        raise DataError(f"{record.path}: only record files can be checked, not registrations made in Python")
    result = validate_record(record, chosen, Limits(args.max_void, args.min_area), args.workers)
    _print(result)
    if args.json:
        atomic_write_json(args.json, result.as_json())
        print(f"JSON: {args.json}")
    if args.report:
        from segfoundry.datasets.validate.report import write_html

        print(f"report: {write_html(result, Path(args.report), args.samples)}")
    return 0 if result.ok else 1


def _print(result) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = 200  # a log or a pipe: long paths stay whole
    more = [name for name in ("objects", "sentences") if any(getattr(s, name) for s in result.splits)]
    titles = [name.replace("sentences", "phrases") for name in more]
    columns = ("split", "images", "segments", "unlabelled", "things", "stuff", *titles)
    table = Table(*columns, title=f"data set {escape(result.record.name)}")
    for s in result.splits:
        shares = [f"{100 * share:.1f} %" for share in (s.void, s.thing_pixels, 1 - s.thing_pixels)]
        counts = [str(getattr(s, name)) for name in more]
        table.add_row(escape(s.name), str(s.images), str(int(s.segments.sum())), *shares, *counts)
    console.print(table)
    if result.findings:
        table = Table("level", "split", "count", "finding", "first place", "what to do", show_lines=True)
        for f in result.findings:
            first = escape(f.places[0]) if f.places else ""
            level = f"[{_COLORS[f.kind.level]}]{f.kind.level}[/]"
            table.add_row(level, escape(f.split), str(f.count), f"{f.kind.title} ({f.code})", first, f.kind.fix)
        console.print(table)
    found = ", ".join(f"{result.count(level)} {level}" for level in ("error", "warning", "note"))
    verdict = "ready for training" if result.ok else "training would go wrong"
    print(f"{verdict}: {found} kinds found")
