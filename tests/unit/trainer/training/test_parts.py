"""Optimizer, averaged weights, precision, memory messages, device choice, torch check."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from segfoundry.trainer.machine.distributed import Processes, pick_device
from segfoundry.trainer.machine.environment import check_torch, describe_machine, seed_all
from segfoundry.trainer.machine.launch import Ranks
from segfoundry.trainer.machine.memory_use import is_out_of_memory, memory_errors, peak_memory
from segfoundry.trainer.machine.precision import Precision, build_precision
from segfoundry.trainer.training.ema import Ema
from segfoundry.trainer.training.optimizer import build_optimizer, set_lr
from segfoundry.utils.config.sections import Shared
from segfoundry.utils.errors import ConfigError, UserError

CPU = torch.device("cpu")


def test_optimizers_and_learning_rate():
    weights = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))]
    groups = lambda: [{"params": [w], "lr": lr, "weight_decay": 0.0} for w, lr in zip(weights, (0.1, 0.2), strict=True)]  # noqa: E731
    solver = Shared().SOLVER
    adamw = build_optimizer(solver, groups(), CPU)
    assert isinstance(adamw, torch.optim.AdamW) and not adamw.defaults["fused"]
    set_lr(adamw, 0.5)
    set_lr(adamw, 0.5)
    assert [g["lr"] for g in adamw.param_groups] == [0.05, 0.1]
    adam = build_optimizer(replace(solver, OPTIMIZER="ADAM"), groups(), CPU)
    assert isinstance(adam, torch.optim.Adam) and not isinstance(adam, torch.optim.AdamW)
    sgd = build_optimizer(replace(solver, OPTIMIZER="SGD"), groups(), CPU)
    assert isinstance(sgd, torch.optim.SGD) and sgd.defaults["momentum"] == 0.9
    with pytest.raises(ConfigError, match="nothing trains"):
        build_optimizer(solver, [], CPU)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_update_shows_in_the_weights_version(device):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = build_optimizer(
        Shared().SOLVER, [{"params": [weight], "lr": 0.1, "weight_decay": 0.0}], torch.device(device)
    )
    assert optimizer.defaults["fused"] is (True if device == "cuda" else None)  # runs on the CPU, too
    before = weight._version
    weight.grad = torch.ones(2)
    optimizer.step()
    assert weight._version > before


def test_average_follows_the_formula_and_is_exchanged_only_inside_the_block():
    weight = torch.nn.Parameter(torch.zeros(3))
    ema = Ema({"w": weight}, 0.5)
    expected = 0.0
    for updates, value in enumerate((1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0), start=1):
        weight.data.fill_(value)
        ema.update(updates)
        decay = min(0.5, (1 + updates) / (10 + updates))
        expected = decay * expected + (1 - decay) * value
    with pytest.raises(RuntimeError), ema.applied():
        torch.testing.assert_close(weight.data, torch.full((3,), expected))
        raise RuntimeError
    assert weight.data.tolist() == [8.0] * 3
    torch.testing.assert_close(ema.tensors()["w"], torch.full((3,), expected))


def test_precision_follows_the_keys():
    assert build_precision(Shared(), CPU).name == "fp32"
    precision = build_precision(Shared(PRECISION="bf16"), CPU)
    with precision.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("values", [{"FP16": True}, {"PRECISION": "fp16"}])
def test_fp16_away_from_cuda_becomes_fp32_with_a_notice(values, caplog):
    cfg = Shared(**values)
    with caplog.at_level("WARNING", logger="segfoundry"):
        assert build_precision(cfg, CPU).name == "fp32"
    assert "fp32" in caplog.text and next(iter(values)) in caplog.text


def test_fp16_overflow_skips_the_update_and_lowers_the_scale_which_is_saved():
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    precision = Precision("fp16", CPU)
    start = precision.state()["scale"]
    precision.backward((weight * 3).sum())
    precision.unscale(optimizer)
    assert weight.grad.item() == pytest.approx(3)
    precision.step(optimizer, update=True)
    assert weight.item() == pytest.approx(0.7)
    weight.grad = torch.tensor([float("inf")])
    precision.unscale(optimizer)
    assert precision.overflow_is_normal()
    precision.step(optimizer, update=False)
    assert weight.item() == pytest.approx(0.7) and precision.state()["scale"] == start / 2
    other = Precision("fp16", CPU)
    other.load(precision.state())
    assert other.state() == precision.state()


def test_memory_messages():
    assert is_out_of_memory(MemoryError()) and is_out_of_memory(torch.OutOfMemoryError("x"))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not is_out_of_memory(ValueError("not enough memory")) and not is_out_of_memory(RuntimeError("shape"))
    with (
        pytest.raises(UserError, match=r"out of memory on cpu \(peak .*B\).*KEY.A; KEY.B"),
        memory_errors(CPU, ("KEY.A", "KEY.B")),
    ):
        raise MemoryError
    with pytest.raises(RuntimeError, match="shape"), memory_errors(CPU, ()):
        raise RuntimeError("shape")
    assert peak_memory(CPU) > 10_000_000


def test_device_choice(monkeypatch):
    one = Ranks()
    assert pick_device("cpu", one) == CPU
    for wrong in ("gpu", "xla:0", "meta"):
        with pytest.raises(UserError, match="DEVICE"):
            pick_device(wrong, one)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match="no CUDA device.*DEVICE cpu"):
        pick_device("cuda", one)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto", one) == torch.device("cuda", 0)
    assert pick_device("cuda:1", one) == torch.device("cuda", 1)
    assert pick_device("auto", Ranks(1, 2, 1, 2)) == torch.device("cuda", 1)
    with pytest.raises(UserError, match="2 GPU"):
        pick_device("auto", Ranks(2, 3, 2, 3))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("auto", Ranks(1, 2, 1, 2, "Slurm")) == torch.device("cuda", 0)


def test_one_process_speaks_to_itself():
    with Processes(Ranks(), CPU) as processes:
        assert processes.all_gather(3) == processes.gather(3) == [3]
        assert processes.broadcast("x") == "x" and processes.on_main(lambda: 5) == 5
        value = torch.tensor([2.0])
        assert processes.sum_(value) is value and processes.min_(value).item() == 2.0


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
