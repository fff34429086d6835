"""How the command line ends: exit codes and messages."""

import errno
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from segfoundry.trainer.cli import main as module
from segfoundry.utils.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def verb(monkeypatch):
    """Returns a function that installs a verb "probe" which raises or returns the given thing, and runs it."""

    def run(outcome, *words: str) -> int:
        def act(args):
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        fake = types.SimpleNamespace(
            HELP="probe", EXAMPLES="  probe", add_arguments=lambda p: p.add_argument("--depth", type=int), run=act
        )
        monkeypatch.setitem(sys.modules, "segfoundry.trainer.cli.probe", fake)
        monkeypatch.setitem(module.VERBS, "probe", "probe")
        return module.main(["probe", *words])

    return run


@pytest.mark.parametrize("code", [0, 1])
def test_the_code_of_the_verb_is_the_exit_code(verb, code):
    assert verb(code) == code


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DataError("image.png: cut off"), "error: image.png: cut off"),
        (OSError(errno.ENOSPC, "No space left on device", "out.png"), "error: out.png: no space left"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.yaml"), "error: a.yaml: No such file"),
        (MemoryError("Unable to allocate 7 PiB"), "error: out of memory"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "out"), "error: out: Is a directory"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), "error: runs: Permission denied"),
    ],
)
def test_trouble_of_the_user_is_one_line_and_code_2(verb, capsys, error, text):
    assert verb(error) == 2
    err = capsys.readouterr().err
    assert err.startswith(text) and len(err.splitlines()) == 1
    assert verb(error, "--debug") == 2 and "Traceback" in capsys.readouterr().err


def test_faults_of_the_program_keep_their_traceback(verb):
    with pytest.raises(ZeroDivisionError):
        verb(ZeroDivisionError())


def test_interrupted(verb):
    assert verb(KeyboardInterrupt()) == 130


def test_sigterm_tidies_up_like_ctrl_c(capsys, monkeypatch):
    done = []

    def act(args):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            done.append("tidy")

    monkeypatch.setattr(module, "_run", act)
    assert module.main(["probe"]) == 143 and done == ["tidy"]
    assert capsys.readouterr().err == "terminated\n" and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_wrong_options_name_the_help(verb, capsys):
    assert verb(0, "--depth", "deep") == 2
    assert "invalid int value" in capsys.readouterr().err
    assert verb(0, "--dept", "3") == 2
    assert "did you mean '--depth'" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} entry.py config --conf_files configs/seem/tiny.yaml | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("# Resolved") and "Traceback" not in done.stderr and "Broken" not in done.stderr
