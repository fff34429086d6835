"""Set-up shared by all tests: import path, threads, offline switches."""

import atexit
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

# The repository root must not be importable: our datasets/ would hide the package of that name (see entry.py).
sys.path[:] = [p for p in sys.path if Path(p or os.curdir).resolve() != ROOT]

# Processes that tests start find the package the same way.
_inherited = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and Path(p).resolve() != ROOT]
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), *(p for p in _inherited if p != str(ROOT / "src"))])

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# Tests neither read nor fill the user's cache.
os.environ["SEGFOUNDRY_CACHE"] = tempfile.mkdtemp(prefix="segfoundry-tests-")
atexit.register(shutil.rmtree, os.environ["SEGFOUNDRY_CACHE"], ignore_errors=True)

# A suite that a script starts in the background ignores Ctrl-C; the programs that tests interrupt must not inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No example fails because the machine is busy.
settings.register_profile("segfoundry", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("segfoundry")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With SEGFOUNDRY_INTEROP set (``make test-interop``), a skipped comparison with another package is a failure."""
    report = yield
    if report.skipped and os.environ.get("SEGFOUNDRY_INTEROP") and item.get_closest_marker("interop"):
        report.outcome = "failed"
        report.longrepr = f"skipped although make test-interop must run it: {report.longrepr}"
    return report
