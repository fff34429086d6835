"""Backbones beside FocalNet: weights in foreign layouts, image sizes, what cannot be built, LoRA."""

import json

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from segfoundry.modeling.build_model import build_model
from segfoundry.modeling.finetune import apply_policy
from segfoundry.modeling.layers import image_encoder_vit
from segfoundry.modeling.layers.drop_path import DropPath
from segfoundry.modeling.layers.image_encoder_vit import VitSize
from segfoundry.modeling.layers.lora import apply_lora, merge_lora
from segfoundry.modeling.seem.backbones.build_backbone import build_backbone, load_backbone_weights
from segfoundry.modeling.seem.backbones.davit import DaViTBackbone
from segfoundry.modeling.seem.backbones.focalnet import FocalNet
from segfoundry.modeling.seem.backbones.timm_backbone import TimmBackbone
from segfoundry.modeling.seem.backbones.vit import ViTBackbone
from segfoundry.modeling.seem.config import tiny
from segfoundry.modeling.seem.pixel_decoders.build_pixel_decoder import build_pixel_decoder
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.draws import Draws
from segfoundry.utils.errors import CheckpointError, ConfigError
from segfoundry.utils.structures.category import Category
from segfoundry.utils.structures.samples import Batch, Sample, Targets

from .....support import goldens

FOLDER = goldens.DEFAULT_FOLDER / "seem"
SMALL_DAVIT = {
    "MODEL.BACKBONE.NAME": "davit",
    "MODEL.BACKBONE.DAVIT.DIM_EMBED": [8, 8, 16, 16],
    "MODEL.BACKBONE.DAVIT.NUM_HEADS": [2, 2, 2, 2],
    "MODEL.BACKBONE.DAVIT.NUM_GROUPS": [2, 2, 2, 2],
    "MODEL.BACKBONE.DAVIT.DEPTHS": [1, 1, 1, 1],
}
SMALL_TIMM = {"MODEL.BACKBONE.NAME": "timm", "MODEL.BACKBONE.TIMM.NAME": "test_convnext"}


@pytest.fixture
def small_vit(monkeypatch):
    """SAM's encoder in base size, shrunk."""
    monkeypatch.setitem(image_encoder_vit.SIZES, "base", VitSize(16, 2, 2, (1,)))


def config(**values):
    return load_mapping({**tiny(), **{k.replace("__", "."): v for k, v in values.items()}}).cfg


def typed(**values):
    return load_mapping({**tiny(), **values}).typed


def build(values):
    torch.manual_seed(0)
    return build_backbone(config(**values)).eval()


