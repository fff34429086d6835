"""Low-rank updates of fused projections: recorded tensors, and both orders of the rows."""

import pytest
import torch

from segfoundry.modeling.layers.linear import Linear
from segfoundry.modeling.layers.lora import merge_lora
from segfoundry.modeling.sam.network.lora_qkv import LoraQkv, add_qkv_lora

from .....support import goldens
from ..golden_cases import encoders  # noqa: F401  (registers the readers)


@goldens.parametrize("sam", {}, ("lora_block",))
def test_recorded_block(case, output):
    goldens.check(case, output)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_updates_reach_the_rows_of_their_projection_only(heads):
    torch.manual_seed(0)
    layer = Linear(8, 24)
    x = torch.randn(5, 8)
    plain = layer(x).detach()
    add_qkv_lora(layer, ["k"], groups=heads, rank=2, alpha=2.0)
    assert torch.equal(layer(x), plain)
    torch.nn.init.normal_(layer.lora_up)
    difference = (layer(x) - plain).unflatten(-1, (heads, 3, 8 // heads))
    assert (difference[:, :, 1] != 0).all()
    assert (difference[:, :, [0, 2]] == 0).all()
    before = layer(x).detach()
    assert merge_lora(layer) == [""]
    assert type(layer) is Linear and not [name for name in vars(layer) if name.startswith("lora")]
    torch.testing.assert_close(layer(x), before)


def test_gradients_of_updates_equal_those_of_a_full_matrix():
    torch.manual_seed(0)
    layer = Linear(6, 18)
    add_qkv_lora(layer, ["q", "v"], groups=3, rank=2, alpha=4.0)
    torch.nn.init.normal_(layer.lora_up)
    x = torch.randn(4, 6)
    weights = torch.randn(4, 18)
    (layer(x) * weights).sum().backward()
    found = [layer.lora_down.grad.clone(), layer.lora_up.grad.clone()]
    layer.zero_grad()
    assert isinstance(layer, LoraQkv)
    ((x @ (layer.weight + layer.delta()).T + layer.bias) * weights).sum().backward()
    torch.testing.assert_close(found, [layer.lora_down.grad, layer.lora_up.grad])
