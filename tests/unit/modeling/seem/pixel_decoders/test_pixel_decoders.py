import pytest
import torch

from segfoundry.modeling.seem.pixel_decoders.build_pixel_decoder import PIXEL_DECODERS
from segfoundry.utils.errors import ConfigError

CHANNELS = {"res2": 8, "res3": 16, "res4": 24, "res5": 32}
NAMES = ("transformer_encoder_fpn", "transformer_encoder_deform")


def build(name, **options):
    torch.manual_seed(0)
    sizes = {"conv_dim": 32, "mask_dim": 16, "num_layers": 1, "num_heads": 4, "feedforward_dim": 64}
    return PIXEL_DECODERS.get(name)(input_channels=CHANNELS, **{**sizes, **options})


def features(height=9, width=7):
    maps = {}
    for name, channels in CHANNELS.items():
        maps[name] = torch.randn(2, channels, height, width)
        height, width = -(-height // 2), -(-width // 2)
    return maps


@pytest.mark.parametrize("name", NAMES)
def test_sizes_follow_the_backbone_and_gradients_reach_all_parameters(name):
    model, maps = build(name), features()
    mask_features, encoded, levels = model(maps)
    assert mask_features.shape == (2, 16, 9, 7)
    assert encoded.shape == (2, 32, 2, 1)
    assert [level.shape[-2:] for level in levels] == [maps[n].shape[-2:] for n in ("res5", "res4", "res3")]
    (mask_features.square().mean() + sum(level.square().mean() for level in levels)).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_deformable_decoder_stays_in_float32_under_autocast():
    model, maps = build(NAMES[1]).eval(), features()
    with torch.no_grad():
        expected = model(maps)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(maps)
    assert torch.equal(found[0], expected[0]) and found[0].dtype == torch.float32


def test_pre_norm_transformer_has_a_final_norm():
    assert "transformer.encoder.norm.weight" in build(NAMES[0], pre_norm=True).state_dict()
    assert "transformer.encoder.norm.weight" not in build(NAMES[0]).state_dict()


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="transformer_encoder_fpn"):
        build("transformer_encoder_fnp")
