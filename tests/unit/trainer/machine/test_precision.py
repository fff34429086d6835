"""Arithmetic of training."""

import pytest
import torch

from segfoundry.trainer.machine.precision import Precision, build_precision
from segfoundry.utils.config.sections import Shared

CPU = torch.device("cpu")


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
