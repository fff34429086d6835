"""Backbone cases."""

from __future__ import annotations

import torch
from torch import Tensor

from segfoundry.modeling.seem.backbones.focalnet import FocalNet

from .....support.goldens import Case, runner


@runner("seem", "focalnet*", "D2FocalNet*")
def run(case: Case) -> dict[str, Tensor]:
    depthwise = "focal_dw" in case.info["class"]
    c = case.config
    model = FocalNet(
        embed_dim=c["EMBED_DIM"],
        depths=c["DEPTHS"],
        focal_levels=c["FOCAL_LEVELS"],
        focal_windows=c["FOCAL_WINDOWS"],
        patch_size=c["PATCH_SIZE"],
        mlp_ratio=c["MLP_RATIO"],
        drop_rate=c["DROP_RATE"],
        drop_path_rate=c["DROP_PATH_RATE"],
        patch_norm=c["PATCH_NORM"],
        use_conv_embed=c["USE_CONV_EMBED"],
        scaling_modulator=c["SCALING_MODULATOR"],
        use_postln=c["USE_POSTLN"],
        use_postln_in_modulation=c["USE_POSTLN_IN_MODULATION"],
        use_layerscale=c["USE_LAYERSCALE"],
        use_checkpoint=c["USE_CHECKPOINT"],
        out_indices=c["OUT_INDICES"],
        depthwise=depthwise,
        adapter="dense" if c["FINE_TUNE"] else None,
        adapter_init="reference",
    )
    case.load_into(model)
    outputs = {}
    with torch.no_grad():
        for name, image in case.group("in").items():
            suffix = name.removeprefix("image")
            outputs |= {f"{key}{suffix}": value for key, value in model(image).items()}
    return outputs
