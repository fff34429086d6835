"""Cases of the backbones beside FocalNet."""

from __future__ import annotations

import torch
from torch import Tensor

from segfoundry.modeling.seem.backbones.davit import DaViTBackbone
from segfoundry.modeling.seem.backbones.vit import SimpleFeaturePyramid
from segfoundry.modeling.weights.load_state import load_state

from .....support.goldens import Case, only, runner


@runner("seem", "davit*", "DaViT")
def run_davit(case: Case) -> dict[str, Tensor]:
    c = case.config
    stages, kernel = len(c["DEPTHS"]), c["PATCH_SIZE"][1]
    only(
        c,
        NUM_GROUPS=c["NUM_HEADS"],
        PATCH_SIZE=[7] + [kernel] * (stages - 1),
        PATCH_STRIDE=[4] + [2] * (stages - 1),
        PATCH_PADDING=[3] + [kernel // 2 if kernel % 2 else 0] * (stages - 1),
        PATCH_PRENORM=[False] + [True] * (stages - 1),
    )
    model = DaViTBackbone(
        embed_dims=c["DIM_EMBED"],
        depths=c["DEPTHS"],
        num_heads=c["NUM_HEADS"],
        down_kernel_size=kernel,
        drop_path_rate=c["DROP_PATH_RATE"],
        out_indices=c["OUT_INDICES"],
    )
    load_state(model, case.group("param"), source=case.name, strict=True)
    with torch.no_grad():
        return model.eval()(case.tensors["in/image"])


@runner("seem", "vit_pyramid", "SimpleFPN")
def run_pyramid(case: Case) -> dict[str, Tensor]:
    model = case.load_into(SimpleFeaturePyramid(case.config["in_dim"], case.config["out_dims"]))
    with torch.no_grad():
        return model(case.tensors["in/x"])
