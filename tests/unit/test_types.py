"""The type check knows the configuration: a misspelt key is found where it is read."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

READERS = """
from segfoundry.datasets.pipelines.sam import SamPipeline
from segfoundry.datasets.pipelines.seem import SeemPipeline
from segfoundry.modeling.seem.config import SeemConfig
from segfoundry.trainer.plan import Plan
from segfoundry.utils.config.sections import Shared, Solver


def shared(cfg: Shared, solver: Solver, plan: Plan, seem: SeemConfig, sam: SamPipeline, more: SeemPipeline) -> object:
    return (
        cfg.SOLVER.{BASE_LR},
        solver.CLIP_GRADIENTS.{CLIP_VALUE},
        plan.cfg.TRAIN.{BATCH_SIZE_TOTAL},
        seem.MODEL.DECODER.TEST.{PANOPTIC_ON},
        sam.cfg.SAM.DLO.AUG.{FG_P},
        more.cfg.INPUT.{MAX_PIXELS},
    )
"""
KEYS = ("BASE_LR", "CLIP_VALUE", "BATCH_SIZE_TOTAL", "PANOPTIC_ON", "FG_P", "MAX_PIXELS")


def complaints(tmp_path, **names):
    file = tmp_path / "reader.py"
    file.write_text(READERS.format(**{key: names.get(key, key) for key in KEYS}))
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if "reader.py" in line and "error" in line]


@pytest.mark.slow
def test_a_misspelt_key_is_an_error_of_types(tmp_path):
    assert complaints(tmp_path) == []
    wrong = {key: f"{key}S" for key in KEYS}
    found = complaints(tmp_path, **wrong)
    assert len(found) == len(KEYS) and all(any(f'"{key}S"' in line for line in found) for key in KEYS), found
