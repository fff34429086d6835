"""A second set of SAM's cases, of the recorded form with other sizes, seeds and names.

The reference is our own network, built here from the numbers below and not from a json.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segfoundry.modeling.layers.image_encoder_vit import Block, ConvNeck, ImageEncoderViT
from segfoundry.modeling.layers.relative_position import relative_positions
from segfoundry.modeling.layers.windows import split_windows
from segfoundry.modeling.sam import SamPredictor
from segfoundry.modeling.sam.network.input_frame import ResizeLongestSide
from segfoundry.modeling.sam.network.mask_decoder import MaskDecoder
from segfoundry.modeling.sam.network.prompt_encoder import PromptEncoder
from segfoundry.modeling.sam.network.sam import Sam
from segfoundry.modeling.sam.network.tiny_vit import TinyViT
from segfoundry.modeling.sam.network.two_way_transformer import TwoWayTransformer

from .golden_writer import gradients, named, params, randomize, write_case

SIDE, GRID, DIM, MASKS, EPS = 80, 10, 32, 2, 1e-4
CONFIG = {
    "img_size": SIDE,
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
    "mlp_ratio": 3,
    "out_chans": DIM,
    "window_size": 4,
    "global_attn_indexes": [0, 2],
    "qkv_bias": True,
    "use_rel_pos": True,
    "norm_eps": EPS,
    "mask_in_chans": 12,
    "decoder": {
        "transformer_depth": 3,
        "embedding_dim": DIM,
        "num_heads": 2,
        "mlp_dim": 24,
        "attention_downsample_rate": 4,
        "num_multimask_outputs": MASKS,
        "iou_head_depth": 2,
        "iou_head_hidden_dim": 12,
    },
}
"""What a json says of :func:`network`."""
IMAGES = [(50, 80), (96, 40), (30, 30)]
RESIZED = [(50, 80), (80, 33), (80, 80)]
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def image_encoder() -> ImageEncoderViT:
    """Builds an encoder of three blocks, the second one with windows."""
    encoder = ImageEncoderViT(
        embed_dim=24,
        depth=3,
        num_heads=3,
        global_attn_indexes=(0, 2),
        neck=ConvNeck(24, DIM),
        img_size=SIDE,
        patch_size=8,
        mlp_ratio=3.0,
        window_size=4,
    )
    for block in encoder.blocks:
        block.norm1.eps = block.norm2.eps = EPS
    return randomize(encoder).eval()


def network(seed: int = 11) -> Sam:
    """Builds a network with two masks for an ambiguous prompt."""
    torch.manual_seed(seed)
    decoder = MaskDecoder(DIM, TwoWayTransformer(3, DIM, 2, 24, 4), MASKS, iou_head_depth=2, iou_head_hidden_dim=12)
    prompts = PromptEncoder(DIM, GRID, SIDE, mask_in_chans=12)
    return Sam(image_encoder(), randomize(prompts), randomize(decoder)).eval()


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Returns noise, (height, width, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@torch.no_grad()
def record_prompts(folder: Path) -> None:
    """Writes ``prompt_encoder``: three points, five prompts."""
    encoder = network().prompt_encoder
    points, labels = torch.rand(5, 3, 2) * SIDE, torch.randint(-1, 2, (5, 3))
    boxes, masks = torch.rand(5, 4) * SIDE, torch.randn(5, 1, 4 * GRID, 4 * GRID)
    given = {"points": points, "labels": labels, "boxes": boxes, "masks": masks}
    out = {"dense_pe": encoder.dense_pe()}
    for name, prompts in {
        "none": (),
        "points": (points, labels),
        "boxes": (None, None, boxes),
        "boxes_masks": (None, None, boxes, masks),
        "masks": (None, None, None, masks),
        "all": (points, labels, boxes, masks),
    }.items():
        sparse, dense = encoder(*prompts)
        out[f"{name}/dense"] = dense.expand(1 if name == "none" else 5, -1, GRID, GRID)
        out |= {} if sparse is None else {f"{name}/sparse": sparse}
    tensors = params(encoder) | named("in", given) | named("out", out)
    write_case(folder, "sam", "prompt_encoder", {"config": CONFIG, "tol": CLOSE}, tensors)


def record_decoder(folder: Path) -> None:
    """Writes ``mask_decoder``: four prompts."""
    decoder = network().mask_decoder
    embeddings, pe = torch.randn(1, DIM, GRID, GRID), torch.randn(1, DIM, GRID, GRID)
    sparse, dense, several = torch.randn(4, 3, DIM), torch.randn(4, DIM, GRID, GRID), torch.randn(4, DIM, GRID, GRID)
    given = {"image_embeddings": embeddings, "image_pe": pe, "sparse": sparse, "dense": dense}
    cells, places = (embeddings + dense).flatten(2).mT, pe.flatten(2).mT
    out = {}
    out["transformer/queries"], out["transformer/keys"] = decoder.transformer(cells, places, sparse)
    out["multi/masks"], out["multi/iou"] = decoder(embeddings, pe, sparse, dense, True)
    out["single/masks"], out["single/iou"] = decoder(embeddings, pe, sparse, dense, False)
    out["batched/masks"], out["batched/iou"] = decoder(several, pe, sparse, dense, False)
    out["noprompt/masks"], out["noprompt/iou"] = decoder(embeddings, pe, None, dense[:1], False)
    assert out["multi/iou"].shape == (4, MASKS)
    given |= {"image_embeddings_batch": several, "grad_masks": torch.randn(out["single/masks"].shape)}
    names = ("iou_token.weight", "transformer.layers.2.mlp.lin1.weight")
    grads = gradients(decoder, (out["single/masks"] * given["grad_masks"]).sum(), names)
    tensors = params(decoder) | named("in", given) | named("out", out) | grads
    write_case(folder, "sam", "mask_decoder", {"config": CONFIG, "tol": {"rtol": 2e-4, "atol": 5e-5}}, tensors)


@torch.no_grad()
def record_network(folder: Path) -> None:
    """Writes ``sam_full``: three images with points and a box, points alone, a mask alone; other predictor prompts."""
    model, resize = network(), ResizeLongestSide(SIDE)
    masks = torch.randn(3, 1, 4 * GRID, 4 * GRID)
    prompts = [
        {"point_coords_orig": torch.rand(2, 2, 2) * 50, "point_labels": torch.tensor([[1, 0], [0, 1]]),
         "boxes_orig": torch.tensor([[3.0, 4, 40, 44], [10, 0, 79, 20]])},
        {"point_coords_orig": torch.rand(1, 1, 2) * 40, "point_labels": torch.tensor([[1]])},
        {"mask_inputs": masks},
    ]  # fmt: skip
    given, out, features = {}, {}, []
    for i, (size, prompt) in enumerate(zip(IMAGES, prompts, strict=True)):
        pixels = image(*size, seed=i)
        small = torch.from_numpy(resize.apply_image(pixels))
        given |= named(str(i), {"image_uint8": torch.from_numpy(pixels), **prompt})
        padded = model.preprocess(small.permute(2, 0, 1)[None])
        features.append(model.embed(padded))
        out |= {f"{i}/resized_uint8": small, f"{i}/preprocessed": padded[0]}
        places = {"labels": prompt.get("point_labels"), "masks": prompt.get("mask_inputs")}
        if "point_coords_orig" in prompt:
            places["points"] = resize.apply_coords_torch(prompt["point_coords_orig"], size)
        if "boxes_orig" in prompt:
            places["boxes"] = resize.apply_boxes_torch(prompt["boxes_orig"], size)
        for name, multimask in (("multi", True), ("single", False)):
            low_res, iou = model.predict_masks(features[-1], **places, multimask=multimask)
            logits = model.upscale(low_res, RESIZED[i], size)
            answer = {"masks": (logits > 0).to(torch.uint8), "iou": iou, "low_res": low_res, "logits": logits}
            out |= named(f"{i}/{name}", answer)
    out["embeddings"] = torch.cat(features)
    out |= _predictor_answers(model, image(*IMAGES[1], seed=1))
    notes = (
        "predictor/point2: points (0.25w,0.5h,label 1),(0.75w,0.1h,label 0),(0.5w,0.5h,label 1) multimask; "
        "predictor/box_mask: box (5,6,0.5w,0.8h) + low_res mask index 0 of point2, single. masks are logits > 0."
    )
    sizes = [{"original": list(size), "resized": list(small)} for size, small in zip(IMAGES, RESIZED, strict=True)]
    info = {"config": CONFIG, "images": sizes, "notes": notes, "tol": {"rtol": 5e-4, "atol": 5e-4}}
    write_case(folder, "sam", "sam_full", info, params(model) | named("in", given) | named("out", out))


def _predictor_answers(model: Sam, pixels: np.ndarray) -> dict[str, Tensor]:
    predictor = SamPredictor(model)
    predictor.set_image(pixels)
    height, width = pixels.shape[:2]
    points = np.array([[0.25 * width, 0.5 * height], [0.75 * width, 0.1 * height], [0.5 * width, 0.5 * height]])
    first = predictor.predict(points, np.array([1, 0, 1]), return_logits=True)
    box = np.array([5, 6, 0.5 * width, 0.8 * height])
    second = predictor.predict(box=box, mask_input=first[2][:1], multimask_output=False, return_logits=True)
    out = {"predictor/bgr_features_maxdiff": torch.zeros(1)}
    for name, answer in (("point2", first), ("box_mask", second)):
        values = zip(("logits", "iou", "low_res"), map(torch.from_numpy, answer), strict=True)
        out |= named(f"predictor/{name}", dict(values))
    return out


def record_encoder(folder: Path) -> None:
    """Writes ``image_encoder``: three blocks."""
    torch.manual_seed(12)
    encoder, x = image_encoder(), torch.randn(1, 3, SIDE, SIDE)
    tokens = encoder.patch_embed(x)
    out = {"patch_embed": tokens}
    tokens = tokens + encoder.pos_embed
    for i, block in enumerate(encoder.blocks):
        tokens = out[f"block_{i}"] = block(tokens)
    out["y"] = encoder.neck(tokens.permute(0, 3, 1, 2))
    grad_y = torch.randn(out["y"].shape)
    names = ("pos_embed", "blocks.2.attn.rel_pos_h", "blocks.1.mlp.lin1.weight")
    grads = gradients(encoder, (out["y"] * grad_y).sum(), names)
    tensors = params(encoder) | {"in/x": x, "in/grad_y": grad_y} | named("out", out) | grads
    write_case(folder, "sam", "image_encoder", {"config": CONFIG, "tol": CLOSE}, tensors)


def record_windows(folder: Path) -> None:
    """Writes ``rel_pos_windows``: windows of 3, a table of 9 rows."""
    table, x = torch.randn(9, 4), torch.randn(2, 8, 7, 5)
    out = {"windows": split_windows(x, 3)[0], "unwindows": x}
    out |= {f"rel_{q}_{k}": relative_positions(q, k, table) for q, k in ((5, 5), (9, 9), (3, 6))}
    write_case(
        folder, "sam", "rel_pos_windows", {"tol": CLOSE}, {"in/table": table, "in/win_x": x, **named("out", out)}
    )


@torch.no_grad()
def record_lora(folder: Path) -> None:
    """Writes ``lora_block``: a block without windows, updates of q and k."""
    torch.manual_seed(13)
    block = randomize(Block(24, 3, 2.0, 0, 5)).eval()
    block.norm1.eps = block.norm2.eps = EPS
    x = torch.randn(3, 5, 5, 24)
    state, plain = params(block), block(x)
    updates = {f"a_{part}": torch.randn(2, 24) / 5 for part in "qk"}
    updates |= {f"b_{part}": torch.randn(24, 2) / 5 for part in "qk"}
    for i, part in enumerate("qk"):
        block.attn.qkv.weight[24 * i : 24 * i + 24] += updates[f"b_{part}"] @ updates[f"a_{part}"]
    out = {"plain": plain, "lora": block(x), "merged_qkv_weight": block.attn.qkv.weight}
    config = {"dim": 24, "num_heads": 3, "rank": 2, "grid": 5, "window_size": 0, "norm_eps": EPS}
    tensors = state | {"in/x": x} | named("lora", updates) | named("out", out)
    write_case(folder, "sam", "lora_block", {"config": config, "tol": CLOSE}, tensors)


TINY_VIT = {
    "img_size": 96,
    "num_classes": 7,
    "drop_path_rate": 0.1,
    "mbconv_expand_ratio": 2.0,
    "local_conv_size": 3,
    "embed_dims": [8, 12, 20, 24],
    "depths": [2, 1, 2, 1],
    "num_heads": [2, 3, 4, 2],
    "window_sizes": [5, 4, 3, 6],
    "mlp_ratio": 2.0,
}


@torch.no_grad()
def record_tiny_vit(folder: Path) -> None:
    """Writes ``tiny_vit_small`` and the pair ``tiny_vit_1024_*``: necks of 12 channels, a head of 7 classes."""
    torch.manual_seed(14)
    model = TinyViT(96, [8, 12, 20, 24], [2, 1, 2, 1], [2, 3, 4, 2], [5, 4, 3, 6], 2.0, 2.0, 12, num_classes=7)
    randomize(model, 0.05).eval()
    halves = {name: x.half() if x.is_floating_point() else x for name, x in model.state_dict().items()}
    model.load_state_dict({name: x.float() if x.is_floating_point() else x for name, x in halves.items()})
    x, tokens = torch.randn(3, 3, 96, 96), torch.randn(1, 20, 6, 6)
    stages, y = [model.patch_embed(x)], model(x)
    for stage in model.layers:
        stages.append(stage(stages[-1]))
    block = model.layers[2].blocks[1](tokens).flatten(2).mT
    state = params(model)
    model.train_batch_norm = True
    out = {"y": y, "block_tokens": block, "y_train_mode": model.train()(x)}
    notes = "param/* are the weights before. block_tokens: layers[2].blocks[1] alone, resolution [6, 6]."
    info = {"config": TINY_VIT | {"out_chans": 12}, "notes": notes, "tol": {"rtol": 1e-4, "atol": 2e-5}}
    given = {"x": x, "block_tokens": tokens.flatten(2).mT}
    write_case(folder, "sam", "tiny_vit_small", info, state | named("in", given) | named("out", out))
    model.train_batch_norm = False
    model.load_state_dict({name.removeprefix("param/"): tensor for name, tensor in state.items()})
    low = torch.randn(1, 3, 8, 8)
    y = model.eval()(low.repeat_interleave(12, 2).repeat_interleave(12, 3))
    stage = model.patch_embed(low.repeat_interleave(12, 2).repeat_interleave(12, 3))
    out = {
        "y_slice": y[:, ::5, ::2, ::3],
        "y_mean_per_channel": y.mean((2, 3)),
        "patch_embed_slice": stage[:, ::3, ::4],
    }
    for i, layer in enumerate(model.layers):
        stage = layer(stage)
        out[f"layer{i}_slice"] = stage.flatten(2).mT[:, ::11]
    notes = (
        "y_slice = y[:, ::5, ::2, ::3] of y (1,12,6,6); layer{i}_slice = output (1,N,C) of stage i, every 11th token; "
        "patch_embed_slice = [:,::3,::4,:]."
    )
    info = {"config": TINY_VIT, "notes": notes, "tol": {"rtol": 1e-3, "atol": 1e-4}}
    write_case(folder, "sam", "tiny_vit_1024_io", info, {"in/x_low": low, **named("out", out)})
    write_case(folder, "sam", "tiny_vit_1024_params", {"config": TINY_VIT}, named("param", halves))


def record_transforms(folder: Path) -> None:
    """Writes ``transforms``: other sides, a high image."""
    pixels, coords, boxes = image(70, 30), np.random.default_rng(1).random((4, 2)) * 30, np.array([[1.0, 2, 20, 60]])
    out, table = {}, {}
    for side, size in ((48, (48, 21)), (200, (200, 86))):
        scale = np.array([size[1] / 30, size[0] / 70])
        resize = ResizeLongestSide(side)
        out[f"apply_image_{side}"] = torch.from_numpy(resize.apply_image(pixels))
        batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
        out[f"apply_image_torch_{side}"] = F.interpolate(batch, size, mode="bilinear", antialias=True)
        out[f"coords_{side}_f64"] = torch.from_numpy(coords * scale)
        out[f"boxes_{side}_f64"] = torch.from_numpy(boxes * np.tile(scale, 2))
        table[str(side)] = {"70x30": list(size), "1x900": [0, side]}
    given = {"image_uint8": torch.from_numpy(pixels), "coords_f64": torch.from_numpy(coords)}
    given["boxes_f64"] = torch.from_numpy(boxes)
    info = {"shape_table": table, "tol": {"uint8": "exact", "float": 1e-4}}
    write_case(folder, "sam", "transforms", info, named("in", given) | named("out", out))
