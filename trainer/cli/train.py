"""Verb ``train``."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Train or fine-tune a model."
EXAMPLES = """
  python entry.py train --conf_files configs/seem/tiny.yaml \\
      --overrides DATASETS.TRAIN '[my.yaml]' DATASETS.TEST '[my.yaml]'
  python entry.py train --conf_files configs/seem/focalt_unicl_lang_v1.yaml --dry-run
  python entry.py train --conf_files configs/seem/focall_unicl_lang_v1.yaml \\
      --overrides WEIGHT True RESUME_FROM pretrained.pt
  python entry.py train --conf_files configs/sam/dlo_vit_b.yaml data.yaml      (folders imgs/ and masks/)
  python entry.py train --conf_files A.yaml --num-gpus 4   (as torchrun --nproc_per_node=4 entry.py train ...)

Running the same command again continues the run; SIGTERM, SIGINT and SIGUSR1 write a checkpoint first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this verb."""
    from .common import add_config_arguments

    add_config_arguments(parser)
    parser.add_argument(
        "--resume",
        default="auto",
        metavar="auto|never|PATH",
        help="continue what is there (default), refuse to, or start from a checkpoint or run folder",
    )
    parser.add_argument("--num-gpus", metavar="N|auto", help="start N processes on this machine, as torchrun does")
    parser.add_argument("--dry-run", action="store_true", help="build all, run one step, estimate, write nothing")


def run(args: argparse.Namespace) -> int:
    """Checks everything that needs no model, then trains."""
    from ..machine.launch import launched
    from ..plan import check_start, plan_training
    from .common import resolve

    if args.num_gpus is not None and not launched():
        return _launch(args)
    plan = plan_training(resolve(args))
    resume = check_start(plan.cfg, args.resume)
    if args.dry_run:
        from ..training.dry_run import dry_run

        return dry_run(plan)
    from ..training.start import train

    return train(plan, name=Path(args.conf_files[0]).stem, resume=resume)


def _launch(args: argparse.Namespace) -> int:
    """Starts local processes; the configuration is checked once, here, before."""
    import sys

    from ..machine.launch import launch_local, process_count
    from ..plan import check_start, plan_training
    from .common import resolve

    count = process_count(args.num_gpus)
    plan = plan_training(resolve(args))
    check_start(plan.cfg, args.resume)
    return launch_local(count, sys.argv[1:])
