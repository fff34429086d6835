"""What the verbs share: the parser, the configuration options and how they are resolved."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ...utils.errors import UserError, did_you_mean
from ...utils.paths import nearest_path, user_path
from ...utils.version import __version__

if TYPE_CHECKING:
    from ...utils.config.resolved import Resolved

# options that take every word up to the next known option, "-0.1" and "--x" included
_GREEDY = ("--overrides", "--config_overrides")
_RANK_VARIABLES = ("RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")


class UsageError(UserError):
    """The command line itself is wrong."""


def program() -> str:
    """Returns the program's name as the user called it: ``entry.py`` or ``segfoundry``."""
    return "entry.py" if os.path.basename(sys.argv[0]) == "entry.py" else "segfoundry"


class VerbParser(argparse.ArgumentParser):
    """Parser of one verb: no abbreviations, errors as ``UsageError`` with the nearest option, options in any order.

    Args:
        verb: name of the verb.
        text: one line saying what it does.
        examples: shown at the end of its help.
    """

    def __init__(self, verb: str, text: str, examples: str) -> None:
        super().__init__(
            prog=f"{program()} {verb}",
            description=text,
            epilog=f"examples:\n{examples.strip(chr(10))}",
            allow_abbrev=False,
            formatter_class=_HelpFormatter,
        )
        self.verb = verb
        self.add_argument("--version", action="version", version=f"segfoundry {__version__}", help=argparse.SUPPRESS)

    def parse_args(self, words: Sequence[str], namespace: Any = None) -> argparse.Namespace:  # type: ignore[override]
        """Parses the words after the verb.

        Raises:
            UsageError: on an unknown option, a missing one, or a key without a value.
        """
        rest, collected = self._take_greedy(list(words))
        # Before argparse misses a required option that was only mistyped.
        mistyped = [w for w in rest if w.startswith("--") and w.partition("=")[0] not in (*self.options(), "--")]
        if mistyped:
            self.error(self._unknown(mistyped))
        args, unknown = self.parse_known_args(rest, namespace)
        if unknown:
            self.error(self._unknown(unknown))
        for option, found in collected.items():
            setattr(args, option.lstrip("-"), found)
        return args

    def error(self, message: str) -> NoReturn:
        """Raises ``UsageError``; argparse calls it with its own complaints."""
        raise UsageError(f"{message} ({self.prog} --help lists the options)")

    def options(self) -> list[str]:
        """Returns all options, short forms included."""
        return list(self._option_string_actions)

    def _take_greedy(self, words: list[str]) -> tuple[list[str], dict[str, list[str]]]:
        """Cuts the greedy options and their words out, because argparse would take ``-1e-3`` for an option."""
        options = set(self.options())
        collected: dict[str, list[str]] = {}
        rest: list[str] = []
        current: str | None = None
        for word in words:
            name, equals, value = word.partition("=")
            if name in options and name.startswith("-"):
                current = name if name in _GREEDY else None
                if current is None:
                    rest.append(word)
                else:
                    collected.setdefault(current, []).extend([value] if equals else [])
            elif current is None:
                rest.append(word)
            else:
                found = collected[current]
                if current == "--overrides" and name.startswith("--") and expects_key(found):
                    self.error(self._unknown([word]))
                found.append(word)
        return rest, collected

    def _unknown(self, words: list[str]) -> str:
        word = next((w for w in words if w.startswith("-")), words[0])
        if not word.startswith("-"):
            return (
                f"unexpected word {word!r}{'; KEY VALUE follow --overrides' if '.' in word or word.isupper() else ''}"
            )
        return f"unknown option {word}{did_you_mean(word.partition('=')[0], self.options())}"


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=110)


def expects_key(words: Sequence[str]) -> bool:
    """True if the next word of ``--overrides`` after these is a key, not the value of one."""
    value_next = False
    for word in words:
        value_next = not value_next and "=" not in word
    return not value_next