@pytest.mark.parametrize("values", [SMALL_DAVIT, {"MODEL.BACKBONE.NAME": "vit"}, SMALL_TIMM])
@pytest.mark.parametrize("size", [(64, 96), (32, 32)])
def test_maps_have_four_strides(values, size, small_vit):
    model = build(values)
    features = model(torch.randn(2, 3, *size))
    assert list(features) == ["res2", "res3", "res4", "res5"] == list(model.output_channels)
    for stride, (name, feature) in zip((4, 8, 16, 32), features.items(), strict=True):
        assert feature.shape == (2, model.output_channels[name], size[0] // stride, size[1] // stride)


@pytest.mark.parametrize("encoder", ["transformer_encoder_fpn", "transformer_encoder_deform"])
@pytest.mark.parametrize("values", [{}, SMALL_DAVIT, {"MODEL.BACKBONE.NAME": "vit"}, SMALL_TIMM])
def test_both_pixel_decoders_take_every_backbone(values, encoder, small_vit):
    backbone, cfg = build(values), config(**values, **{"MODEL.ENCODER.NAME": encoder})
    decoder = build_pixel_decoder(cfg, backbone.output_channels)
    mask_features, _, maps = decoder(backbone(torch.randn(1, 3, 64, 96)))
    assert mask_features.shape == (1, 32, 16, 24) and mask_features.isfinite().all()
    assert [m.shape for m in maps] == [(1, 32, 2, 3), (1, 32, 4, 6), (1, 32, 8, 12)]


@pytest.mark.parametrize("values", [SMALL_DAVIT, {"MODEL.BACKBONE.NAME": "vit"}, SMALL_TIMM])
def test_every_parameter_gets_a_gradient(values, small_vit):
    model = build(values).train()
    sum(x.square().sum() for x in model(torch.randn(2, 3, 64, 96)).values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("values", "key"),
    [
        (SMALL_DAVIT, "MODEL.BACKBONE.DAVIT.ENABLE_CHECKPOINT"),
        ({"MODEL.BACKBONE.NAME": "vit"}, "MODEL.BACKBONE.VIT.USE_CHECKPOINT"),
        (SMALL_TIMM, "MODEL.BACKBONE.TIMM.USE_CHECKPOINT"),
    ],
)
def test_activation_checkpointing_changes_no_gradient(values, key, small_vit):
    grads = []
    for recompute in (False, True):
        model = build({**values, key: recompute})
        model(torch.ones(1, 3, 32, 64))["res5"].square().sum().backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(*grads)
    assert grads[0].abs().sum() > 0


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        (SMALL_DAVIT, "body.stages.*.attn.qkv"),
        ({"MODEL.BACKBONE.NAME": "vit"}, "blocks.*.attn.qkv"),
        ({"MODEL.BACKBONE.NAME": "timm", "MODEL.BACKBONE.TIMM.NAME": "test_convnext"}, "body.*.mlp.fc1"),
    ],
)
def test_lora_learns_in_every_backbone_and_merges(values, pattern, small_vit):
    model, image = build(values), torch.randn(1, 3, 64, 64)
    before = model(image)["res5"]
    chosen = apply_lora(model, [pattern], rank=2)
    assert chosen and torch.equal(model(image)["res5"], before)
    for name, parameter in model.named_parameters():
        if name.endswith("lora_up"):
            torch.nn.init.normal_(parameter, std=0.1)
    changed = model(image)["res5"]
    assert not torch.allclose(changed, before)
    merge_lora(model)
    torch.testing.assert_close(model(image)["res5"], changed)


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        (SMALL_DAVIT, "backbone.body.stages.*.attn.qkv"),
        ({"MODEL.BACKBONE.NAME": "vit"}, "backbone.blocks.*.attn.qkv"),
        (SMALL_TIMM, "backbone.body.*.mlp.fc1"),
    ],
)
@pytest.mark.parametrize("lora", [False, True])
def test_the_whole_network_trains_and_predicts(values, pattern, lora, small_vit):
    torch.manual_seed(0)
    categories = [Category(i, name, True, (0, 0, 0)) for i, name in enumerate(("sky", "cat"))]
    tuning = {"LORA.TARGETS": [pattern], "LORA.RANK": 2} if lora else {"SOLVER.FIX_PARAM": {"lang_encoder": True}}
    model = build_model(config(**values, **tuning), categories).train()
    apply_policy(model, model.train_policy())
    sum(model(two_images(), rng=Draws(0, 0)).values()).backward()
    trained = {n for n, p in model.named_parameters() if p.grad is not None and n.startswith("backbone.")}
    assert trained and all(("lora_" in name) == lora for name in trained)
    assert trained == {n for n, p in model.named_parameters() if p.requires_grad and n.startswith("backbone.")}
    predictions = model.eval()(two_images(sizes=[(64, 64), (40, 50)]))
    assert [p.semantic.shape for p in predictions] == [(64, 64), (40, 50)]


def test_files_of_parts_are_not_needed_when_weights_of_the_whole_follow(tmp_path):
    values = {"MODEL.BACKBONE.PRETRAINED": str(tmp_path / "gone.pt"), "MODEL.BACKBONE.LOAD_PRETRAINED": True}
    categories = [Category(0, "sky", True, (0, 0, 0))]
    with pytest.raises(CheckpointError, match="gone.pt.*"):
        build_model(typed(**values), categories)
    assert build_model(typed(**values), categories, part_weights=False).backbone.output_channels


def two_images(sizes=((64, 64), (64, 64))):
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, :40], masks[1, 40:] = True, True
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    samples = [Sample(np.empty(0), i, i, f"{i}.png", size) for i, size in enumerate(sizes)]
    targets = [Targets(masks, torch.tensor([0, 1])), Targets(masks[:1], torch.tensor([1]))]
    return Batch(images, list(sizes), samples, targets, positions=[0, 1])


# ---- DaViT -----------------------------------------------------------------------------------------------------------


def test_davit_drop_path_grows_as_published():
    c = json.loads((FOLDER / "davit_d3.json").read_text())["config"]
    model = DaViTBackbone(embed_dims=c["DIM_EMBED"], depths=c["DEPTHS"], num_heads=c["NUM_HEADS"], drop_path_rate=0.3)
    rates = [m.rate for m in model.modules() if isinstance(m, DropPath)]
    assert rates[::2] == rates[1::2] == pytest.approx(c["drop_path_rates"])


