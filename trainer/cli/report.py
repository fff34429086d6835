"""``report``: writes the HTML page of a run folder."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Write report/index.html into a run folder: curves, metrics, pictures, configuration; opens offline."
EXAMPLES = """
  python entry.py report --run runs/demo
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this verb."""
    parser.add_argument("--run", required=True, type=Path, metavar="DIR", help="folder that train or evaluate wrote")


def run(args: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    from ...datasets.tasks.registry import report_figures
    from ..run_folder.report_page import write_report

    print(write_report(args.run, report_figures()))
    return 0
