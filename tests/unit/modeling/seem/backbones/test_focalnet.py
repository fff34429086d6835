import pytest
import torch

from segfoundry.modeling.layers.adapters import Adapter
from segfoundry.modeling.seem.backbones.focalnet import FocalNet, drop_path_rates
from segfoundry.modeling.seem.backbones.focalnet_weights import fit_focal_weights


def build(**options):
    torch.manual_seed(0)
    sizes = {"embed_dim": 8, "depths": (1, 1, 2, 1), "focal_levels": (2, 2, 2, 2), "focal_windows": (3, 3, 3, 3)}
    return FocalNet(**{**sizes, **options})


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("size", [(64, 96), (33, 70), (1, 5)])
def test_maps_have_rounded_up_sizes(depthwise, size):
    model = build(depthwise=depthwise).eval()
    features = model(torch.randn(1, 3, *size))
    assert list(features) == ["res2", "res3", "res4", "res5"]
    height, width = size
    stride = 4
    for name, feature in features.items():
        assert feature.shape == (1, model.output_channels[name], -(-height // stride), -(-width // stride))
        stride *= 2


@pytest.mark.parametrize("variant", ["light", "dense"])
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("postln", [False, True])
def test_neutral_adapters_leave_the_features_unchanged(variant, depthwise, postln):
    plain = build(depthwise=depthwise, use_postln=postln).eval()
    model = build(depthwise=depthwise, use_postln=postln, adapter=variant).eval()
    missing = model.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys and all("adopter_layer" in name for name in missing.missing_keys)
    assert sum(isinstance(m, Adapter) for m in model.modules()) == 5
    image = torch.randn(1, 3, 70, 50)
    for name, feature in model(image).items():
        assert torch.equal(feature, plain(image)[name])


def test_activation_checkpointing_changes_no_gradient():
    image = torch.randn(1, 3, 32, 32)
    grads = []
    for use_checkpoint in (False, True):
        model = build(use_checkpoint=use_checkpoint, drop_path_rate=0.0).train()
        model(image)["res5"].square().sum().backward()
        grads.append(model.patch_embed.proj.weight.grad)
    torch.testing.assert_close(*grads)
    assert grads[0].abs().sum() > 0


def test_stochastic_depth_acts_in_training_only():
    model = build(drop_path_rate=0.9, use_layerscale=False)
    image = torch.randn(4, 3, 32, 32)
    model.eval()
    assert torch.equal(model(image)["res5"], model(image)["res5"])
    model.train()
    assert not torch.equal(model(image)["res5"], model(image)["res5"])
    assert drop_path_rates(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_weights_of_other_focal_sizes_are_fitted():
    small = build(focal_windows=(3, 3, 3, 3), focal_levels=(1, 1, 1, 1))
    large = build(focal_windows=(5, 5, 5, 5), focal_levels=(2, 2, 2, 2))
    fitted = fit_focal_weights(small.state_dict(), large.state_dict())
    kernel = fitted["layers.0.blocks.0.modulation.focal_layers.0.0.weight"]
    original = small.layers[0].blocks[0].modulation.focal_layers[0][0].weight
    assert torch.equal(kernel, torch.nn.functional.pad(original, (1, 1, 1, 1)))
    own, mine = small.layers[0].blocks[0].modulation.f.weight, large.layers[0].blocks[0].modulation.f.weight
    f = fitted["layers.0.blocks.0.modulation.f.weight"]
    assert torch.equal(f[:17], own[:17]) and torch.equal(f[17], mine[17]) and torch.equal(f[18], own[17])
    large.load_state_dict(fitted, strict=False)
    back = fit_focal_weights(large.state_dict(), small.state_dict())
    assert torch.equal(back["layers.0.blocks.0.modulation.focal_layers.0.0.weight"], original)
