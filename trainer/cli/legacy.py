"""``legacy``: runs the command line of an original training script, and shows the ``train`` command it stands for."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

from ...utils.errors import did_you_mean
from ..legacy import sam_finetune
from ..legacy.table import LegacyCommand, split_words, train_parser, translate_command
from .common import UsageError, VerbParser, is_first_process, program

COMMANDS: dict[str, LegacyCommand] = {c.name: c for c in (sam_finetune.COMMAND,)}

HELP = "Run the command line of an original training script with its own flags."
EXAMPLES = """
  python entry.py legacy sam-finetune --help
  python entry.py legacy sam-finetune --lr 1e-4 --exp_name NAME --config data.yaml
  python entry.py legacy sam-finetune --config data.yaml -- --overrides SOLVER.MAX_ITERS 100

The equivalent command of 'train' is printed first. Words after a final -- go to it."""


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parses the words after ``legacy`` with the table of the command that they name.

    Raises:
        UsageError: an unknown command, or a flag that the original does not have.
    """
    own, further = split_words(words)
    if own and own[0] in COMMANDS:
        command = COMMANDS[own[0]]
        parser = command.parser()
        _refuse_words_of_train(own[1:], parser)
        args = parser.parse_args(own[1:])
        args.command, args.further = command, further
        return args
    parser = _parser()
    if own and not own[0].startswith("-"):
        hint = did_you_mean(own[0], COMMANDS) or "."
        raise UsageError(f"unknown command {own[0]!r} of legacy{hint} Commands: {', '.join(COMMANDS)}.")
    return parser.parse_args(own)


def _refuse_words_of_train(words: Sequence[str], parser: VerbParser) -> None:
    """Says where options of ``train`` belong that stand among the original's flags."""
    of_train = set(train_parser().options()) - set(parser.options())
    found = next((word for word in words if word.partition("=")[0] in of_train), None)
    if found is not None:
        raise UsageError(f"{found} is an option of 'train': put it behind a final --, as in: -- {found} ...")


def _parser() -> VerbParser:
    commands = "\n".join(f"  {name}    {command.text}" for name, command in COMMANDS.items())
    parser = VerbParser("legacy", f"{HELP}\n\ncommands:\n{commands}", EXAMPLES)
    parser.add_argument("name", metavar="NAME", help="the command; 'legacy NAME --help' lists its flags and their keys")
    return parser


def run(args: argparse.Namespace) -> int:
    """Translates the command, says so, and trains; returns the exit code of ``train``."""
    from ..machine.launch import read_ranks
    from . import train

    translation = translate_command(args.command, args, args.further, os.environ)
    if is_first_process() and read_ranks().source != "--num-gpus":  # whoever started the processes has said it
        start = f"python {shlex.quote(sys.argv[0])}" if program() == "entry.py" else program()
        print(f"{start} {shlex.join(translation.words)}", flush=True)
        for notice in translation.notices:
            print(f"note: {notice}", file=sys.stderr)
    return train.run(train_parser().parse_args(translation.words[1:]))
