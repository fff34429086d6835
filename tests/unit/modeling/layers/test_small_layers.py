import math

import pytest
import torch
from torch import nn

from segfoundry.modeling.layers.conv import ConvNorm, PointwiseLinear
from segfoundry.modeling.layers.drop_path import DropPath
from segfoundry.modeling.layers.mlp import MLP
from segfoundry.modeling.layers.position import sine_position_encoding


def test_sine_encoding_matches_its_formula_cell_by_cell():
    height, width, dim = 3, 5, 8
    code = sine_position_encoding((height, width), dim)
    assert code.shape == (1, dim, height, width) and code.dtype == torch.float32
    half = dim // 2
    for row in range(height):
        for column in range(width):
            for channel in range(dim):
                place, length = (row, height) if channel < half else (column, width)
                j = channel % half
                angle = (place + 1) / (length + 1e-6) * 2 * math.pi / 10000 ** (2 * (j // 2) / half)
                expected = math.sin(angle) if j % 2 == 0 else math.cos(angle)
                assert code[0, channel, row, column].item() == pytest.approx(expected, abs=1e-5)


def test_mlp_has_relu_between_but_not_after():
    torch.manual_seed(0)
    mlp = MLP(4, 8, 3, 2)
    x = torch.randn(10, 4)
    torch.testing.assert_close(mlp(x), mlp.layers[1](mlp.layers[0](x).relu()))
    assert (mlp(x) < 0).any()
    assert set(mlp.state_dict()) == {"layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"}


def test_drop_path_drops_whole_samples_keeps_the_mean_and_does_nothing_in_eval():
    torch.manual_seed(0)
    drop, x = DropPath(0.25), torch.ones(4000, 3)
    out = drop(x)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (out == out[:, :1]).all()
    assert out.mean().item() == pytest.approx(1.0, abs=0.05)
    assert drop.eval()(x) is x


def test_pointwise_linear_is_a_1x1_convolution():
    layer = PointwiseLinear(6, 4)
    conv = nn.Conv2d(6, 4, 1)
    conv.load_state_dict(layer.state_dict(), strict=True)
    x = torch.randn(2, 6, 5, 3)
    torch.testing.assert_close(layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), conv(x))


def test_conv_norm_has_a_bias_only_without_norm():
    assert set(ConvNorm(3, 32, 3).state_dict()) == {"weight", "norm.weight", "norm.bias"}
    assert set(ConvNorm(3, 30, 3, norm="").state_dict()) == {"weight", "bias"}
    with pytest.raises(ValueError, match="multiple of 32"):
        ConvNorm(3, 30, 3)
    with pytest.raises(ValueError, match="'GN'"):
        ConvNorm(3, 32, 3, norm="BN")
