"""``validate``: checks a data set before training; exit code 1 when training would go wrong."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...datasets.records.record import Record
    from ...datasets.records.split import Split

from .common import UsageError, add_config_arguments, check_result_file, count_option, resolve

HELP = "Check a data set before training: files, sizes, ids, areas, categories, balance."
EXAMPLES = """
  python entry.py validate data/kitchen/kitchen.yaml
  python entry.py validate coco_2017:val --report runs/coco_val_check --json findings.json
  python entry.py validate my_cables.yaml        # a file with the section `dataset:` (folders imgs/ and masks/)
  python entry.py validate --conf_files configs/sam/dlo_vit_b.yaml my_cables.yaml
"""

_COLORS = {"error": "bold red", "warning": "yellow", "note": "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this verb."""
    parser.add_argument(
        "dataset",
        nargs="?",
        metavar="DATASET",
        help="a record file, its folder, NAME or NAME:SPLIT (default: all splits of different images); or a file with "
        "the section `dataset:`",
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
        type=count_option,
        default=16,
        metavar="PIXELS",
        help="smaller segments are reported (default 16)",
    )
    parser.add_argument(
        "--samples", type=count_option, default=12, metavar="N", help="overlays per split in the report (default 12)"
    )
    parser.add_argument(
        "--workers", type=count_option, metavar="N", help="processes (default: as many as processors, at most 8)"
    )
    add_config_arguments(parser, required=False)


def run(args: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    from ...datasets.validate.scan import Limits
    from ...datasets.validate.validate_record import validate_record
    from ...utils.errors import UserError
    from ...utils.files import atomic_write_json

    if not 0 <= args.max_void <= 1:
        raise UserError(f"--max-void {args.max_void}: expected a share between 0 and 1")
    check_result_file("--json", args.json, "findings")
    if (args.dataset is None) == (not args.conf_files):
        raise UsageError("name a DATASET, or configuration files with --conf_files, one of both")
    reader = None if args.conf_files else _reader_of(args.dataset)
    record, chosen = _configured(args, reader) if args.conf_files or reader else _named(args.dataset)
    result = validate_record(record, chosen, Limits(args.max_void, args.min_area), args.workers)
    _print(result)
    if args.json:
        atomic_write_json(args.json, result.as_json())
        print(f"JSON: {args.json}")
    if args.report:
        from ...datasets.validate.html_report import write_html

        print(f"report: {write_html(result, Path(args.report), args.samples)}")
    return 0 if result.ok else 1


def _named(dataset: str) -> tuple[Record, list[Split]]:
    """Finds a record and the splits that are to be checked."""
    from ...datasets.records.catalog import find_data_set
    from ...datasets.validate.validate_record import distinct_splits
    from ...utils.errors import DataError

    record, name = find_data_set(dataset)
    if name is not None and name not in record.splits:
        raise DataError(f"{record.path}: no split {name!r}. Splits: {', '.join(record.splits)}.")
    chosen = distinct_splits(record) if name is None else [record.splits[name]]
    if any(split.registered for split in chosen):
        raise DataError(f"{record.path}: only record files can be checked, not registrations made in Python")
    return record, chosen


def _reader_of(dataset: str) -> str | None:
    """Returns the MODEL.NAME of the architecture that reads a file of another system; None: it is no such file."""
    from ...datasets.formats.yaml_file import read_yaml
    from ...utils.config.architectures import architectures

    path = Path(dataset)
    if path.suffix not in (".yaml", ".yml", ".json") or not path.is_file():
        return None
    content = read_yaml(path)
    if not isinstance(content, dict) or "splits" in content:
        return None
    readers = (arch for arch in architectures().values() if arch.foreign_sections.keys() & content.keys())
    return next((arch.model_names[0] for arch in readers), None)


def _configured(args: argparse.Namespace, reader: str | None) -> tuple[Record, list[Split]]:
    """Returns the folders that a configuration names, as one data set; ``reader``: MODEL.NAME if files say none."""
    from ...datasets.pipelines.base import find_pipeline
    from ...utils.config.architectures import find_architecture
    from ...utils.errors import DataError

    if reader:
        args.overrides = ["MODEL.NAME", reader, *args.overrides]
    files = args.conf_files or [args.dataset]
    pipeline = find_pipeline(resolve(args, conf_files=files).typed)
    sets = pipeline.own_data()
    for notice in sets.notices:
        print(f"note: {notice}")
    if not sets.train and not sets.test:
        keys = [key.name for key in (pipeline.train_key, pipeline.test_key) if key]
        nothing = f"{'neither ' if len(keys) > 1 else ''}{' nor '.join(keys)}"
        sections = find_architecture(pipeline.cfg.MODEL.NAME).foreign_sections
        nothing += "".join(f" (section `{name}:`)" for name in sections)
        verb = "names a folder" if len(keys) > 1 else "names no folder"
        raise DataError(
            f"{', '.join(files)}: {nothing or pipeline.cfg.MODEL.NAME} {verb}; a record is checked by its own name: "
            "validate DATASET"
        )
    record = sets.as_record(pipeline.data_name, Path(files[-1]))
    return record, list(record.splits.values())


def _print(result) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = 200  # a log or a pipe: long paths stay whole
    console.print(_summary_table(result))
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


def _summary_table(result):
    from rich.markup import escape
    from rich.table import Table

    masks = [s.foreground is not None for s in result.splits]
    maps = not all(masks) or any(s.segments.any() for s in result.splits)
    more = [name for name in ("objects", "sentences") if any(getattr(s, name) for s in result.splits)]
    columns = ["split", "images", *(("segments", "unlabelled", "things", "stuff") if maps else ())]
    columns += [name.replace("sentences", "phrases") for name in more] + (["foreground"] if any(masks) else [])
    table = Table(*columns, title=f"data set {escape(result.record.name)}")
    for s in result.splits:
        cells = [escape(s.name), str(s.images)]
        if maps:
            shares = [f"{100 * share:.1f} %" for share in (s.void, s.thing_pixels, 1 - s.thing_pixels)]
            cells += [str(int(s.segments.sum())), *shares]
        cells += [str(getattr(s, name)) for name in more]
        if any(masks):
            cells.append("" if s.foreground is None else f"{100 * s.foreground:.2f} %")
        table.add_row(*cells)
    return table