def test_davit_names_of_all_layouts_lead_to_the_same_parameters():
    model = build(SMALL_DAVIT)
    names = {
        "convs.0.proj.weight": "body.stem.conv.weight",
        "convs.2.norm.bias": "body.stages.2.downsample.norm.bias",
        "blocks.1.0.spatial_block.window_attn.fn.qkv.weight": "body.stages.1.blocks.0.spatial_block.attn.qkv.weight",
        "blocks.1.0.channel_block.ffn.fn.net.fc1.bias": "body.stages.1.blocks.0.channel_block.mlp.fc1.bias",
        "image_encoder.conv_embeds.1.proj.bias": "body.stages.1.downsample.conv.bias",
        "main_blocks.0.0.0.cpe.1.proj.weight": "body.stages.0.blocks.0.spatial_block.cpe2.proj.weight",
        "main_blocks.0.0.1.attn.proj.bias": "body.stages.0.blocks.0.channel_block.attn.proj.bias",
        "main_blocks.0.0.1.norm2.bias": "body.stages.0.blocks.0.channel_block.norm2.bias",
    }
    assert {name: model.key_map(name) for name in names} == names
    own = model.state_dict()
    assert set(names.values()) <= set(own) and all(model.key_map(name) == name for name in own)


def test_davit_loads_a_backbone_file(tmp_path):
    case = goldens.Case("seem", "davit_d3", FOLDER / "davit_d3.json")
    file = tmp_path / "davit.safetensors"
    save_file({f"backbone.{name}": tensor for name, tensor in case.group("param").items()}, file)
    c = case.config
    model = DaViTBackbone(embed_dims=c["DIM_EMBED"], depths=c["DEPTHS"], num_heads=c["NUM_HEADS"])
    assert load_backbone_weights(model, str(file)).complete


# ---- ViT -------------------------------------------------------------------------------------------------------------


def test_vit_takes_the_encoder_out_of_a_sam_file(tmp_path, small_vit):
    donor = ViTBackbone("base", img_size=128)
    blocks = {n: t for n, t in donor.state_dict().items() if not n.startswith("neck.")}
    foreign = {"image_encoder.neck.0.weight": torch.ones(1), "mask_decoder.iou_token.weight": torch.ones(1)}
    file = tmp_path / "sam.safetensors"
    save_file({**{f"image_encoder.{n}": t for n, t in blocks.items()}, **foreign}, file)
    values = {"MODEL.BACKBONE.PRETRAINED": str(file), "MODEL.BACKBONE.LOAD_PRETRAINED": True}
    model = build({**values, "MODEL.BACKBONE.NAME": "vit", "MODEL.BACKBONE.VIT.IMAGE_SIZE": 64})
    own = model.state_dict()
    assert torch.equal(own["blocks.0.attn.qkv.weight"], blocks["blocks.0.attn.qkv.weight"])
    expected = F.interpolate(blocks["pos_embed"].permute(0, 3, 1, 2), size=(4, 4), mode="bilinear")
    torch.testing.assert_close(own["pos_embed"].permute(0, 3, 1, 2), expected)
    report = load_backbone_weights(model, str(file))
    assert report.unexpected == [] and all(n.startswith("neck.") for n in report.missing)


# ---- timm ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "resnet18", "convnext_atto"])
def test_timm_maps_are_those_of_timm(name):
    torch.manual_seed(0)
    model = TimmBackbone(name).eval()
    image = torch.randn(1, 3, 96, 160)
    with torch.no_grad():
        maps, own = model(image), model.body(image)
    for (level, found), raw, stride in zip(maps.items(), own, (4, 8, 16, 32), strict=True):
        expected = raw.permute(0, 3, 1, 2) if "swin" in name else raw
        assert torch.equal(found, expected)
        assert found.shape == (1, model.output_channels[level], 96 // stride, 160 // stride)


@pytest.mark.parametrize("name", ["test_convnext", "test_resnet", "twins_svt_small"])
def test_timm_weights_come_from_a_file_of_the_classification_model(name, tmp_path):
    torch.manual_seed(1)
    donor = timm.create_model(name)
    file = tmp_path / "model.safetensors"
    save_file(donor.state_dict(), file)
    model = TimmBackbone(name)
    report = load_backbone_weights(model, str(tmp_path))
    assert report.missing == [] == report.mismatched
    assert all(n.startswith(("head", "fc", "norm", "conv_head", "stages.")) for n in report.unexpected)
    assert load_backbone_weights(model, str(file)).loaded == list(model.state_dict())


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"NAME": "convnet_tiny"}, "TIMM.NAME 'convnet_tiny' is no model of timm.*did you mean 'convnext_tiny'"),
        ({"NAME": "vit_tiny_patch16_224"}, "offers maps at strides 16, 16, 16; needed are 4, 8, 16 and 32"),
        ({"NAME": "maxvit_tiny_tf_224"}, "does not take images of other sizes than its own"),
        ({"NAME": "resnet18", "OUT_INDICES": [0, 1, 2, 3]}, r"OUT_INDICES.*strides \[2, 4, 8, 16\]"),
        ({"NAME": "resnet18", "OUT_INDICES": [1, 2, 3, 9]}, "places 0 to 4"),
        ({"NAME": "vgg11", "DROP_PATH_RATE": 0.1}, "does not take drop_path_rate"),
    ],
)
def test_what_timm_cannot_give_is_said(values, problem):
    with pytest.raises(ConfigError, match=problem):
        build({"MODEL.BACKBONE.NAME": "timm", **{f"MODEL.BACKBONE.TIMM.{k}": v for k, v in values.items()}})


