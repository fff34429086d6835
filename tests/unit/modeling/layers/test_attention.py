import pytest
import torch
from torch import nn

from segfoundry.modeling.layers.attention import MultiheadAttention


@pytest.fixture
def pair():
    torch.manual_seed(0)
    ours = MultiheadAttention(32, 4).eval()
    nn.init.normal_(ours.in_proj_bias)
    theirs = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


@pytest.mark.parametrize("shared", ["none", "query and key", "key and value", "all"])
def test_equals_torch_whichever_inputs_are_shared(pair, shared):
    ours, theirs = pair
    query, key, value = torch.randn(2, 6, 32), torch.randn(2, 6, 32), torch.randn(2, 6, 32)
    if shared in ("query and key", "all"):
        key = query
    if shared in ("key and value", "all"):
        value = key
    torch.testing.assert_close(ours(query, key, value), theirs(query, key, value)[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", [(5, 7), (2, 5, 7), (2, 1, 5, 7), (2, 4, 5, 7)])
def test_true_means_forbidden_for_every_mask_shape(pair, shape):
    ours, theirs = pair
    query, key, value = torch.randn(2, 5, 32), torch.randn(2, 7, 32), torch.randn(2, 7, 32)
    mask = torch.rand(shape) > 0.6
    mask[..., 0] = False
    per_head = (mask[:, None] if mask.dim() == 3 else mask).expand(2, 4, 5, 7).flatten(0, 1)
    expected = theirs(query, key, value, attn_mask=per_head)[0]
    torch.testing.assert_close(ours(query, key, value, mask), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["bool", "float"])
def test_a_query_without_keys_attends_to_nothing_and_has_finite_gradients(pair, kind):
    ours, _ = pair
    query, key = torch.randn(2, 5, 32, requires_grad=True), torch.randn(2, 7, 32, requires_grad=True)
    mask = torch.zeros(2, 5, 7, dtype=torch.bool)
    mask[0, 1] = True
    given = mask if kind == "bool" else torch.zeros(2, 5, 7).masked_fill(mask, -torch.inf)
    out = ours(query, key, key, given)
    torch.testing.assert_close(out[0, 1], ours.out_proj.bias)
    out.sum().backward()
    assert query.grad.isfinite().all() and key.grad.isfinite().all()
    assert (query.grad[0, 1] == 0).all()


def test_float_mask_is_added_to_the_logits(pair):
    ours, theirs = pair
    x, bias = torch.randn(1, 6, 32), torch.randn(6, 6)
    torch.testing.assert_close(ours(x, x, x, bias), theirs(x, x, x, attn_mask=bias)[0], atol=1e-6, rtol=1e-5)


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="not divisible"):
        MultiheadAttention(30, 4)
