"""Help is short, fast and imports nothing heavy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from segfoundry import __version__
from segfoundry.trainer.cli.main import VERBS, main

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "torchvision", "numpy", "transformers", "scipy", "cv2", "PIL", "matplotlib", "wandb"}
PROBE = f"""
import sys
from segfoundry.trainer.cli.main import main
code = main(sys.argv[1:])
print(code, sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)
"""


def probe(*words: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", PROBE, *words], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb(verb):
    out, loaded = probe(verb, "--help")
    assert loaded == "0 []"
    assert f"{verb} " in out and "examples:" in out and len(out.splitlines()) < 70


def test_help_and_errors_of_an_original_command_load_nothing_heavy(tmp_path):
    out, loaded = probe("legacy", "sam-finetune", "--help")
    assert loaded == "0 []" and "--virtual_batch_size" in out and "GRADIENT_ACCUMULATE_STEP" in out
    data = tmp_path / "data.yaml"
    data.write_text("dataset: {train: [{data_dir: none}]}")
    _, loaded = probe("legacy", "sam-finetune", "-c", str(data), "--alpha", "2")
    assert loaded == "2 []"


def test_config_and_its_errors_load_nothing_heavy():
    _, loaded = probe("config", "--conf_files", "configs/seem/tiny.yaml")
    assert loaded == "0 []"


def test_a_mistyped_key_is_answered_before_torch_loads():
    _, loaded = probe("train", "--conf_files", "configs/seem/tiny.yaml", "--overrides", "SOLVER.BASE_RL", "1")
    assert loaded.startswith("2 ") and "torch" not in loaded and "transformers" not in loaded


def test_overview_names_every_verb(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)
    assert main([]) == 2


def test_version(capsys):
    assert main(["--version"]) == 0 and capsys.readouterr().out == f"segfoundry {__version__}\n"
    assert main(["config", "--version"]) == 0 and capsys.readouterr().out == f"segfoundry {__version__}\n"


def test_help_takes_less_than_half_a_second_of_a_processor():
    def seconds() -> float:
        start = os.times()
        subprocess.run([sys.executable, str(ROOT / "entry.py"), "train", "--help"], capture_output=True, check=True)
        end = os.times()
        return end.children_user - start.children_user + end.children_system - start.children_system

    assert min(seconds() for _ in range(5)) < 0.5
