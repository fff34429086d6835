"""SAM's image encoder against recorded tensors, published names, and other image sizes."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from segfoundry.modeling.layers.image_encoder_vit import (
    SIZES,
    ConvNeck,
    ImageEncoderViT,
    fit_positions,
)
from segfoundry.modeling.layers.relative_position import MODES

from ....support import goldens
from ....support.tiny_sam import recorded_encoder
from ..sam.golden_cases import encoders

LISTS = Path(__file__).resolve().parents[3] / "goldens" / "sam_state_dicts"
RECORDED = goldens.find("sam", "image_encoder")


def encoder(**options):
    torch.manual_seed(0)
    sizes = {"embed_dim": 16, "depth": 2, "num_heads": 2, "global_attn_indexes": (1,), "img_size": 64, "patch_size": 8}
    model = ImageEncoderViT(**{**sizes, "window_size": 3, "neck": nn.Identity(), **options})
    for name, parameter in model.named_parameters():
        if "rel_pos" in name:
            nn.init.normal_(parameter, std=0.5)
    return model.eval()


@goldens.parametrize("sam", {}, ("image_encoder", "rel_pos_windows"))
def test_output(case, output):
    goldens.check(case, output)


@pytest.mark.parametrize("attention", MODES)
def test_every_way_of_attention_gives_the_recorded_values_and_gradients(attention):
    encoders.check_encoder(RECORDED, attention)


def test_unknown_ways_of_attention_are_refused():
    with pytest.raises(ValueError, match=r"auto, bias, concat, eager.*'flash'"):
        encoder(attention="flash")


@pytest.mark.parametrize("attention", MODES)
@pytest.mark.parametrize("autocast", [True, False], ids=["autocast", "weights"])
def test_bfloat16_stays_near_float32(attention, autocast):
    model = RECORDED.load_into(recorded_encoder(RECORDED.config, attention=attention))
    image = RECORDED.tensors["in/x"]
    with torch.no_grad():
        exact = model.tokens(image)
        if autocast:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                rounded = model.tokens(image)
        else:
            rounded = model.bfloat16().tokens(image.bfloat16())
    difference = (rounded.float() - exact).norm() / exact.norm()
    assert 0 < difference <= 2e-2


def test_layers_of_a_block_are_called_as_modules():
    """Updates that wrap the projections must see every token of the grid."""
    model, seen = encoder(), {}
    for name in ("attn.qkv", "attn.proj", "mlp.lin1", "mlp.lin2"):
        layer = model.blocks[0].get_submodule(name)
        layer.register_forward_hook(lambda _m, inputs, _o, name=name: seen.update({name: inputs[0].shape}))
    model(torch.randn(1, 3, 64, 64))
    assert {name: tuple(shape[:3]) for name, shape in seen.items()} == dict.fromkeys(seen, (1, 8, 8)) and len(seen) == 4


def test_names_and_shapes_are_those_of_sam_vit_b():
    listed = json.loads((LISTS / "vit_b.json").read_text())
    expected = {k.removeprefix("image_encoder."): s for k, s in listed.items() if k.startswith("image_encoder.")}
    size = SIZES["base"]
    with torch.device("meta"):
        model = ImageEncoderViT(
            embed_dim=size.embed_dim,
            depth=size.depth,
            num_heads=size.num_heads,
            global_attn_indexes=size.global_attn_indexes,
            neck=ConvNeck(size.embed_dim),
        )
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == expected


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (8, 8), (96, 96)])
def test_every_multiple_of_the_patch_size_runs(size):
    tokens = encoder().tokens(torch.randn(2, 3, *size))
    assert tokens.shape == (2, size[0] // 8, size[1] // 8, 16) and tokens.isfinite().all()


def test_positions_of_another_image_size_are_the_same_at_load_and_at_run_time():
    large, small = encoder(), encoder(img_size=32)
    fitted = fit_positions(large.state_dict(), small.state_dict())
    small.load_state_dict(fitted)
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(small(image), large(image))
    windowed = "blocks.0.attn.rel_pos_h"
    assert torch.equal(fitted[windowed], large.state_dict()[windowed])
    assert not torch.equal(large(image), encoder(img_size=32)(image))


def test_weights_for_1024_pixels_run_at_512():
    sizes = {"patch_size": 16, "window_size": 14}
    published, small = encoder(img_size=1024, **sizes), encoder(img_size=512, **sizes)
    fitted = fit_positions(published.state_dict(), small.state_dict())
    small.load_state_dict(fitted)
    assert fitted["pos_embed"].shape == (1, 32, 32, 16)
    lengths = {name: len(table) for name, table in fitted.items() if "rel_pos" in name}
    assert lengths == {f"blocks.{i}.attn.rel_pos_{axis}": (27, 63)[i] for i in (0, 1) for axis in "hw"}
    with torch.no_grad():
        image = torch.randn(1, 3, 512, 512)
        torch.testing.assert_close(small(image), published(image), rtol=1e-4, atol=1e-5)


def test_windows_do_not_see_each_other_and_global_blocks_do():
    image = torch.randn(1, 3, 64, 64)
    changed = image.clone()
    changed[..., -1, -1] += 1.0
    local, whole = encoder(global_attn_indexes=()), encoder()
    assert torch.equal(local(image)[..., :6, :6], local(changed)[..., :6, :6])
    assert not torch.equal(whole(image)[..., 0, 0], whole(changed)[..., 0, 0])


def test_activation_checkpointing_changes_no_gradient():
    image = torch.randn(1, 3, 64, 64)
    grads = []
    for use_checkpoint in (False, True):
        model = encoder(use_checkpoint=use_checkpoint)
        model(image).square().sum().backward()
        grads.append(model.blocks[0].attn.rel_pos_h.grad)
    torch.testing.assert_close(*grads)
    assert grads[0].abs().sum() > 0
