"""Spoiled files and overrides by the thousand: each gives a result or one clear message, in time and within memory.

``make test-slow`` takes a few hundred, always the same ones; ``make test-fuzz`` takes them by the thousand, others each
time (``PYTEST_ARGS='--hypothesis-seed=N'`` repeats a run). An input that fails is kept under ``SEGFOUNDRY_FUZZ_KEEP``
(default ``runs/fuzz``) and is tried again by ``SEGFOUNDRY_FUZZ_AGAIN=FILE``, in this process, with its traceback.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from segfoundry.utils.errors import UserError

from .coco_targets import COCO
from .data_set_targets import PREPARATION, RECORDS
from .isolated import ROOT, Isolated, Outcome
from .odd_values import WRITERS, spoiled_files
from .overrides import compose, configurations
from .run_targets import RUNS
from .target import Target

TARGETS = {target.name: target for target in (*RECORDS, *PREPARATION, *COCO, *RUNS)}
PERCENT = float(os.environ.get("SEGFOUNDRY_FUZZ", 0))
FILES, OVERRIDES = (round(5000 * PERCENT / 100), round(10_000 * PERCENT / 100)) if PERCENT else (8 * len(TARGETS), 300)
KEEP = Path(os.environ.get("SEGFOUNDRY_FUZZ_KEEP", ROOT / "runs" / "fuzz"))
pytestmark = pytest.mark.slow


class Campaign:
    """Counts outcomes, and keeps the smallest input of each failure."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: set[bytes] = set()
        self.counts: dict[str, int] = {}
        self.failures: dict[tuple[str, str], tuple[int, bytes, Outcome]] = {}

    def is_new(self, value: Any) -> bool:
        """Says whether an input was not tried yet; variations of one input often repeat it."""
        digest = hashlib.sha256(pickle.dumps(value)).digest()
        new = digest not in self.seen
        self.seen.add(digest)
        return new

    def note(self, value: Any, outcome: Outcome) -> None:
        """Counts one outcome."""
        self.counts[outcome.kind] = self.counts.get(outcome.kind, 0) + 1
        if outcome.failed:
            data, key = pickle.dumps((self.name, value)), (outcome.kind, outcome.place)
            if key not in self.failures or len(data) < self.failures[key][0]:
                self.failures[key] = (len(data), data, outcome)

    def finish(self) -> None:
        """Prints the counts; fails with the list of failures, each with its file."""
        print(f"{self.name}: {', '.join(f'{n} {kind}' for kind, n in sorted(self.counts.items()))}")
        lines = []
        for (kind, place), (_, data, outcome) in sorted(self.failures.items()):
            KEEP.mkdir(parents=True, exist_ok=True)
            file = KEEP / f"{self.name.replace(' ', '_')}-{hashlib.sha256(data).hexdigest()[:10]}.pickle"
            file.write_bytes(data)
            file.with_suffix(".txt").write_text(f"{kind}: {place}\n{outcome.text}", errors="backslashreplace")
            lines.append(
                f"{self.name}: {kind}: {place}\n    {outcome.text[-300:].strip()}\n    SEGFOUNDRY_FUZZ_AGAIN={file}"
            )
        assert not lines, "\n".join([f"{len(lines)} kinds of failure", *lines])


def try_many(name: str, strategy: st.SearchStrategy[Any], check: Callable[[Any], None], count: int) -> None:
    """Runs a check on many inputs in a child process."""
    campaign = Campaign(name)
    with Isolated(check) as child:

        @settings(
            max_examples=4 * count, derandomize=not PERCENT, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(strategy)
        def one(value: Any) -> None:
            if len(campaign.seen) < count and campaign.is_new(value):
                campaign.note(value, child.outcome(value))

        began = time.monotonic()
        one()
    print(f"{time.monotonic() - began:.0f} s ", end="")
    campaign.finish()


def read_file(target: Target, folder: Path, content: bytes) -> None:
    """Puts a content in its place and reads it."""
    path = folder / target.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    target.read(folder)


@pytest.mark.parametrize("name", TARGETS)
def test_files(name, tmp_path):
    target = TARGETS[name]
    target.set_up(tmp_path)
    read_file(target, tmp_path, WRITERS[target.syntax](target.example))  # the example itself is accepted
    check = partial(read_file, target, tmp_path)
    try_many(name, spoiled_files(target.example, target.syntax), check, -(-FILES // len(TARGETS)))


def test_overrides(tmp_path):
    compose(
        tmp_path,
        {
            "arch": "sam",
            "file": b"SEED: 4\n",
            "words": ["SOLVER.BASE_LR", "1e-3"],
            "pieces": ['{"SEED": 5}'],
            "again": True,
        },
    )
    try_many("overrides", configurations(), partial(compose, tmp_path), OVERRIDES)


@pytest.mark.skipif("SEGFOUNDRY_FUZZ_AGAIN" not in os.environ, reason="no input to try again")
def test_again(tmp_path):
    name, value = pickle.loads(Path(os.environ["SEGFOUNDRY_FUZZ_AGAIN"]).read_bytes())
    if name == "overrides":
        check = partial(compose, tmp_path)
    else:
        TARGETS[name].set_up(tmp_path)
        check = partial(read_file, TARGETS[name], tmp_path)
    try:
        check(value)
    except UserError as error:
        print(f"refused: {error}")
