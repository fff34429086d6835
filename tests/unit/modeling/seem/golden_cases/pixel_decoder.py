"""Pixel decoder and deformable attention cases."""

from __future__ import annotations

import torch
from torch import Tensor

from segfoundry.modeling.layers.ms_deform_attn import multi_scale_deformable_attention
from segfoundry.modeling.seem.pixel_decoders.build_pixel_decoder import PIXEL_DECODERS
from segfoundry.modeling.seem.pixel_decoders.deformable import DeformableEncoderLayer

from .....support.goldens import Case, only, runner


@runner("seem", "msdeform_core*", "ms_deform_attn_core*")
def run_core(case: Case) -> dict[str, Tensor]:
    inputs = case.group("in")
    names = ("value", "sampling_locations", "attention_weights")
    leaves = {name: inputs[name].clone().requires_grad_() for name in names}
    output = multi_scale_deformable_attention(
        leaves["value"], sizes_of(inputs), leaves["sampling_locations"], leaves["attention_weights"]
    )
    output.backward(inputs["grad_output"])
    return {"output": output} | {f"grad_{name}": leaf.grad for name, leaf in leaves.items()}


@runner("seem", "msdeform_layer*", "MSDeformAttnTransformerEncoderLayer")
def run_layer(case: Case) -> dict[str, Tensor]:
    c, x = case.config, case.group("in")
    only(c, activation="relu")
    layer = DeformableEncoderLayer(
        dim=c["d_model"],
        num_heads=c["n_heads"],
        num_levels=c["n_levels"],
        num_points=c["n_points"],
        feedforward_dim=c["d_ffn"],
        dropout=c["dropout"],
    )
    case.load_into(layer)
    args = (x["src"], x["pos"], x["reference_points"], sizes_of(x))
    with torch.no_grad():
        return {
            "output": layer(*args),
            "output_with_padding_mask": layer(*args, padding_mask=x["padding_mask"]),
            "self_attn_only": layer.self_attn(x["src"] + x["pos"], x["reference_points"], x["src"], sizes_of(x)),
        }


@runner("seem", "pixel_decoder*", "*PixelDecoder")
def run_pixel_decoder(case: Case) -> dict[str, Tensor]:
    encoder, decoder = case.config["ENCODER"], case.config["DECODER"]
    only(encoder, COMMON_STRIDE=4)
    features = case.group("in")
    channels = dict(zip(encoder["IN_FEATURES"], case.config["input_channels"], strict=True))
    model = PIXEL_DECODERS.get(encoder["NAME"])(
        input_channels=channels,
        conv_dim=encoder["CONVS_DIM"],
        mask_dim=encoder["MASK_DIM"],
        norm=encoder["NORM"],
        num_layers=encoder["TRANSFORMER_ENC_LAYERS"],
        num_heads=decoder["NHEADS"],
        feedforward_dim=decoder["DIM_FEEDFORWARD"],
        dropout=decoder["DROPOUT"],
        pre_norm=decoder["PRE_NORM"],
        transformer_features=encoder["DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES"],
    )
    case.load_into(model)
    with torch.no_grad():
        mask_features, encoded, multi_scale = model(features)
    outputs = {"mask_features": mask_features, "transformer_encoder_features": encoded}
    return outputs | {f"multi_scale_{i}": level for i, level in enumerate(multi_scale)}


def sizes_of(inputs: dict[str, Tensor]) -> list[tuple[int, int]]:
    return [tuple(size) for size in inputs["spatial_shapes"].tolist()]
