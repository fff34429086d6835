"""The command line: finds the verb, imports only its module, and turns user errors into one line and exit code 2."""

from __future__ import annotations

import errno
import importlib
import io
import os
import signal
import sys
import threading
import traceback
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import NoReturn

from ...utils.errors import UserError, did_you_mean
from ...utils.paths import nearest_path
from ...utils.version import __version__
from .common import UsageError, VerbParser

# verb -> what it does; its module is trainer/cli/<verb>.py
VERBS = {
    "prepare": "turn masks or COCO annotations into a data set",
    "validate": "check a data set before training",
    "train": "train or fine-tune a model",
    "evaluate": "measure a model on a data set",
    "predict": "run a model on pictures or video",
    "demo": "click on images in a page on this machine",
    "convert": "rewrite weights so that they need nothing beside them",
    "export": "write a network for other programs (torch.export, ONNX)",
    "score": "measure prediction files of any tool against ground truth",
    "config": "show, compare or explain configurations",
    "legacy": "run the command line of an original training script",
    "report": "write the HTML report of a run",
}
# trouble with the user's disk or paths, not with the program
_DISK_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
}
_INTERRUPTED = 130


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what Ctrl-C tidies up is tidied up then, too."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: words after the program's name; None: those of this process.

    Returns:
        Exit code: 0 done, 1 a check found faults (verb-specific) or the program failed, 2 bad input, 130 interrupted,
        143 terminated.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a file name need not be UTF-8
    debug = "--debug" in words
    words = [w for w in words if w != "--debug"]
    if argv is None and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _raise_interrupted)
    try:
        with _termination():
            return _run(words)
    except UserError as error:
        return _fail(str(error), debug)
    except Terminated:
        print("terminated", file=sys.stderr)
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        text = "out of memory; lower the image size, the batch size or the number of loader processes"
        return _fail(f"{text} ({error})" if str(error) else text, debug)
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        return _fail(_disk_text(error), debug)


@contextmanager
def _termination() -> Iterator[None]:
    """Raises ``Terminated`` on SIGTERM, unless the caller of ``main`` handles that signal in its own way."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise_interrupted(_number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient second Ctrl-C must not break off the orderly end
    raise KeyboardInterrupt


def _raise_terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def _run(words: list[str]) -> int:
    if words and words[0] in ("--version", "-V"):
        print(f"segfoundry {__version__}")
        return 0
    if not words or words[0] in ("--help", "-h", "help"):
        print(overview())
        return 0 if words else 2
    verb = words[0]
    if verb not in VERBS:
        raise UsageError(f"unknown verb {verb!r}{did_you_mean(verb, VERBS) or '.'} Verbs: {', '.join(VERBS)}.")
    # Must stand before torch is loaded. On two idle cores threads that spin while they wait gain nothing measurable;
    # beside one other busy process a training step takes 1.7 times as long with them (docs/benchmarks.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    module = importlib.import_module(f".{verb}", __package__)
    parse = getattr(module, "parse", None)  # a verb whose options depend on its first word
    try:
        args = parse(words[1:]) if parse else _parse(verb, module, words[1:])
    except SystemExit as done:  # argparse after --help and --version
        return int(done.code or 0)
    return module.run(args)


def _parse(verb: str, module: ModuleType, words: Sequence[str]) -> Namespace:
    parser = VerbParser(verb, module.HELP, module.EXAMPLES)
    module.add_arguments(parser)
    return parser.parse_args(words)


def overview() -> str:
    """Returns the text of ``--help`` without a verb."""
    from .common import program

    name = program()
    verbs = "\n".join(f"  {verb:<10}{text}" for verb, text in VERBS.items())
    return (
        f"{name} VERB [options]    panoptic, semantic and instance segmentation: train, measure, predict\n\n{verbs}\n\n"
        f"  {name} VERB --help    options and examples of one verb\n"
        f"  {name} --version\n"
        "  --debug               with any verb: show the traceback of an error"
    )


def _fail(text: str, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    sys.stdout.flush()
    print(f"error: {text}", file=sys.stderr)
    return 2


def _disk_text(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}no space left; free some, or let SAVE_DIR or --output point to another disk"
    near = nearest_path(os.fsdecode(error.filename)) if error.errno == errno.ENOENT and where else ""
    return f"{where}{error.strerror}{near}"
