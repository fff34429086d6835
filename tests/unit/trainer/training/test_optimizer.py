"""The optimizer: kinds, learning rates, versions of weights."""

from dataclasses import replace

import pytest
import torch

from segfoundry.trainer.training.optimizer import build_optimizer, set_lr
from segfoundry.utils.config.sections import Shared
from segfoundry.utils.errors import ConfigError

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
