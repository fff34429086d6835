"""The machine and the libraries."""

import os
import subprocess
import sys

import pytest
import torch

from segfoundry.trainer.machine.environment import check_torch, describe_machine, seed_all
from segfoundry.utils.errors import UserError

CPU = torch.device("cpu")


def test_torch_that_is_too_old_is_refused_with_the_pip_line(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(UserError, match=r"2\.9\.1.*2\.10.*pip install torch"):
        check_torch()


@pytest.mark.parametrize("fault", ["other build", "no library"])
def test_a_torchvision_that_does_not_fit_is_refused_with_the_pip_line(tmp_path, fault):
    """In a fresh interpreter: loaded operators stay loaded."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").touch()
    if fault == "other build":
        (tmp_path / "torchvision" / "_C.so").write_bytes(b"not a library for this torch")
    script = (
        "from segfoundry.trainer.machine.environment import check_torch\n"
        "from segfoundry.utils.errors import UserError\n"
        "try:\n    check_torch()\n"
        "except UserError as error:\n    print(error)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])}
    text = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True).stdout
    assert "torchvision" in text and "pip install --force-reinstall torch==" in text
    assert ("_C.so" if fault == "other build" else "operators are missing") in text


def test_this_environment_passes():
    check_torch()


def test_seed_all_repeats_and_accepts_large_seeds():
    seed_all(2**40)
    first = torch.rand(2)
    seed_all(2**40)
    assert torch.equal(torch.rand(2), first)


def test_description_is_complete():
    found = describe_machine(CPU, 2, "torchrun")
    assert found["packages"]["torch"] and found["processes"] == 2 and found["device"] == "cpu" and found["command"]
