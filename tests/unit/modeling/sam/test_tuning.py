"""Ways of fine-tuning SAM: what trains, what changes in a step, and merging."""

import pytest
import torch

from segfoundry.modeling.finetune import apply_policy
from segfoundry.modeling.layers.lora import is_lora, merge_lora
from segfoundry.modeling.sam.tuning import blocks_of
from segfoundry.utils.errors import ConfigError

from ....support import tiny_sam

FROZEN = {
    "SAM__TASK": "dlo",
    "SAM__TRAIN__IMAGE_ENCODER": "frozen",
    "SAM__TRAIN__PROMPT_ENCODER": "frozen",
    "SAM__TRAIN__MASK_DECODER": "frozen",
}


def ways(**values):
    return FROZEN | {f"SAM__TRAIN__{part.upper()}": way for part, way in values.items()}


def changed_by_a_step(**values):
    """Returns the names of the parameters that a step moves, and of all."""
    torch.manual_seed(1)
    network = tiny_sam.model(**values)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    tiny_sam.step(network, tiny_sam.batch())
    moved = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    return moved, set(before), network


DECODER_UNREACHED = (
    "mask_decoder.iou_prediction_head.",
    *(f"mask_decoder.output_hypernetworks_mlps.{i}." for i in (1, 2, 3)),
)


def in_decoder(name):
    return name.startswith("mask_decoder.") and not name.startswith(DECODER_UNREACHED)


EXPECTED = {
    ("mask_decoder", "full"): in_decoder,
    ("image_encoder", "full"): lambda name: name.startswith("image_encoder."),
    ("mask_decoder", "bias"): lambda name: in_decoder(name) and name.endswith("bias"),
    ("mask_decoder", "norm"): lambda name: in_decoder(name) and ("norm" in name or "output_upscaling.1." in name),
    ("image_encoder", "norm"): lambda name: name.startswith("image_encoder.")
    and ("norm" in name or ".neck.1." in name or ".neck.3." in name),
    ("image_encoder", "lora"): lambda name: name.startswith("image_encoder.") and is_lora(name),
    ("mask_decoder", "lora"): lambda name: name.startswith("mask_decoder.") and is_lora(name),
    ("image_encoder", "adapter"): lambda name: name.startswith("image_encoder.") and ".adapter." in name,
    ("mask_decoder", "adapter"): lambda name: name.startswith("mask_decoder.") and ".adapter." in name,
    ("image_encoder", "last_n"): lambda name: name.startswith(("image_encoder.blocks.1.", "image_encoder.neck.")),
    ("mask_decoder", "last_n"): lambda name: in_decoder(name)
    and not name.startswith(
        ("mask_decoder.transformer.layers.0.", "mask_decoder.iou_token", "mask_decoder.mask_tokens")
    ),
}  # fmt: skip


@pytest.mark.parametrize(("part", "way"), EXPECTED, ids="-".join)
def test_a_step_moves_what_the_way_says_and_nothing_else(part, way):
    network = tiny_sam.model(**ways(**{part: way}), SAM__TRAIN__LAST_N=1)
    policy = network.train_policy()
    expected = {name for name, _ in network.named_parameters() if EXPECTED[part, way](name)}
    assert expected and set(policy.rules) == expected
    moved, _, _ = changed_by_a_step(**ways(**{part: way}), SAM__TRAIN__LAST_N=1)
    # Updates and adapters start at zero: only their last matrix has a gradient in the first step. The softmax does not
    # depend on the biases of keys; what moves them is rounding.
    still = {name for name in expected - moved if "k_proj.bias" not in name}
    first = ("lora_down", "adapter.down_proj", "adapter.scale")
    assert moved <= expected
    assert all(any(word in name for word in first) for name in still), still


def test_every_trainable_parameter_gets_a_gradient_from_the_first_step():
    for values in (
        ways(mask_decoder="full"),
        ways(image_encoder="lora", mask_decoder="adapter", prompt_encoder="full"),
    ):
        network = tiny_sam.model(**values)
        tiny_sam.step(network, tiny_sam.batch())
        assert not [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]


def test_a_supervised_iou_head_trains():
    moved, _, _ = changed_by_a_step(**ways(mask_decoder="full"), SAM__LOSS__IOU_WEIGHT=1.0)
    assert any(name.startswith("mask_decoder.iou_prediction_head.") for name in moved)


