"""The decoder beyond its recorded cases: sizes, adapters, gradients, precision."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from segfoundry.modeling.seem.decoder.decoder_output import mask_logits
from segfoundry.modeling.seem.decoder.image_levels import resize_features
from segfoundry.modeling.seem.decoder.query_decoder import AdapterOptions

from .....support.tiny_decoder import inputs, make


@pytest.mark.parametrize("size", [(16, 24), (8, 12), (4, 6), (5, 7), (16, 12), (32, 48)])
def test_resizing_equals_bilinear_interpolation(size: tuple[int, int]) -> None:
    x = torch.randn(1, 3, 32, 48)
    torch.testing.assert_close(
        resize_features(x, size), F.interpolate(x, size, mode="bilinear", align_corners=False), atol=1e-6, rtol=1e-6
    )


def test_one_output_per_layer_and_one_of_the_raw_queries() -> None:
    output = make()(*inputs())
    assert len(output.layers) == 5
    assert all(layer.logits.shape == (2, 7, 5) and layer.mask_embed.shape == (2, 7, 16) for layer in output.layers)
    assert output.masks().shape == (2, 7, 16, 24)
    torch.testing.assert_close(output.masks(0), mask_logits(output.layers[0].mask_embed, output.mask_features))
    assert output.final is output.layers[-1]


def test_images_of_a_batch_do_not_meet() -> None:
    decoder = make()
    maps, features, texts = inputs()
    together = decoder(maps, features, texts)
    alone = decoder([m[1:] for m in maps], features[1:], texts)
    torch.testing.assert_close(together.final.logits[1:], alone.final.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.masks()[1:], alone.masks(), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("variant", ["light", "dense"])
def test_neutral_adapters_change_nothing(variant: str) -> None:
    plain, adapted = make(), make(adapters=AdapterOptions(variant))
    missing, unexpected = adapted.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all("adapters" in name for name in missing)
    expected, found = plain(*inputs()), adapted(*inputs())
    assert torch.equal(found.final.logits, expected.final.logits)
    assert torch.equal(found.masks(), expected.masks())


def test_other_channels_are_projected() -> None:
    decoder = make(in_channels=8)
    assert decoder.input_proj[0].weight.shape == (32, 8, 1, 1)
    assert decoder(*inputs(channels=8)).masks().isfinite().all()


@pytest.mark.parametrize("pre_norm", [False, True])
def test_gradients_reach_every_parameter_of_the_object_path(pre_norm: bool) -> None:
    decoder = make(pre_norm=pre_norm)
    output = decoder(*inputs())
    sum((layer.logits.square().sum() + layer.mask_embed.square().sum()) for layer in output.layers).backward()
    without = {name for name, p in decoder.named_parameters() if p.grad is None}
    prompts = ("mask_sptial_embed", "spatial_", "pn_indicator", "lang_encoder.lang_")
    assert {name for name in without if not name.startswith(prompts)} == set()


def test_autocast_keeps_class_logits_in_float32() -> None:
    decoder = make()
    expected = decoder(*inputs())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = decoder(*inputs())
    assert output.final.logits.dtype == torch.float32
    torch.testing.assert_close(output.layers[0].logits, expected.layers[0].logits, atol=0.05, rtol=0.05)
    assert output.masks().isfinite().all()
