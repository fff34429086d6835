import torch
from torch.nn import functional as F

from segfoundry.modeling.layers.ms_deform_attn import MSDeformAttn, multi_scale_deformable_attention

SIZES = [(3, 4), (6, 5), (9, 11)]


def by_grid_sample(value, sizes, locations, weights):
    """The same operation, level by level with grid_sample."""
    batch, _, heads, channels = value.shape
    out = 0
    for level, part in enumerate(value.split([h * w for h, w in sizes], dim=1)):
        grid_map = part.permute(0, 2, 3, 1).reshape(batch * heads, channels, *sizes[level])
        grid = locations[:, :, :, level].transpose(1, 2).flatten(0, 1) * 2 - 1
        sampled = F.grid_sample(grid_map, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        out = out + sampled * weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]
    return out.sum(-1).view(batch, heads * channels, -1).transpose(1, 2)


def test_values_and_gradients_equal_sampling_level_by_level():
    torch.manual_seed(0)
    cells = sum(h * w for h, w in SIZES)
    value = torch.randn(2, cells, 4, 8, requires_grad=True)
    locations = (torch.rand(2, 7, 4, 3, 5, 2) * 1.6 - 0.3).requires_grad_()
    weights = torch.rand(2, 7, 4, 3, 5, requires_grad=True)
    grad = torch.randn(2, 7, 32)
    results = []
    for operation in (multi_scale_deformable_attention, by_grid_sample):
        out = operation(value, SIZES, locations, weights)
        results.append((out, *torch.autograd.grad(out, (value, locations, weights), grad)))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-4)


def test_starts_with_equal_weights_and_points_on_rays():
    attention = MSDeformAttn(32, num_heads=8, num_levels=2, num_points=3)
    offsets = attention.sampling_offsets.bias.view(8, 2, 3, 2)
    assert offsets.abs().amax(-1).round(decimals=5).unique().tolist() == [1.0, 2.0, 3.0]
    torch.testing.assert_close(offsets[0, 0], torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]))
    assert not attention.attention_weights.weight.any() and not attention.sampling_offsets.weight.any()


def test_exported_attention_has_no_bags_and_the_same_values():
    torch.manual_seed(0)
    layer = MSDeformAttn(16, 4, 2, 3).eval()
    torch.nn.init.normal_(layer.sampling_offsets.weight, std=0.3)
    torch.nn.init.normal_(layer.attention_weights.weight)
    sizes = [(3, 5), (6, 4)]
    inputs = (torch.randn(2, 7, 16), torch.rand(2, 7, 2, 2), torch.randn(2, 39, 16))
    with torch.no_grad():
        program = torch.export.export(layer, (*inputs, sizes), strict=False)
        torch.testing.assert_close(program.module()(*inputs, sizes), layer(*inputs, sizes), atol=1e-5, rtol=1e-4)
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert any("grid_sampler" in name for name in called) and not any("embedding_bag" in name for name in called)
