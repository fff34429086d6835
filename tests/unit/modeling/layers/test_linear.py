"""The linear layer gives the framework's results and gradients, whichever way it computes them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segfoundry.modeling.layers import linear as module
from segfoundry.modeling.layers.linear import Linear, linear


@pytest.fixture(params=[(True, 1), (True, 2), (False, 1)], ids=["convolution", "convolution-2-threads", "product"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    slow_products, threads = request.param
    monkeypatch.setattr(module, "_slow_products", lambda: slow_products)
    monkeypatch.setattr(module, "_WORTHWHILE", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    return slow_products


# 64, 5 * 20 and 8 * 17 rows are dealt out to 16, 20 and 17 images in a single thread, the others to none.
@pytest.mark.parametrize("lead", [(), (1,), (5,), (2, 3), (2, 1, 4), (0, 3), (64,), (5, 20), (8, 17), (67,)])
@pytest.mark.parametrize("bias", [True, False])
def test_results_and_gradients(way: bool, lead: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(*lead, 6, dtype=torch.float32)
    weight, offset = torch.randn(4, 6), torch.randn(4) if bias else None
    grads = []
    for function in (linear, F.linear):
        inputs = [t.clone().requires_grad_() for t in (x, weight)]
        y = function(*inputs, offset)
        y.square().sum().backward()
        grads.append((y, *(t.grad for t in inputs)))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_strided_input(way: bool) -> None:
    x = torch.randn(3, 8, 6).transpose(0, 1)
    layer = Linear(6, 4)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias), rtol=1e-5, atol=1e-5)


def test_other_types_take_the_plain_product(way: bool) -> None:
    layer = Linear(6, 4).double()
    assert torch.equal(layer(torch.ones(2, 6).double()), F.linear(torch.ones(2, 6).double(), layer.weight, layer.bias))
    with torch.autocast("cpu", torch.bfloat16):
        assert Linear(6, 4)(torch.ones(2, 6)).dtype == torch.bfloat16


def test_is_a_linear_layer() -> None:
    assert isinstance(Linear(2, 2), nn.Linear)
    assert list(Linear(2, 2).state_dict()) == ["weight", "bias"]
