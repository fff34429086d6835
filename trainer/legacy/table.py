"""Command lines of original training scripts as tables: flag, default, and the keys that it sets. Imports no torch.

A table says everything about one script: the verb ``legacy`` makes a parser, a help text and the equivalent ``train``
command from it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...utils.config.engine import load_config
from ...utils.config.plain import Plain
from ...utils.config.resolved import Resolved, origin_is_user
from ...utils.config.values import convert_value
from ...utils.errors import ConfigError
from ..cli.common import UsageError, VerbParser

Values = Mapping[str, str]
"""Dotted key -> value, as words of ``--overrides``."""


@dataclass(frozen=True)
class Flag:
    """One flag of an original command line.

    Attributes:
        name: with its dashes.
        text: what it means.
        keys: the keys that it sets, for people; without ``sets`` the first one gets the flag's value. Not needed where
            a switch has ``sets``.
        short: one-letter form with its dash, or empty.
        type: int, float or str; None: a switch, which takes no value.
        default: what the original does without the flag, in words; empty for switches.
        sets: text of the value ("True" for a switch) -> keys with their values; None: as ``keys`` says.
        absent: keys with the values that the flag's absence sets. Defaults that the configuration files hold already do
            not belong here.
        is_file: the value is a configuration file that joins the others.
    """

    name: str
    text: str
    keys: tuple[str, ...] = ()
    short: str = ""
    type: type | None = str
    default: str = ""
    sets: Callable[[str], Values] | None = None
    absent: Values = field(default_factory=dict)
    is_file: bool = False

    @property
    def dest(self) -> str:
        """Name of the option in parsed arguments."""
        return self.name.lstrip("-")

    def values(self, text: str | None) -> Values:
        """Returns the keys that the flag sets; ``text`` is its value, or None when it was not given."""
        if text is None or self.is_file:
            return self.absent
        if self.sets is not None:
            return self.sets(text)
        return {self.keys[0]: text} if self.keys else {}

    @property
    def help(self) -> str:
        """The flag's text with its default and its keys; for a switch with their values, too."""
        default = f" (default {self.default})" if self.default else ""
        keys = self.keys if self.type is not None else [f"{key} {value}" for key, value in self.values("True").items()]
        return f"{self.text}{default}" + (f" -> {', '.join(keys)}" if keys else "")


@dataclass(frozen=True)
class Given:
    """What the user wrote.

    Attributes:
        flags: name of an original flag, without dashes -> text of its value; only flags that were given.
        resolved: the configuration of the files and of the user's own overrides, without what the flags set.
        environ: environment variables.
    """

    flags: Mapping[str, str]
    resolved: Resolved
    environ: Mapping[str, str]

    def named(self, key: str) -> bool:
        """True if the user's own files or overrides set a key."""
        return origin_is_user(self.resolved, key)


@dataclass(frozen=True)
class LegacyCommand:
    """One original command line.

    Attributes:
        name: as in ``legacy NAME``.
        text: one line saying what it does.
        examples: shown at the end of its help.
        conf_files: shipped configuration files that hold the original's constants.
        flags: all of its flags.
        rules: returns further keys that the flags together ask for, and what the user should know.
        remarks: what the user should know once the whole configuration is composed.
    """

    name: str
    text: str
    examples: str
    conf_files: tuple[str, ...]
    flags: tuple[Flag, ...]
    rules: Callable[[Given], tuple[Values, list[str]]] = lambda given: ({}, [])
    remarks: Callable[[Given, Any], list[str]] = lambda given, cfg: []

    def parser(self) -> VerbParser:
        """Returns the parser of the original flags; its help names the keys."""
        parser = VerbParser(f"legacy {self.name}", f"{self.text} Words after a final -- go to 'train'.", self.examples)
        for flag in self.flags:
            names = [flag.short, flag.name] if flag.short else [flag.name]
            if flag.type is None:
                parser.add_argument(*names, dest=flag.dest, action="store_const", const="True", help=flag.help)
            else:
                metavar = {int: "N", float: "X", str: "FILE" if flag.is_file else "TEXT"}[flag.type]
                parser.add_argument(*names, dest=flag.dest, type=_checked(flag.type), metavar=metavar, help=flag.help)
        return parser


