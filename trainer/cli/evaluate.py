"""Verb ``evaluate``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HELP = "Measure a model on data sets."
EXAMPLES = """
  python entry.py evaluate --weights runs/kitchen
  python entry.py evaluate --weights kitchen.safetensors --overrides DATASETS.TEST '[other.yaml:test]'
  python entry.py evaluate --weights exp/cables --conf_files data.yaml
  python entry.py evaluate --weights runs/kitchen --overrides TEST.EVALUATORS '[panoptic, interactive, referring]'
  python entry.py evaluate --conf_files configs/seem/focalt_unicl_lang_v1.yaml \\
      --overrides WEIGHT True RESUME_FROM seem_focalt_v1.pt"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this verb."""
    from .common import add_config_arguments

    add_config_arguments(parser, required=False)
    parser.add_argument(
        "--weights", metavar="FILE|RUN", help="weight file, checkpoint or run folder; default: WEIGHT True RESUME_FROM"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="default: eval/ of the run folder (that of --weights, else SAVE_DIR/EXP_NAME); replaces results there",
    )
    parser.add_argument("--num-gpus", metavar="N|auto", help="start N processes on this machine, as torchrun does")


def run(args: argparse.Namespace) -> int:
    """Checks the data sets and the weight file, then evaluates."""
    from ...utils.config.engine import names_model
    from ...utils.errors import ConfigError
    from ..machine.launch import launch_local, launched, process_count
    from ..plan import plan_evaluation
    from .common import check_weights, resolve

    if args.weights:
        check_weights(args.weights)
    files = list(args.conf_files or [])
    complete = names_model(files)  # else they are other data for what the weights carry
    with _carried_config(None if complete else args.weights) as carried:
        if not files and carried is None:
            raise ConfigError(
                "no configuration: give --conf_files, or --weights with a run folder or a file that holds one"
            )
        args.conf_files = files = [*([] if carried is None else [str(carried)]), *files]
        plan = plan_evaluation(resolve(args))
    if not args.weights and plan.cfg.RESUME_FROM and (plan.cfg.WEIGHT or plan.cfg.RESUME):
        check_weights(plan.cfg.RESUME_FROM, "RESUME_FROM")
    if args.num_gpus is not None and not launched():
        return launch_local(process_count(args.num_gpus), sys.argv[1:])
    from ..evaluation.start import evaluate_plan

    name = Path(files[0] if carried is None else args.weights).stem
    return evaluate_plan(plan, name=name, weights=args.weights, output=args.output)


@contextmanager
def _carried_config(weights: str | None) -> Iterator[Path | None]:
    """Gives the configuration of a run, of a weight file's header (a copy), or the shipped one of a published file.

    None without weights, or for a folder without a configuration.
    """
    path = Path(weights or "")
    if weights is None or path.is_dir() or not path.is_file():
        beside = path / "config.yaml"
        yield beside if weights is not None and beside.is_file() else None
        return
    from ..weights.load_model import read_weight_header, recognised_config

    text = read_weight_header(path).get("config")
    if text is None:
        yield recognised_config(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "config.yaml"
        copy.write_text(text, encoding="utf-8")
        yield copy
