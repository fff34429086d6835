"""Configuration of SEEM, continued: the image backbones (MODEL.BACKBONE) and the rules between their keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...utils.config.schema import key, section
from ...utils.errors import ConfigError, did_you_mean

LEVELS = ("res2", "res3", "res4", "res5")
BACKBONES = ("focal", "focal_dw", "davit", "vit", "timm")

# What LORA.TARGETS can name in the backbones that have no adapters of their own.
_LORA_EXAMPLES = {
    "davit": "['backbone.body.stages.*.attn.qkv']",
    "vit": "['backbone.blocks.*.attn.qkv']",
    "timm": "['backbone.body.*qkv'] or another pattern of linear layers",
}


@dataclass(frozen=True, kw_only=True)
class Focal:
    PRETRAIN_IMG_SIZE: int = key(
        224, "Image side in pre-training.", no_effect="FocalNet has no parameter of image size"
    )
    PATCH_SIZE: int = key(4, "Stride of the stem in pixels.", minimum=1)
    EMBED_DIM: int = key(192, "Channels of stage 1; each later stage has twice as many.", minimum=1)
    DEPTHS: list[int] = key([2, 2, 18, 2], "Blocks of the four stages.", minimum=1)
    FOCAL_LEVELS: list[int] = key([4, 4, 4, 4], "Focal levels of each stage.", minimum=1)
    FOCAL_WINDOWS: list[int] = key([3, 3, 3, 3], "Kernel of the first focal level of each stage; odd.", minimum=1)
    DROP_PATH_RATE: float = key(0.3, "Stochastic depth of the last block; grows linearly from 0.", minimum=0, maximum=1)
    MLP_RATIO: float = key(4.0, "Hidden channels of a block's MLP, as a multiple of its channels.", minimum=0)
    DROP_RATE: float = key(0.0, "Dropout in the blocks.", minimum=0, maximum=1)
    PATCH_NORM: bool = key(True, "LayerNorm after the stem.")
    USE_CONV_EMBED: bool = key(True, "Overlapping 7x7 stem and 3x3 downsampling; False: kernel equals stride.")
    SCALING_MODULATOR: bool = key(True, "Divide the summed context by the number of its levels.")
    USE_CHECKPOINT: bool = key(False, "Recompute a block's activations in the backward pass: less memory, more time.")
    USE_POSTLN: bool = key(True, "LayerNorm after modulation and MLP; False: before.")
    USE_POSTLN_IN_MODULATION: bool = key(False, "One more LayerNorm inside the modulation.")
    USE_LAYERSCALE: bool = key(True, "Learned factor per channel on each residual branch, 1e-4 at start.")
    OUT_FEATURES: list[str] = key(list(LEVELS), "Stage outputs handed to the pixel decoder.", choices=LEVELS)
    OUT_INDICES: list[int] = key(
        [0, 1, 2, 3], "Stages with an output; they belong to OUT_FEATURES.", minimum=0, maximum=3
    )
    FINE_TUNE: bool = key(
        False,
        "Put an adapter into each block and train exactly these in the backbone. Of focal and focal_dw only; the other "
        "backbones are fine-tuned with LORA.TARGETS, or as a whole.",
    )
    ADAPTER: str = key(
        "light",
        "light: bottleneck with a depthwise kernel. dense: the published one, 25.5 C^2 parameters per block.",
        choices=("light", "dense"),
    )
    ADAPTER_INIT: str = key(
        "neutral",
        "neutral: adapters change nothing at start. reference: random, as published.",
        choices=("neutral", "reference"),
    )
    ADAPTER_RATIO: int = key(4, "Channels of a block divided by those of its light adapter.", minimum=1)


@dataclass(frozen=True, kw_only=True)
class Davit:
    DROP_PATH_RATE: float = key(0.3, "Stochastic depth of the last block; grows linearly from 0.", minimum=0, maximum=1)
    PATCH_SIZE: list[int] = key(
        [7, 2, 2, 2], "Kernels of the stem and of the three downsamplings: 7, then three times 2 (d3) or 3 (d5)."
    )
    PATCH_STRIDE: list[int] = key([4, 2, 2, 2], "Their strides; only these are built.")
    PATCH_PADDING: list[int] = key(
        [3, 0, 0, 0], "Their paddings; they follow from the kernels: 3, then 0 (2) or 1 (3)."
    )
    PATCH_PRENORM: list[bool] = key([False, True, True, True], "Norm before the convolution; only these are built.")
    DIM_EMBED: list[int] = key([128, 256, 512, 1024], "Channels of the four stages; multiples of NUM_HEADS.", minimum=1)
    NUM_HEADS: list[int] = key([4, 8, 16, 32], "Heads of each stage's window attention.", minimum=1)
    NUM_GROUPS: list[int] = key(
        [4, 8, 16, 32], "Groups of each stage's channel attention; equal to NUM_HEADS.", minimum=1
    )
    DEPTHS: list[int] = key([1, 1, 9, 1], "Pairs of a window and a channel block in each stage.", minimum=1)
    OUT_FEATURES: list[str] = key(list(LEVELS), "Stage outputs handed to the pixel decoder.", choices=LEVELS)
    OUT_INDICES: list[int] = key(
        [0, 1, 2, 3], "Stages with an output; they belong to OUT_FEATURES.", minimum=0, maximum=3
    )
    ENABLE_CHECKPOINT: bool = key(False, "Recompute a block's activations in the backward pass.")


@dataclass(frozen=True, kw_only=True)
class Vit:
    SIZE: str = key("base", "Width and depth, as in SAM's vit_b, vit_l, vit_h.", choices=("base", "large", "huge"))
    IMAGE_SIZE: int = key(
        1024,
        "Image side in pixels that the position tables are made for, a multiple of 16. Images of other sizes, and weights "
        "of other tables, are interpolated.",
        minimum=16,
    )
    OUT_FEATURES: list[str] = key(list(LEVELS), "Maps handed to the pixel decoder.", choices=LEVELS)
    OUT_INDICES: list[int] = key([0, 1, 2, 3], "", no_effect="OUT_FEATURES names the maps", minimum=0, maximum=3)
    USE_CHECKPOINT: bool = key(False, "Recompute a block's activations in the backward pass: less memory, more time.")


@dataclass(frozen=True, kw_only=True)
class Timm:
    NAME: str = key(
        "convnext_tiny",
        "timm's name of the model; any that offers feature maps at strides 4, 8, 16 and 32 and takes images of any size, "
        "e.g. resnet50, convnext_tiny, swin_tiny_patch4_window7_224.",
    )
    OUT_INDICES: list[int] = key(
        [], "Which of its feature maps become res2..res5; empty: those at strides 4, 8, 16, 32.", minimum=0
    )
    DROP_PATH_RATE: float = key(0.0, "Stochastic depth, for models that have it; 0: none.", minimum=0, maximum=1)
    USE_CHECKPOINT: bool = key(False, "Recompute activations in the backward pass, for models that can.")
    DOWNLOAD: bool = key(
        False,
        "Load the weights that timm publishes for NAME, from its hub (needs the network). Weights from a file: "
        "MODEL.BACKBONE.PRETRAINED and LOAD_PRETRAINED.",
    )


@dataclass(frozen=True, kw_only=True)
class Backbone:
    NAME: str = key(
        "focal",
        "Image backbone: focal (FocalNet), focal_dw (with depthwise convolutions, for Focal-T), davit, vit (SAM's image "
        "encoder) or timm (any model of timm with four feature maps).",
    )
    PRETRAINED: str = key(
        "",
        "Weight file, or folder, of the backbone alone. focal and focal_dw: the published layout or that of transformers. "
        "vit: also a file of SAM. davit, timm: the published layout, or timm's.",
    )
    LOAD_PRETRAINED: bool = key(False, "Load PRETRAINED into the backbone before RESUME_FROM.")
    PRETRAINED_LAYERS: str = key("*", "", no_effect="all parameters of PRETRAINED that fit are loaded")
    FOCAL: Focal = section(Focal, "FocalNet, for focal and focal_dw.")
    DAVIT: Davit = section(Davit, "DaViT, of the published davitd3 and davitd5 files.")
    VIT: Vit = section(Vit, "SAM's image encoder with a feature pyramid, of the published samvitb and samvitl files.")
    TIMM: Timm = section(Timm, "Any backbone of timm.")


def check_backbone(model: Any) -> None:
    """Checks the rules that join keys of the backbone.

    Args:
        model: section MODEL.

    Raises:
        ConfigError: naming the keys, what was found and what is expected.
    """
    backbone = model.BACKBONE
    name = backbone.NAME
    if name not in BACKBONES:
        raise ConfigError(
            f"MODEL.BACKBONE.NAME {name!r} is unknown{did_you_mean(name, BACKBONES) or '.'} Built: {', '.join(BACKBONES)}."
        )
    {"davit": _check_davit, "vit": _check_vit, "timm": _check_timm}.get(name, _check_focal)(backbone)
    if backbone.LOAD_PRETRAINED and not backbone.PRETRAINED:
        raise ConfigError("MODEL.BACKBONE.LOAD_PRETRAINED is on, but MODEL.BACKBONE.PRETRAINED names no file")
    if name not in ("focal", "focal_dw"):
        _check_other_than_focal(model)
    offered, where = offered_features(backbone)
    if [f for f in model.ENCODER.IN_FEATURES if f not in offered]:
        raise ConfigError(
            f"MODEL.ENCODER.IN_FEATURES {model.ENCODER.IN_FEATURES} asks for more than {where} {list(offered)} offers"
        )


def offered_features(backbone: Backbone) -> tuple[tuple[str, ...], str]:
    """Returns the names of the maps that the chosen backbone offers, and the key that says so."""
    if backbone.NAME == "timm":
        return LEVELS, "MODEL.BACKBONE.TIMM"
    part = {"davit": "DAVIT", "vit": "VIT"}.get(backbone.NAME, "FOCAL")
    return tuple(getattr(backbone, part).OUT_FEATURES), f"MODEL.BACKBONE.{part}.OUT_FEATURES"


def _check_other_than_focal(model: Any) -> None:
    """Checks what FocalNet alone can do: adapters, and images of any size."""
    name = model.BACKBONE.NAME
    if model.BACKBONE.FOCAL.FINE_TUNE:
        raise ConfigError(
            f"MODEL.BACKBONE.FOCAL.FINE_TUNE True: the backbone {name!r} has no place for adapters, only focal and focal_dw "
            f"have. Set it to False; to fine-tune this backbone, use LORA.TARGETS, e.g. {_LORA_EXAMPLES[name]}"
        )
    divisor = model.DECODER.SIZE_DIVISIBILITY
    if divisor % 32:
        raise ConfigError(
            f"MODEL.DECODER.SIZE_DIVISIBILITY {divisor}: the backbone {name!r} takes images whose sides are multiples of 32; "
            "set it to 32 or a multiple of that"
        )


def _check_focal(backbone: Backbone) -> None:
    focal, where = backbone.FOCAL, "MODEL.BACKBONE.FOCAL"
    _check_four(focal, where, "DEPTHS", "FOCAL_LEVELS", "FOCAL_WINDOWS")
    if any(window % 2 == 0 for window in focal.FOCAL_WINDOWS):
        raise ConfigError(f"{where}.FOCAL_WINDOWS {focal.FOCAL_WINDOWS}: kernels must be odd")
    _check_indices(focal, where)


def _check_davit(backbone: Backbone) -> None:
    davit, where = backbone.DAVIT, "MODEL.BACKBONE.DAVIT"
    _check_four(davit, where, "DEPTHS", "DIM_EMBED", "NUM_HEADS")
    kernel = davit.PATCH_SIZE[-1] if davit.PATCH_SIZE else 0
    built = {
        "PATCH_SIZE": [7, kernel, kernel, kernel] if kernel in (2, 3) else [7, 2, 2, 2],
        "PATCH_STRIDE": [4, 2, 2, 2],
        "PATCH_PADDING": [3, *[1 if kernel == 3 else 0] * 3],
        "PATCH_PRENORM": [False, True, True, True],
        "NUM_GROUPS": list(davit.NUM_HEADS),
    }
    for name, expected in built.items():
        found = getattr(davit, name)
        if list(found) != expected:
            raise ConfigError(f"{where}.{name} {found}: built is {expected}, with PATCH_SIZE {davit.PATCH_SIZE}")
    for dim, heads in zip(davit.DIM_EMBED, davit.NUM_HEADS, strict=True):
        if dim % heads:
            raise ConfigError(f"{where}.DIM_EMBED {davit.DIM_EMBED}: not multiples of NUM_HEADS {davit.NUM_HEADS}")
    _check_indices(davit, where)


def _check_vit(backbone: Backbone) -> None:
    if backbone.VIT.IMAGE_SIZE % 16:
        raise ConfigError(f"MODEL.BACKBONE.VIT.IMAGE_SIZE {backbone.VIT.IMAGE_SIZE} is not a multiple of 16")


def _check_timm(backbone: Backbone) -> None:
    timm, where = backbone.TIMM, "MODEL.BACKBONE.TIMM"
    if timm.OUT_INDICES and len(timm.OUT_INDICES) != len(LEVELS):
        raise ConfigError(f"{where}.OUT_INDICES {timm.OUT_INDICES}: expected four numbers, or none")
    if timm.DOWNLOAD and backbone.LOAD_PRETRAINED:
        raise ConfigError(
            f"{where}.DOWNLOAD and MODEL.BACKBONE.LOAD_PRETRAINED are both on: only one can give the weights"
        )


def _check_four(part: Any, where: str, *names: str) -> None:
    for name in names:
        numbers = getattr(part, name)
        if len(numbers) != 4:
            raise ConfigError(f"{where}.{name} {numbers}: expected four numbers, one for each stage")


def _check_indices(part: Any, where: str) -> None:
    if [f"res{i + 2}" for i in part.OUT_INDICES] != list(part.OUT_FEATURES):
        raise ConfigError(
            f"{where}.OUT_INDICES {part.OUT_INDICES} does not belong to OUT_FEATURES {part.OUT_FEATURES}: stage i is res(i+2)"
        )