@dataclass(frozen=True)
class Translation:
    """The ``train`` command that an original one stands for.

    Attributes:
        words: its words, the verb first.
        notices: what the user should know, one sentence each.
    """

    words: list[str]
    notices: list[str]


def _checked(kind: type) -> Callable[[str], str]:
    """Returns a check that leaves the text as it was written."""

    def check(text: str) -> str:
        try:
            convert_value(Plain(text), kind)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
        return text

    return check


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the original's words and those after the first ``--``, which go to ``train``."""
    at = list(words).index("--") if "--" in words else len(words)
    return list(words[:at]), list(words[at + 1 :])


def translate_command(
    command: LegacyCommand, arguments: argparse.Namespace, further: Sequence[str], environ: Mapping[str, str]
) -> Translation:
    """Turns an original command line into one of ``train``.

    Keys that the user names after ``--`` keep the user's values.

    Args:
        command: the table.
        arguments: what ``command.parser()`` parsed.
        further: words for ``train``.
        environ: environment variables.

    Raises:
        UsageError: a word for ``train`` is wrong.
        ConfigError: a file or a value is wrong; names the flag beside the key.
    """
    flags = {f.dest: text for f in command.flags if (text := getattr(arguments, f.dest)) is not None}
    files = [*command.conf_files, *(flags[f.dest] for f in command.flags if f.is_file and f.dest in flags)]
    own = train_parser().parse_args(["--conf_files", *files, *further])
    given = Given(flags, load_config(own.conf_files, own.overrides, own.config_overrides), environ)
    values: dict[str, str] = {}
    for flag in command.flags:
        values |= flag.values(flags.get(flag.dest))
    more, notices = command.rules(given)
    values |= more
    written = {k for k, origin in given.resolved.origins.items() if origin in ("--overrides", "--config_overrides")}
    pairs = [word for key, text in values.items() if key not in written for word in _pair(key, text)]
    cfg = _compose(command, own, pairs, flags)
    words = ["train", "--conf_files", *files]
    if pairs:
        words += ["--overrides", *pairs]
    joins = bool(pairs) and list(further[:1]) == ["--overrides"]  # one --overrides reads better than two
    return Translation([*words, *further[int(joins) :]], notices + command.remarks(given, cfg))


def train_parser() -> VerbParser:
    """Returns the parser of the verb ``train``."""
    from ..cli import train

    parser = VerbParser("train", train.HELP, train.EXAMPLES)
    train.add_arguments(parser)
    return parser


def _pair(key: str, text: str) -> list[str]:
    # A word such as --resume would end the overrides.
    return [f"{key}={text}"] if text.startswith("-") else [key, text]


def _compose(command: LegacyCommand, own: argparse.Namespace, pairs: list[str], flags: Mapping[str, str]) -> Any:
    """Returns the whole configuration; an error about a key that a flag sets names the flag, too."""
    try:
        return load_config(own.conf_files, [*pairs, *own.overrides], own.config_overrides).cfg
    except ConfigError as error:
        given = [(f.name, key) for f in command.flags if f.dest in flags for key in f.values(flags[f.dest])]
        guilty = [f"{flag} sets {key}" for flag, key in given if key in str(error)]
        if not guilty:
            raise
        raise ConfigError(f"{error} ({'; '.join(guilty)})") from error


def require(given: Given, flag: str, keys: Sequence[str], text: str) -> None:
    """Refuses a command line that lacks a flag, unless the user sets one of ``keys`` instead.

    Raises:
        UsageError: neither is there.
    """
    if flag.lstrip("-") not in given.flags and not any(given.named(key) for key in keys):
        raise UsageError(f"{flag} is missing: {text}")
