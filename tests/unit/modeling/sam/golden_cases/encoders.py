"""Image encoders and their parts: SAM's, MobileSAM's, and low-rank updates of a block."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segfoundry.modeling.layers.image_encoder_vit import Block
from segfoundry.modeling.layers.lora import merge_lora
from segfoundry.modeling.layers.relative_position import relative_positions
from segfoundry.modeling.layers.windows import join_windows, split_windows
from segfoundry.modeling.sam.network.lora_qkv import PROJECTIONS, add_qkv_lora
from segfoundry.modeling.sam.network.tiny_vit import TinyViT

from .....support import goldens
from .....support.tiny_sam import recorded_encoder, set_norm_eps
from .full_size import noted_slices


@goldens.runner("sam", "image_encoder")
def run_encoder(case: goldens.Case) -> dict[str, Tensor]:
    model = case.load_into(recorded_encoder(case.config))
    found = {}
    watched = {"patch_embed": model.patch_embed} | {f"block_{i}": block for i, block in enumerate(model.blocks)}
    for name, module in watched.items():
        module.register_forward_hook(lambda _m, _i, output, name=name: found.update({name: output}))
    with torch.no_grad():
        found["y"] = model(case.tensors["in/x"])
    return found


def check_encoder(case: goldens.Case, attention: str) -> None:
    """Compares values and gradients of an ``image_encoder`` case for one way of attention."""
    model = case.load_into(recorded_encoder(case.config, attention=attention))
    with torch.no_grad():
        goldens.assert_close(model(case.tensors["in/x"]), case.tensors["out/y"], 1e-5, "y without gradients")
    y = model(case.tensors["in/x"])
    goldens.assert_close(y, case.tensors["out/y"], 1e-5, "y")
    (y * case.tensors["in/grad_y"]).sum().backward()
    recorded = case.group("grad")
    assert recorded and {f"grad/{name}" for name in recorded} == {n for n in case.listed if n.startswith("grad/")}
    for name, expected in recorded.items():
        goldens.assert_close(model.get_parameter(name).grad, expected, 1e-5, name)


@goldens.runner("sam", "rel_pos_windows")
def run_parts(case: goldens.Case) -> dict[str, Tensor]:
    table, x, side = case.tensors["in/table"], case.tensors["in/win_x"], case.tensors["out/windows"].shape[1]
    windows, padded_size = split_windows(x, side)
    found = {"windows": windows, "unwindows": join_windows(windows, side, padded_size, x.shape[1:3])}
    for queries, keys in case.numbers(r"rel_(\d+)_(\d+)"):
        found[f"rel_{queries}_{keys}"] = relative_positions(queries, keys, table)
    return found


@goldens.runner("sam", "lora_block")
def run_lora_block(case: goldens.Case) -> dict[str, Tensor]:
    c, updates, x = case.config, case.group("lora"), case.tensors["in/x"]
    mlp_ratio = case.tensors["param/mlp.lin1.weight"].shape[0] / c["dim"]
    block = Block(c["dim"], c["num_heads"], mlp_ratio, c["window_size"], c["grid"])
    set_norm_eps(case.load_into(block), c)
    parts = [name for name in PROJECTIONS if f"a_{name}" in updates]
    with torch.no_grad():
        found = {"plain": block(x)}
        add_qkv_lora(block.attn.qkv, parts, groups=1, rank=c["rank"], alpha=c["rank"])
        block.attn.qkv.lora_down.copy_(torch.stack([updates[f"a_{part}"] for part in parts]))
        block.attn.qkv.lora_up.copy_(torch.stack([updates[f"b_{part}"] for part in parts]))
        found["lora"] = block(x)
        merge_lora(block)
        found["merged_qkv_weight"] = block.attn.qkv.weight.detach()
        torch.testing.assert_close(block(x), found["lora"], rtol=1e-4, atol=1e-5)
    return found


def tiny_vit(case: goldens.Case, weights: goldens.Case | None = None, **options: object) -> TinyViT:
    """Builds MobileSAM's encoder with the weights of a case; the neck's width is that of its first convolution.

    Args:
        case: the case.
        weights: the case that holds the parameters; None: the same.
        **options: further arguments of the encoder.
    """
    c, params = case.config, (weights or case).group("param")
    goldens.only(c, local_conv_size=3)
    names = ("img_size", "embed_dims", "depths", "num_heads", "window_sizes", "mlp_ratio", "mbconv_expand_ratio")
    width = len(params["neck.0.weight"])
    goldens.only(c, out_chans=width)
    model = TinyViT(**{name: c[name] for name in names}, out_chans=width, num_classes=c["num_classes"], **options)
    model.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in params.items()})
    return model.eval()


def check_small_tiny_vit(case: goldens.Case, attention: str) -> None:
    """Compares a ``tiny_vit_small`` case: the whole encoder, and the block that the notes name alone."""
    model = tiny_vit(case, attention=attention)
    stage, block, *grid = map(int, case.noted(r"layers\[(\d+)\]\.blocks\[(\d+)\] alone, resolution \[(\d+), (\d+)\]"))
    with torch.no_grad():
        goldens.compare(case, "y", model(case.tensors["in/x"]))
        tokens = case.tensors["in/block_tokens"].unflatten(1, tuple(grid)).permute(0, 3, 1, 2)
        goldens.compare(case, "block_tokens", model.layers[stage].blocks[block](tokens).flatten(2).transpose(1, 2))


def check_batch_statistics(case: goldens.Case) -> None:
    """Compares the pass of a ``tiny_vit_small`` case with statistics of the batch; see ``run_mask_decoder``."""
    model, images = tiny_vit(case, train_batch_norm=True).train(), case.tensors["in/x"]
    with torch.no_grad():
        found, exact = model(images), copy.deepcopy(model).double()(images.double()).float()
    torch.testing.assert_close(found, exact, rtol=5e-4, atol=5e-5)
    goldens.compare(case, "y_train_mode", exact)


def check_large_tiny_vit(case: goldens.Case, weights: goldens.Case) -> None:
    """Compares a ``tiny_vit_*_io`` case, whose weights another case holds: slices of all stages."""
    assert weights.config == case.config
    model, slices = tiny_vit(case, weights), noted_slices(case)
    [step] = case.noted(r"every (\d+)(?:st|nd|rd|th) token")
    found = {}

    def keep(module: nn.Module, name: str, take) -> None:
        module.register_forward_hook(lambda _m, _i, output: found.update({name: take(output)}))

    keep(model.patch_embed, "patch_embed_slice", lambda y: y[slices["patch_embed_slice"]])
    for i, stage in enumerate(model.layers):
        keep(stage, f"layer{i}_slice", lambda y: y.flatten(2).transpose(1, 2)[:, :: int(step)])
    low = case.tensors["in/x_low"]
    with torch.no_grad():
        y = model(F.interpolate(low, scale_factor=case.config["img_size"] // low.shape[-1], mode="nearest"))
    found |= {"y_slice": y[slices["y_slice"]], "y_mean_per_channel": y.mean((2, 3))}
    assert sorted(found) == case.outputs
    for name, tensor in found.items():
        goldens.compare(case, name, tensor)
