"""SEEM against recorded tensors, one test per output; ``-k "golden and seem and focalnet"`` selects a part."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from ....support import goldens
from .golden_pending import PENDING

for _path in sorted((Path(__file__).parent / "golden_cases").glob("*.py")):
    importlib.import_module(f".golden_cases.{_path.stem}", __package__)


@goldens.parametrize("seem", PENDING)
def test_output(case: goldens.Case | None, output: str) -> None:
    goldens.check(case, output)


@pytest.mark.skipif(not goldens.uses_default_folder(), reason="another set of goldens may hold fewer cases")
def test_pending_table_has_no_stale_entry() -> None:
    assert goldens.stale_patterns("seem", PENDING) == []
