"""Stop signals: the first is remembered, a later one ends at once."""

import os
import signal
import subprocess
import sys
import time

import pytest

from segfoundry.trainer.machine import signals
from segfoundry.trainer.machine.signals import StopSignals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)])
def test_first_signal_is_remembered_with_the_shells_exit_code(number, code):
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert stop.exit_code == 0
        os.kill(os.getpid(), number)
        assert stop.received == number and stop.exit_code == code
    assert signal.getsignal(number) == before


def test_the_same_signal_delivered_twice_at_once_counts_once(monkeypatch):
    monkeypatch.setattr(signals.time, "monotonic", lambda: 100.0)
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received == signal.SIGTERM


@pytest.mark.parametrize(("second", "wait"), [(signal.SIGTERM, 1.2), (signal.SIGINT, 0.0)])
def test_a_second_signal_ends_at_once(second, wait):
    script = (
        "import time\nfrom segfoundry.trainer.machine.signals import StopSignals\n"
        "with StopSignals() as stop:\n"
        "    print('ready', flush=True)\n"
        "    while not stop.received: time.sleep(0.01)\n"
        "    print('first', flush=True)\n"
        "    while True: time.sleep(0.01)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGTERM)
    assert child.stdout.readline() == "first\n"
    time.sleep(wait)
    child.send_signal(second)
    # SIGINT's default in Python is KeyboardInterrupt only when Python installs it; the system default kills
    assert child.wait(300) == -second
    child.stdout.close()


def test_a_forked_child_leaves_the_decision_to_its_parent():
    with StopSignals() as stop:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGINT)
            os._exit(7 if stop.received == 0 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