def test_timm_levels_can_be_chosen():
    assert TimmBackbone("test_resnet", out_indices=(1, 2, 3, 4)).output_channels.keys() == {
        "res2",
        "res3",
        "res4",
        "res5",
    }


def test_a_failed_download_names_the_key(monkeypatch):
    def offline(*args, **options):
        if options.get("pretrained"):
            raise OSError("no network")
        return create(*args, **options)

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConfigError, match="TIMM.DOWNLOAD.*no network.*PRETRAINED"):
        TimmBackbone("test_resnet", download=True)


# ---- FocalNet of transformers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("postln", [False, True])
@pytest.mark.parametrize("form", ["folder", "bin", "safetensors"])
def test_transformers_focalnet_computes_the_same(postln, form, tmp_path):
    from transformers import FocalNetBackbone, FocalNetConfig

    torch.manual_seed(0)
    reference = FocalNetBackbone(
        FocalNetConfig(
            image_size=64,
            embed_dim=8,
            hidden_sizes=[16, 32, 64, 64],  # only the classifier reads it
            depths=[1, 1, 2, 1],
            focal_levels=[2, 2, 3, 2],
            focal_windows=[3, 3, 3, 3],
            use_conv_embed=True,
            use_layerscale=True,
            layerscale_value=0.5,
            use_post_layernorm=postln,
            use_post_layernorm_in_modulation=postln,
            normalize_modulator=postln,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        )
    ).eval()
    for name, parameter in reference.named_parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name and name.endswith("weight") else 0.0, std=0.2)
    state = reference.state_dict()
    if form == "bin":
        torch.save(state, tmp_path / "pytorch_model.bin")
    elif form == "safetensors":
        save_file(state, tmp_path / "weights.safetensors")
    else:
        reference.save_pretrained(tmp_path)
    path = {"folder": tmp_path, "bin": tmp_path, "safetensors": tmp_path / "weights.safetensors"}[form]
    model = FocalNet(
        embed_dim=8,
        depths=(1, 1, 2, 1),
        focal_levels=(2, 2, 3, 2),
        focal_windows=(3, 3, 3, 3),
        use_postln=postln,
        use_postln_in_modulation=postln,
        scaling_modulator=postln,
    ).eval()
    report = load_backbone_weights(model, str(path))
    assert report.unexpected == [] and report.mismatched == []
    # Our output norms are not part of its classification network, except for the last.
    assert sorted(report.missing) == [f"norm{i}.{leaf}" for i in range(3) for leaf in ("bias", "weight")]
    # Its maps are those after the downsampling that follows a stage; ours are taken before it, and normalised.
    stages = {}
    for i, layer in enumerate(model.layers):
        module = layer if layer.downsample is None else layer.downsample
        module.register_forward_hook(lambda _m, _i, output, i=i: stages.update({i: output.permute(0, 3, 1, 2)}))
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected, features = reference(image).feature_maps, model(image)
    for i, stage in enumerate(expected):
        goldens.assert_close(stages[i], stage, 1e-5, f"stage {i}")
    last = reference.focalnet.layernorm(expected[3].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    goldens.assert_close(features["res5"], last, 1e-5, "res5")


def test_weights_of_another_network_are_refused(tmp_path):
    save_file({"some.layer.weight": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="another architecture"):
        load_backbone_weights(build({}), str(tmp_path / "other.safetensors"))
