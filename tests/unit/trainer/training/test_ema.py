"""Averaged weights."""

import pytest
import torch

from segfoundry.trainer.training.ema import Ema

CPU = torch.device("cpu")


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
