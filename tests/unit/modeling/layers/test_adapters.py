import pytest
import torch

from segfoundry.modeling.layers.adapters import BottleneckAdapter, MaskEmbeddingAdapter, spatial_adapter


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 1), (5, 2)])
@pytest.mark.parametrize("variant", ["light", "dense"])
def test_neutral_spatial_adapter_is_the_identity_at_any_size_and_learns(variant, size):
    torch.manual_seed(0)
    adapter, x = spatial_adapter(16, variant), torch.randn(2, *size, 16)
    assert torch.equal(adapter(x), x)
    optimizer = torch.optim.SGD(adapter.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (adapter(x) - x.roll(1, -1)).square().mean().backward()
        optimizer.step()
    assert not torch.equal(adapter(x), x)


@pytest.mark.parametrize("variant", ["light", "dense"])
def test_reference_start_changes_the_features(variant):
    x = torch.randn(1, 6, 6, 16)
    assert not torch.allclose(spatial_adapter(16, variant, "reference")(x), x)
    assert not torch.allclose(BottleneckAdapter(16, variant, "reference").eval()(x), x)
    assert MaskEmbeddingAdapter(16, 8, variant, "reference").eval()(x).abs().max() > 0


@pytest.mark.parametrize("variant", ["light", "dense"])
def test_neutral_decoder_adapters_change_nothing_at_start_and_learn_smoothly(variant):
    torch.manual_seed(0)
    x = torch.randn(2, 5, 16)
    assert torch.equal(BottleneckAdapter(16, variant)(x), x)
    head = MaskEmbeddingAdapter(16, 8, variant)
    assert head(x).shape == (2, 5, 8) and not head(x).any()
    optimizer = torch.optim.SGD(head.parameters(), lr=1e-3)
    (head(x) - torch.randn(2, 5, 8)).square().mean().backward()
    optimizer.step()
    assert 0 < head(x).abs().max() < 0.01


def test_dense_sizes_are_the_published_ones():
    dense = sum(p.numel() for p in spatial_adapter(64, "dense").parameters())
    assert dense == 25.5 * 64**2 + 2 * 64
    light = sum(p.numel() for p in spatial_adapter(64, "light", ratio=8).parameters())
    assert light < dense / 80
    assert BottleneckAdapter(64, "dense").down_proj.out_features == 32
    assert BottleneckAdapter(64, "light", ratio=16).down_proj.out_features == 4


def test_unknown_choices_are_refused():
    with pytest.raises(ValueError, match="variant"):
        spatial_adapter(8, "heavy")
    with pytest.raises(ValueError, match="init"):
        BottleneckAdapter(8, "light", "random")
