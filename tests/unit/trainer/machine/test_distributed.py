"""Devices, and one process that speaks to itself."""

import pytest
import torch

from segfoundry.trainer.machine.distributed import Processes, pick_device
from segfoundry.trainer.machine.launch import Ranks
from segfoundry.utils.errors import UserError

CPU = torch.device("cpu")


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
