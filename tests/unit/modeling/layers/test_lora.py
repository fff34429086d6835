import copy

import pytest
import torch
from torch import nn

from segfoundry.modeling.layers.adapters import BottleneckAdapter
from segfoundry.modeling.layers.attention import MultiheadAttention
from segfoundry.modeling.layers.conv import PointwiseLinear
from segfoundry.modeling.layers.lora import apply_lora, is_lora, merge_lora
from segfoundry.utils.errors import ConfigError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = MultiheadAttention(16, 2)
        self.fc = nn.Linear(16, 12)
        self.h = PointwiseLinear(12, 12)
        self.conv = nn.Conv2d(12, 5, 1)
        self.adapter = BottleneckAdapter(16)
        self.norm = nn.LayerNorm(16)

    def forward(self, x, y):
        x = self.norm(self.adapter(self.attn(x, x, y)))
        return self.conv(self.h(self.fc(x)).transpose(1, 2)[..., None])


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


def randomize(net):
    for name, parameter in net.named_parameters():
        if is_lora(name):
            nn.init.normal_(parameter)


def test_start_is_neutral_and_base_names_stay(net):
    x, y = torch.randn(2, 4, 16), torch.randn(2, 4, 16)
    plain = copy.deepcopy(net)
    names = apply_lora(net, ["*"], rank=2)
    assert names == ["attn", "attn.out_proj", "fc", "h", "conv"]
    assert torch.equal(net(x, y), plain(x, y))
    base = {name: t for name, t in net.state_dict().items() if not is_lora(name)}
    assert list(base) == list(plain.state_dict())
    missing = net.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys and all(is_lora(name) for name in missing.missing_keys)


@pytest.mark.parametrize("target", ["attn", "attn.out_proj", "fc", "h", "conv"])
def test_merging_keeps_the_function_and_removes_the_update(net, target):
    x, y = torch.randn(2, 4, 16), torch.randn(2, 4, 16)
    plain = copy.deepcopy(net)
    apply_lora(net, [target], rank=3, alpha=4)
    randomize(net)
    changed = net(x, y)
    assert not torch.allclose(changed, plain(x, y), atol=1e-3)
    assert merge_lora(net) == [target]
    torch.testing.assert_close(net(x, y), changed, atol=1e-4, rtol=1e-4)
    assert list(net.state_dict()) == list(plain.state_dict())
    assert type(net.get_submodule(target)) is type(plain.get_submodule(target))


def test_gradients_reach_the_update(net):
    apply_lora(net, ["attn*"], rank=2, dropout=0.5)
    randomize(net)
    net.train()
    net(torch.randn(2, 4, 16), torch.randn(2, 4, 16)).sum().backward()
    assert net.attn.lora_up.grad.abs().sum() > 0 and net.attn.lora_down.grad.abs().sum() > 0


def test_wrong_patterns_and_numbers_are_explained(net):
    with pytest.raises(ConfigError, match="'norm' matches no attention or linear layer"):
        apply_lora(net, ["norm"])
    with pytest.raises(ConfigError, match="adapter.*matches no"):
        apply_lora(net, ["adapter.*"])
    with pytest.raises(ConfigError, match="RANK"):
        apply_lora(net, ["fc"], rank=0)
