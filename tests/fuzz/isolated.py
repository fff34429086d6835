"""A child process that takes whatever a file does to it: endless loops, crashes of native code, memory."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import resource
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segfoundry.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
MOST_SECONDS = 5.0  # of processor time for one input
MOST_MEMORY = 1 << 30  # bytes beyond what the process held before
LONGEST_MESSAGE = 4000
_PATIENCE = 60.0  # seconds of the clock, on a machine that does other things as well
_OUR_FOLDERS = ("datasets", "modeling", "trainer", "utils")


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    Attributes:
        kind: "result", "refused" (a UserError), or a failure: "traceback", "hang", "memory", "crash", "long message".
        place: where a failure happened, the same for the same cause.
        text: message or traceback.
    """

    kind: str
    place: str = ""
    text: str = ""

    @property
    def failed(self) -> bool:
        """True for everything but a result and a refusal."""
        return self.kind not in ("result", "refused")


class Isolated:
    """Runs one check on many inputs in a forked child, which is replaced when an input ends it.

    Args:
        check: called with the input; raises UserError to refuse it.
    """

    def __init__(self, check: Callable[[Any], None]) -> None:
        self._check = check
        self._child: Any = None

    def __enter__(self) -> Isolated:
        return self

    def __exit__(self, *_: Any) -> None:
        self._end()

    def outcome(self, value: Any) -> Outcome:
        """Gives the input to the child and waits for what becomes of it."""
        if self._child is None:
            self._start()
        try:
            self._pipe.send(value)
            return self._answer()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._child.join()
            code, stack = self._child.exitcode, self._stacks.read_text(errors="replace")
            self._end()
            return Outcome("crash", _place_of_stack(stack), f"the process ended with {code}\n{stack}")

    def _answer(self) -> Outcome:
        began, used = time.monotonic(), _seconds_of(self._child.pid)
        while not self._pipe.poll(0.2):
            spent = _seconds_of(self._child.pid) - used
            if spent > MOST_SECONDS or time.monotonic() - began > _PATIENCE:
                return self._hang(spent)
        return Outcome(*self._pipe.recv())

    def _hang(self, spent: float) -> Outcome:
        os.kill(self._child.pid, signal.SIGUSR1)  # faulthandler writes the stack even from within native code
        time.sleep(0.3)
        stack = self._stacks.read_text(errors="replace")
        self._end()
        return Outcome("hang", _place_of_stack(stack), f"no answer after {spent:.0f} s of processor time\n{stack}")

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        handle, name = tempfile.mkstemp(prefix="segfoundry-fuzz-")
        os.close(handle)
        self._stacks = Path(name)
        self._child = context.Process(target=_serve, args=(theirs, self._check, self._stacks), daemon=True)
        self._child.start()
        theirs.close()

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.join()
            self._pipe.close()
            self._stacks.unlink(missing_ok=True)
            self._child = None


def _serve(pipe: Any, check: Callable[[Any], None], stacks: Path) -> None:
    with stacks.open("w") as file, open(os.devnull, "w") as nowhere:
        faulthandler.enable(file)
        faulthandler.register(signal.SIGUSR1, file)
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        limit = _status("VmSize") + MOST_MEMORY + (MOST_MEMORY >> 1)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        while True:
            pipe.send(_judged(check, pipe.recv()))


def _judged(check: Callable[[Any], None], value: Any) -> tuple[str, str, str]:
    """Returns kind, place and text of an outcome."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before, began = _status("VmRSS"), time.process_time()
    kind, place, text = "result", "", ""
    try:
        check(value)
    except UserError as error:
        kind, text = "refused", str(error)
        if len(text) > LONGEST_MESSAGE:
            kind, place, text = "long message", _place(error), f"{len(text)} characters: {text[:300]}"
        elif "out of memory" in text:
            kind = "memory"
    except MemoryError as error:
        kind, place, text = "memory", _place(error), traceback.format_exc()
    except BaseException as error:
        kind, place, text = "traceback", _place(error), "".join(traceback.format_exception(error, limit=-12))[-6000:]
    if _status("VmHWM") - before > MOST_MEMORY:
        return "memory", place, f"{(_status('VmHWM') - before) / 2**20:.0f} MiB; {text}"
    if time.process_time() - began > MOST_SECONDS:
        return "hang", place, f"{time.process_time() - began:.1f} s of processor time; {text}"
    return kind, place, text.encode("utf-8", "backslashreplace").decode()


def _place(error: BaseException) -> str:
    """Names the error and the innermost line of ours that it came through."""
    ours = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = Path(frame.f_code.co_filename).resolve()  # the package's folders are links
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in _OUR_FOLDERS:
            ours = f"{path.relative_to(ROOT)}:{line} {frame.f_code.co_name}"
    return f"{type(error).__name__} at {ours}"


def _place_of_stack(stack: str) -> str:
    """Names the innermost line of ours in what faulthandler wrote."""
    lines = [line.strip() for line in stack.splitlines() if "/src/segfoundry/" in line]
    return lines[0].partition("/src/segfoundry/")[2] if lines else ""


def _status(name: str) -> int:
    """Returns a size in bytes from the process's own status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) << 10
    raise KeyError(name)


def _seconds_of(process: int) -> float:
    """Returns the processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
