"""MobileSAM's image encoder against recorded tensors, published names, other image sizes, batch statistics."""

import json
from pathlib import Path

import pytest
import torch

from segfoundry.modeling.sam.network.tiny_vit import TinyViT

from .....support import goldens
from ..golden_cases import encoders

LISTS = Path(__file__).resolve().parents[4] / "goldens" / "sam_state_dicts"


SMALL = goldens.find("sam", "tiny_vit_small")


def small(**options):
    torch.manual_seed(0)
    sizes = {"img_size": 64, "embed_dims": (8, 16, 16, 24), "depths": (1, 2, 1, 1), "num_heads": (1, 2, 4, 3)}
    model = TinyViT(**{**sizes, "window_sizes": (7, 3, 4, 2), "out_chans": 8, "num_classes": None, **options})
    for name, parameter in model.named_parameters():
        if name.endswith(("attention_biases", "norm.bias", "bn.bias")):
            torch.nn.init.normal_(parameter)
    return model.eval()


@pytest.mark.parametrize("attention", ["auto", "eager"])
def test_small_encoder_is_the_recorded_one(attention):
    encoders.check_small_tiny_vit(SMALL, attention)


def test_batch_statistics_are_the_recorded_ones():
    encoders.check_batch_statistics(SMALL)


def test_published_grid_is_the_recorded_one():
    encoders.check_large_tiny_vit(goldens.find("sam", "tiny_vit_1024_io"), goldens.find("sam", "tiny_vit_1024_params"))


def test_names_and_shapes_are_those_of_mobile_sam():
    listed = json.loads((LISTS / "vit_t.json").read_text())
    expected = {k.removeprefix("image_encoder."): s for k, s in listed.items() if k.startswith("image_encoder.")}
    with torch.device("meta"):
        model, without = TinyViT(), TinyViT(num_classes=None)
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == expected
    assert sum(p.numel() for p in model.parameters()) == 6_065_532
    unused = {"norm_head.weight", "norm_head.bias", "head.weight", "head.bias"}
    assert set(expected) - set(without.state_dict()) == unused


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 64), (16, 48)])
def test_every_multiple_of_the_stride_runs(size):
    embedding = small()(torch.randn(2, 3, *size))
    assert embedding.shape == (2, 8, size[0] // 16, size[1] // 16) and embedding.isfinite().all()


def test_other_image_sizes_are_refused():
    with pytest.raises(ValueError, match="multiple of 16"):
        TinyViT(img_size=100)


def test_an_image_is_encoded_alike_alone_and_in_a_batch():
    model, images = small(), torch.randn(3, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(model(images)[1:2], model(images[1:2]), rtol=1e-4, atol=1e-5)


def test_fixed_statistics_unless_asked_for_others():
    images = torch.randn(2, 3, 64, 64)
    model = small()
    before = {name: t.clone() for name, t in model.state_dict().items() if "running" in name}
    plain = model(images)
    torch.testing.assert_close(model.train()(images), plain)
    assert all(torch.equal(model.state_dict()[name], t) for name, t in before.items())
    model.train_batch_norm = True
    assert not torch.allclose(model.train()(images), plain, atol=1e-2)
    assert not any(torch.equal(model.state_dict()[name], t) for name, t in before.items())
    model.eval()
    assert not any(m.training for m in model.modules())


@pytest.mark.parametrize("train_batch_norm", [False, True])
def test_activation_checkpointing_changes_neither_gradients_nor_averages(train_batch_norm):
    images, found = torch.randn(2, 3, 64, 64), []
    for use_checkpoint in (False, True):
        model = small(use_checkpoint=use_checkpoint, train_batch_norm=train_batch_norm).train()
        model(images).square().sum().backward()
        names = ("layers.0.blocks.0.conv1.c.weight", "layers.1.blocks.0.attn.attention_biases", "neck.2.weight")
        averages = {name: t.clone() for name, t in model.named_buffers() if "running" in name or "batches" in name}
        found.append([model.get_parameter(name).grad for name in names] + list(averages.values()))
        assert all(grad.abs().sum() > 0 for grad in found[-1][:3])
        assert all(m.momentum == 0.1 for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    torch.testing.assert_close(*found)


def test_folded_norms_have_the_gradients_of_the_norms():
    images, grads = torch.randn(2, 3, 64, 64), []
    for folded in (True, False):
        model = small()
        if not folded:
            for module in model.modules():
                if hasattr(module, "bn"):
                    module.forward = lambda x, module=module: module.bn(module.c(x))
        model(images).square().sum().backward()
        grads.append([p.grad for name, p in model.named_parameters() if "bn." in name or ".c." in name])
    torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("with_gradients", [False, True])
def test_ways_of_attention_agree(with_gradients):
    images, found = torch.randn(1, 3, 64, 64), []
    for attention in ("eager", "auto", "bias", "concat"):
        model = small(attention=attention)
        with torch.set_grad_enabled(with_gradients):
            found.append(model(images))
        if with_gradients:
            found[-1].square().sum().backward()
            found[-1] = model.layers[2].blocks[0].attn.attention_biases.grad
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-5)


def test_bfloat16_stays_near_float32():
    model, images = encoders.tiny_vit(SMALL), SMALL.tensors["in/x"]
    with torch.no_grad():
        exact = model(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = model(images).float()
    assert 0 < (rounded - exact).norm() / exact.norm() <= 2e-2
