"""SAM's network: preprocessing, batches of prompts, precision, gradients, published names and sizes."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from segfoundry.modeling.layers.lora import apply_lora
from segfoundry.modeling.sam.network import mask_decoder
from segfoundry.modeling.sam.network.build_sam import CustomSize, build_sam
from segfoundry.modeling.sam.network.sam import PIXEL_MEAN, PIXEL_STD
from segfoundry.modeling.sam.network.two_way_transformer import Attention

from .....support.tiny_sam import TINY, recorded_sam

LISTS = Path(__file__).parents[4] / "goldens" / "sam_state_dicts"
# Type -> parameters in total and of the image encoder, entries of the state dict.
PUBLISHED = {
    "vit_b": (93_735_472, 89_670_912, 314),
    "vit_l": (312_342_832, 308_278_272, 482),
    "vit_h": (641_090_608, 637_026_048, 594),
    "vit_t": (10_130_092, 6_065_532, 439),
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return recorded_sam(TINY).eval()


@pytest.fixture
def embeddings(model):
    return torch.randn(2, 16, 8, 8)


def prompts(count=6):
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(count, 2, 2, generator=generator) * 64
    labels = torch.tensor([[1, 0], [1, 1], [0, -1]]).repeat(count // 3, 1)
    boxes = torch.tensor([[4.0, 8.0, 40.0, 30.0]]) + torch.arange(count)[:, None]
    masks = torch.randn(count, 1, 32, 32, generator=generator)
    return {"points": points, "labels": labels, "boxes": boxes, "masks": masks}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    with torch.device("meta"):
        built = build_sam(name)
    total, encoder, entries = PUBLISHED[name]
    assert sum(p.numel() for p in built.parameters()) == total
    assert sum(p.numel() for p in built.image_encoder.parameters()) == encoder
    assert sum(p.numel() for p in built.prompt_encoder.parameters()) == 6_220
    assert sum(p.numel() for p in built.mask_decoder.parameters()) == 4_058_340
    assert len(built.state_dict()) == entries


@pytest.mark.parametrize("name", ["vit_b", "vit_t"])
def test_state_dict_has_the_published_names_and_shapes(name):
    with torch.device("meta"):
        built = build_sam(name)
    published = json.loads((LISTS / f"{name}.json").read_text())
    assert {key: list(tensor.shape) for key, tensor in built.state_dict().items()} == published


def test_a_size_of_ones_own():
    size = CustomSize(patch_size=8, embed_dim=24, depth=2, heads=2, global_blocks=(1,), window=3, prompt_dim=32)
    model = build_sam("custom", 64, custom=size).eval()
    with torch.no_grad():
        embedding = model.embed(torch.randn(1, 3, 64, 64))
        masks, iou = model.predict_masks(embedding, boxes=torch.tensor([[0.0, 0.0, 64.0, 64.0]]), multimask=False)
    assert embedding.shape == (1, 32, 8, 8) and masks.shape == (1, 1, 32, 32) and iou.shape == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "found"), [(("vit_x",), "vit_x"), (("custom",), "custom"), (("vit_b", 1000), "16")]
)
def test_unknown_sizes_are_refused(arguments, found):
    with pytest.raises(ValueError, match=found):
        build_sam(*arguments)


def test_preprocessing_normalises_then_pads_with_zeros(model):
    images = torch.randint(0, 256, (2, 3, 40, 64), dtype=torch.uint8)
    pixels = model.preprocess(images, [(40, 64), (30, 50)])
    assert pixels.shape == (2, 3, 64, 64)
    expected = (images[0, :, 10, 20] - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_STD)
    torch.testing.assert_close(pixels[0, :, 10, 20], expected)
    assert not pixels[0, :, 40:].any() and not pixels[1, :, 30:].any() and not pixels[1, :, :, 50:].any()
    alone = model.preprocess(images[1:, :, :30, :50])
    assert torch.equal(alone[0], pixels[1])


def test_preprocessing_refuses_images_that_do_not_fit(model):
    with pytest.raises(ValueError, match="40 x 70 pixels do not fit into 64 x 64"):
        model.preprocess(torch.zeros(1, 3, 40, 70))


def test_mean_and_deviation_are_in_no_file(model):
    assert not [name for name in model.state_dict() if "pixel" in name]


@pytest.mark.parametrize(
    "kinds", [("points", "labels"), ("boxes",), ("masks",), ("points", "labels", "boxes", "masks")]
)
@pytest.mark.parametrize("multimask", [True, False, None])
def test_two_images_by_three_prompts_equal_one_by_one(model, embeddings, kinds, multimask):
    asked = {kind: values for kind, values in prompts().items() if kind in kinds}
    index = torch.tensor([0, 1, 1, 0, 0, 1])
    with torch.no_grad():
        masks, iou = model.predict_masks(embeddings, **asked, image_index=index, multimask=multimask)
        for place, image in enumerate(index.tolist()):
            one = {kind: values[place : place + 1] for kind, values in asked.items()}
            alone = model.predict_masks(embeddings[image : image + 1], **one, multimask=multimask)
            torch.testing.assert_close(masks[place : place + 1], alone[0], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(iou[place : place + 1], alone[1], rtol=1e-4, atol=1e-5)


def test_images_pair_with_prompts_without_an_index(model, embeddings):
    asked = {"boxes": prompts()["boxes"][:2]}
    with torch.no_grad():
        paired = model.predict_masks(embeddings, **asked)[0]
        indexed = model.predict_masks(embeddings, **asked, image_index=torch.tensor([0, 1]))[0]
    assert torch.equal(paired, indexed)


def test_without_prompts_each_image_gets_one_answer(model, embeddings):
    masks, iou = model.predict_masks(embeddings, multimask=False)
    assert masks.shape == (2, 1, 32, 32) and iou.shape == (2, 1)
    indexed, _ = model.predict_masks(embeddings[:1], image_index=torch.zeros(3, dtype=torch.int64), multimask=False)
    torch.testing.assert_close(indexed, masks[:1].expand(3, -1, -1, -1), rtol=1e-4, atol=1e-4)


def test_all_masks_are_the_single_one_and_the_three(model, embeddings):
    asked = {"boxes": prompts()["boxes"][:2]}
    with torch.no_grad():
        every, single, three = (model.predict_masks(embeddings, **asked, multimask=m) for m in (None, False, True))
    for whole, first, others in zip(every, single, three, strict=True):
        torch.testing.assert_close(whole, torch.cat((first, others), dim=1))


def test_wrong_numbers_of_prompts_are_refused(model, embeddings):
    with pytest.raises(ValueError, match="image_index"):
        model.predict_masks(embeddings, boxes=prompts()["boxes"])
    with pytest.raises(ValueError, match="image_index"):
        model.predict_masks(embeddings[:1], boxes=prompts()["boxes"], masks=prompts()["masks"][:2])
    with pytest.raises(ValueError, match="labels"):
        model.predict_masks(embeddings[:1], points=prompts()["points"])
    with pytest.raises(ValueError, match="labels"):
        model.predict_masks(embeddings[:1], points=prompts()["points"], labels=prompts()["labels"][:, :1])
    with pytest.raises(ValueError, match=r"\(6, 1, 16, 32\), expected \(P, 1, 32, 32\)"):
        model.predict_masks(embeddings[:1], masks=prompts()["masks"][:, :, ::2])


@pytest.mark.parametrize(("multimask", "count"), [(True, 3), (False, 1), (None, 4)])
def test_no_prompts_get_no_answers(model, embeddings, multimask, count):
    masks, iou = model.predict_masks(embeddings[:1], boxes=torch.zeros(0, 4), multimask=multimask)
    assert masks.shape == (0, count, 32, 32) and iou.shape == (0, count)
    assert model.binary_masks(masks, (40, 64), (50, 80)).shape == (0, count, 50, 80)


def test_corners_may_be_given_as_points(model, embeddings):
    boxes = prompts()["boxes"][:2]
    sparse, _ = model.prompt_encoder(boxes=boxes)
    corners, _ = model.prompt_encoder(boxes.view(2, 2, 2), torch.tensor([[2, 3], [2, 3]]))
    assert torch.equal(corners[:, :2], sparse) and corners.shape[1] == 3  # and the point that is none


def test_prompts_taken_one_by_one_and_together_agree(model, embeddings, monkeypatch):
    asked = {"points": prompts()["points"], "labels": prompts()["labels"]}
    together = model.predict_masks(embeddings[:1], **asked)
    monkeypatch.setattr(mask_decoder, "CACHED_VALUES", 2 * 16 * 64)
    with torch.no_grad():
        for dense in ({}, {"masks": prompts()["masks"]}):
            few = model.predict_masks(embeddings[:1], **asked, **dense)
            monkeypatch.setattr(mask_decoder, "CACHED_VALUES", 1)
            single = model.predict_masks(embeddings[:1], **asked, **dense)
            for a, b, c in zip(few, single, together, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
                assert dense or torch.allclose(a, c, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tokens", [3, 9], ids=["few", "many"])  # a head has 4 channels
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("updated", [False, True])
def test_both_directions_of_attention_are_one(tokens, images, updated):
    torch.manual_seed(0)
    attention = Attention(16, num_heads=2, downsample_rate=2)
    if updated:
        apply_lora(nn.ModuleDict({"attention": attention}), ["attention.*_proj"])
        for name, parameter in attention.named_parameters():
            if "lora_up" in name:
                nn.init.normal_(parameter)
    cells, key, value = torch.randn(images, 20, 16), torch.randn(2, tokens, 16), torch.randn(2, tokens, 16)
    found = attention.spread(attention.project_cells(cells), key, value)
    torch.testing.assert_close(found, attention(cells.expand(2, -1, -1), key, value), rtol=1e-5, atol=1e-5)


def test_positions_stay_in_full_precision(model):
    plain = model.prompt_encoder.dense_pe()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.prompt_encoder.dense_pe(), plain)
        sparse, _ = model.prompt_encoder(boxes=prompts()["boxes"])
    assert torch.equal(sparse, model.prompt_encoder(boxes=prompts()["boxes"])[0])


def test_half_precision_is_close(model, embeddings):
    asked = {"points": prompts()["points"], "labels": prompts()["labels"]}
    with torch.no_grad():
        full, _ = model.predict_masks(embeddings[:1], **asked)
        with torch.autocast("cpu", torch.bfloat16):
            half, _ = model.predict_masks(embeddings[:1], **asked)
    assert (half.float() - full).abs().max() < 0.05 * full.abs().max()


def test_gradients_reach_every_parameter(model):
    everything = prompts()
    embedding = model.embed(torch.randn(1, 3, 64, 64))
    masks, iou = model.predict_masks(embedding, **everything, multimask=None)
    (model.upscale(masks, (40, 64), (50, 80)).square().mean() + iou.square().mean()).backward()
    unreached = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert unreached == {"prompt_encoder.no_mask_embed.weight"}  # there were mask prompts


def test_both_ways_of_upscaling_agree(model):
    low_res = torch.randn(2, 3, 32, 32)
    plain = model.upscale(low_res, (39, 64), (37, 61))
    differentiable = model.upscale(low_res.requires_grad_(), (39, 64), (37, 61))
    assert differentiable.requires_grad
    torch.testing.assert_close(plain, differentiable.detach(), rtol=1e-5, atol=1e-5)
    assert torch.equal(model.binary_masks(low_res.detach(), (39, 64), (37, 61)), plain > 0)
