"""SIGTERM, SIGINT and SIGUSR1 ask for a checkpoint and an orderly end; the second one ends at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

from ...utils.logging import get_logger

log = get_logger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# A launcher that passes a signal on, and a scheduler that sends it to the whole group, act within this time.
_SAME_SECONDS = 1.0


class StopSignals:
    """Remembers the first stop signal while the block runs.

    The same signal again within a second is taken for the first one delivered twice (torchrun and Slurm both pass
    signals on); any later one restores the default behaviour and ends the process.

    Args:
        promise: what happens next, told to the user.

    Attributes:
        received: number of the signal, 0 when none came.
    """

    def __init__(self, promise: str = "writing a checkpoint at the end of this step") -> None:
        self.promise = promise
        self.received = 0
        self._since = 0.0
        self._owner = os.getpid()
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def exit_code(self) -> int:
        """128 + signal as shells have it (SIGTERM 143, SIGINT 130, SIGUSR1 138); 0 without a signal."""
        return 128 + self.received if self.received else 0

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a forked loader process inherits the handler; its parent decides
            return
        now = time.monotonic()
        if not self.received:
            self.received, self._since = number, now
            log.warning("%s: %s; send it again to end at once", signal.Signals(number).name, self.promise)
        elif number != self.received or now - self._since > _SAME_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