@pytest.mark.parametrize("way", ["lora", "adapter"])
@pytest.mark.parametrize("part", ["image_encoder", "mask_decoder"])
def test_insertions_leave_the_function_and_the_published_names(part, way):
    plain = tiny_sam.model(**FROZEN).eval()
    tuned = tiny_sam.model(**ways(**{part: way})).eval()
    incompatible = tuned.load_state_dict(plain.state_dict(), strict=False)
    assert not incompatible.unexpected_keys
    assert incompatible.missing_keys
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        a, b = (
            network.predict_masks(network.embed(images), boxes=torch.tensor([[3.0, 4, 50, 60]]), multimask=None)[0]
            for network in (plain, tuned)
        )
    assert torch.equal(a, b)


@pytest.mark.parametrize("targets", [["q"], ["q", "v"], ["k", "mlp"], ["mlp"]], ids="".join)
def test_merged_updates_equal_the_unmerged_ones(targets):
    values = ways(image_encoder="lora", mask_decoder="lora") | {"SAM__LORA__TARGETS": targets}
    network = tiny_sam.model(**values, SAM__LORA__ALPHA=8.0).eval()
    for name, parameter in network.named_parameters():
        if is_lora(name):
            torch.nn.init.normal_(parameter, std=0.1)
    pixels, box = torch.rand(1, 3, 64, 64), torch.tensor([[3.0, 4, 50, 60]])
    with torch.no_grad():
        before, _ = network.predict_masks(network.embed(pixels), boxes=box)
        assert merge_lora(network)
        after, _ = network.predict_masks(network.embed(pixels), boxes=box)
    assert not any("lora" in name for name in network.state_dict())
    assert set(network.state_dict()) == set(tiny_sam.model(**FROZEN).state_dict())
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert before.abs().max() > 0.01


def test_blocks_can_be_chosen():
    network = tiny_sam.model(**ways(image_encoder="lora"), SAM__LORA__BLOCKS=[1])
    updated = {name.split(".lora_")[0] for name, _ in network.named_parameters() if is_lora(name)}
    assert updated == {"image_encoder.blocks.1.attn.qkv"}
    with pytest.raises(ConfigError, match=r"block 2, but the image encoder has 2"):
        tiny_sam.model(**ways(image_encoder="lora"), SAM__LORA__BLOCKS=[2])


def test_too_many_last_blocks_are_refused():
    with pytest.raises(ConfigError, match=r"LAST_N is 3, but the mask decoder has 2 blocks"):
        tiny_sam.model(**ways(mask_decoder="last_n"), SAM__TRAIN__LAST_N=3).train_policy()


def test_parts_of_names_can_be_frozen_and_get_rates_of_their_own():
    network = tiny_sam.model(
        **ways(image_encoder="full", mask_decoder="full"),
        SOLVER__FIX_PARAM={"image_encoder.patch_embed": True, "norm": True},
        SOLVER__IGNORE_FIX=["mask_decoder"],
        SOLVER__LR_MULTIPLIER={"image_encoder": 0.1},
    )
    rules = network.train_policy().rules
    assert not any(name.startswith("image_encoder.patch_embed") for name in rules)
    assert not any("norm" in name for name in rules if name.startswith("image_encoder"))
    assert any("norm" in name for name in rules if name.startswith("mask_decoder"))
    assert rules["image_encoder.pos_embed"].lr_multiplier == 0.1
    assert rules["mask_decoder.mask_tokens.weight"].lr_multiplier == 1


def test_a_network_where_nothing_trains_is_refused():
    network = tiny_sam.model(**FROZEN)
    with pytest.raises(ConfigError, match=r"nothing trains.*SAM\.TRAIN"):
        apply_policy(network, network.train_policy())


def test_updates_and_adapters_of_mobile_sam():
    network = tiny_sam.model(
        **ways(image_encoder="lora"), SAM__TYPE="vit_t", SAM__IMAGE_SIZE=64, SAM__LORA__TARGETS=["q", "v", "mlp"]
    ).eval()
    blocks = blocks_of(network.image_encoder)
    assert len(blocks) == 10
    rules = network.train_policy().rules
    assert len(rules) == 10 * 3 * 2
    for name, parameter in network.named_parameters():
        if is_lora(name):
            torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        pixels = torch.rand(1, 3, 64, 64)
        before = network.embed(pixels)
        merge_lora(network)
        torch.testing.assert_close(network.embed(pixels), before, rtol=1e-3, atol=1e-4)
