"""Helpers of the configuration tests."""

from pathlib import Path

import pytest

from segfoundry.utils.config.engine import load_config
from segfoundry.utils.config.resolved import Resolved

SMALL = ("MODEL.NAME", "seem_model_v1")


@pytest.fixture
def override():
    """Returns a function that resolves a SEEM configuration with the given override words."""

    def run(*words: str) -> Resolved:
        return load_config([], [*SMALL, *words])

    return run


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes a file below ``tmp_path`` and returns its path."""

    def run(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return run