def count_option(text: str) -> int:
    """Reads an option's value that counts something, for ``type=``."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 0 or more")
    return int(text)


def check_result_file(option: str, path: str | None, mark: str) -> None:
    """Refuses a place for a JSON result that holds anything else than an earlier result.

    Args:
        option: option that names the place, for the message.
        path: the place; None: nothing is to be written.
        mark: a key of every result of this kind.

    Raises:
        UsageError: a folder, or a file that the command did not write, is there.
    """
    if path is not None and os.path.isdir(path):
        raise UsageError(f"{option} {path} is a folder; name a file")
    if path is None or not os.path.isfile(path):
        return
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError):
        content = None
    if not (isinstance(content, dict) and mark in content):
        raise UsageError(f"{option} {path} holds something else than an earlier result; name another file")


def add_weights_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--weights`` of the verbs that use a trained network."""
    parser.add_argument(
        "--weights",
        required=True,
        metavar="PATH",
        help="run folder, checkpoint folder, or weight file (.safetensors, .pt, .pth)",
    )


def check_weights(path: str, key: str = "--weights") -> None:
    """Refuses a path that leads to no weights, before anything heavy is loaded.

    Args:
        path: file or folder, as the user wrote it.
        key: option or key that names it, for messages.

    Raises:
        CheckpointError: nothing is there, or a folder without weights.
    """
    from ...modeling.weights.weight_places import find_weights, weights_in_folder

    found = find_weights(path, key)
    if found.is_dir():
        weights_in_folder(found)


def check_there(option: str, path: str, kind: str = "file") -> None:
    """Refuses a path that leads nowhere, before anything heavy is loaded.

    Args:
        option: option that names the path, for the message.
        path: as the user wrote it.
        kind: what is expected, "file" or "folder"; another kind of thing there is left to who reads it.

    Raises:
        UsageError: nothing is there; names what is most like it.
    """
    if not os.path.exists(user_path(path)):
        raise UsageError(f"{option} {path}: no such {kind}{nearest_path(path)}")


def add_config_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Adds the options that name a configuration.

    Args:
        parser: parser of the verb.
        required: whether ``--conf_files`` must be given.
    """
    group = parser.add_argument_group("configuration")
    group.add_argument(
        "--conf_files",
        nargs="+",
        action="extend",
        required=required,
        metavar="YAML",
        help="files, merged left to right",
    )
    group.add_argument(
        "--overrides",
        nargs="*",
        default=[],
        metavar="WORD",
        help="KEY VALUE or KEY=VALUE ..., e.g. SOLVER.BASE_LR 1e-4",
    )
    group.add_argument(
        "--config_overrides", nargs="*", default=[], metavar="JSON", help="one JSON object, e.g. '{\"SEED\": 1}'"
    )
    group.add_argument("--user_dir", metavar="DIR", help="accepted for old scripts; nothing is imported from it")


def resolve(args: argparse.Namespace, conf_files: Sequence[str] | None = None) -> Resolved:
    """Composes the configuration that the options name and prints its notices (first process only).

    Args:
        args: parsed options of ``add_config_arguments``.
        conf_files: files to use when ``--conf_files`` was not given, e.g. the one saved in a run folder.

    Raises:
        ConfigError: see ``load_config``.
    """
    from ...utils.config.engine import load_config

    resolved = load_config(args.conf_files or conf_files or [], args.overrides, args.config_overrides)
    notices = list(resolved.notices)
    if args.user_dir:
        notices.insert(0, f"--user_dir {args.user_dir} has no effect: no code is imported from the configuration.")
    if is_first_process():
        for notice in notices:
            print(f"note: {notice}", file=sys.stderr)
    return resolved


def is_first_process() -> bool:
    """True unless a launcher (torchrun, Open MPI, Slurm) says that this is another process of the same job."""
    rank = next((os.environ[v] for v in _RANK_VARIABLES if v in os.environ), "0")
    return rank == "0"
