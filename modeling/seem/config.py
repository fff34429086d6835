"""Configuration of SEEM: every key of the published files, with its published default, and the keys added here.

Key names are the published ones, because job scripts use them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segfoundry.modeling.seem.config_data import (
    Ade20kSection,
    BddSection,
    CocoSection,
    DavisSection,
    RefSection,
    SbdSection,
    StrokeSampler,
    VocSection,
    VosSection,
    check_strokes,
)
from segfoundry.modeling.seem.config_model import Model
from segfoundry.utils.config.schema import key, section
from segfoundry.utils.errors import ConfigError, did_you_mean

MODEL_NAMES = ("seem_model_v1", "seem_model_v0", "seem_model_demo")

# name in the published files -> built here
_BACKBONES = {"focal": True, "focal_dw": True, "davit": False, "vit": False}
_PIXEL_DECODERS = {"transformer_encoder_fpn": True, "transformer_encoder_deform": True}
_DECODERS = {"seem_v1": True, "seem_v0": False, "seem_demo": False}
_MODELS = {"seem_model_v1": True, "seem_model_v0": False, "seem_model_demo": False}


_ATTENTION = {
    "VARIABLE": {
        "queries": ["object", "grounding", "spatial"],
        "tokens": ["grounding", "spatial"],
        "memories": ["spatial"],
    },
    "SELF_ATTENTION": {
        "queries": {
            "object": ["queries_object"],
            "grounding": ["queries_grounding", "tokens_grounding"],
            "spatial": ["queries_spatial", "tokens_spatial", "memories_spatial"],
        },
        "tokens": {"grounding": ["queries_grounding", "tokens_grounding"], "spatial": ["tokens_spatial"]},
        "memories": {"spatial": ["memories_spatial"]},
    },
    "CROSS_ATTENTION": {
        "queries": {"object": True, "grounding": True, "spatial": True},
        "memories": {"spatial": True},
        "tokens": {"grounding": False, "spatial": False},
    },
    "MASKING": ["tokens_spatial", "tokens_grounding"],
    "DUPLICATION": {"queries": {"grounding": "queries_object", "spatial": "queries_object"}},
    "SPATIAL_MEMORIES": 32,
    "QUERY_NUMBER": 3,
}


@dataclass(kw_only=True)
class Section:
    """Top-level sections of SEEM."""

    MODEL: Model = section(Model)
    COCO: CocoSection = section(CocoSection)
    ADE20K: Ade20kSection = section(Ade20kSection)
    SBD: SbdSection = section(SbdSection)
    VOC: VocSection = section(VocSection)
    DAVIS: DavisSection = section(DavisSection)
    VOS: VosSection = section(VosSection)
    REF: RefSection = section(RefSection)
    BDD: BddSection = section(BddSection)
    STROKE_SAMPLER: StrokeSampler = section(StrokeSampler)
    ATTENTION_ARCH: dict[str, Any] = key(
        _ATTENTION,
        "Groups of queries, tokens and memories, in this order, and which group attends to which. SPATIAL_MEMORIES: slots "
        "of the interactive memory; QUERY_NUMBER: queries per prompted object.",
    )


def active_tasks(cfg: Any) -> tuple[dict[str, bool], list[str]]:
    """Returns which training tasks run, and a notice for each one that is switched on but not built.

    Args:
        cfg: resolved configuration.

    Returns:
        {"mask", "spatial", "grounding"} -> runs or not; sentences for the log.
    """
    wanted = {name: bool(cfg.MODEL.DECODER[name.upper()].ENABLED) for name in ("mask", "spatial", "grounding")}
    notices = [
        f"MODEL.DECODER.{name.upper()}.ENABLED switches itself off: this task is not built yet."
        for name in ("spatial", "grounding")
        if wanted[name]
    ]
    return {"mask": wanted["mask"], "spatial": False, "grounding": False}, notices


def shipped_config(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Returns the file below ``configs`` that describes a published weight file, or None.

    Args:
        shapes: parameter name -> shape.
    """
    stem = shapes.get("backbone.patch_embed.proj.weight")
    fpn = "sem_seg_head.pixel_decoder.input_proj.weight" in shapes  # the deformable decoder has a list of them
    if stem is None or not fpn or "sem_seg_head.predictor.spatial_featured.weight" not in shapes:
        return None
    depthwise = "backbone.layers.0.blocks.0.dw1.weight" in shapes
    published = {(192, False): "seem/focall_unicl_lang_v1.yaml", (96, True): "seem/focalt_unicl_lang_v1.yaml"}
    return published.get((stem[0], depthwise))


def tiny() -> dict[str, Any]:
    """Returns the smallest configuration that trains: dotted key -> value."""
    return {
        "MODEL.NAME": "seem_model_v1",
        "MODEL.DIM_PROJ": 32,
        "MODEL.TEXT.WIDTH": 32,
        "MODEL.TEXT.HEADS": 4,
        "MODEL.TEXT.LAYERS": 1,
        "MODEL.TEXT.CONTEXT_LENGTH": 16,
        "MODEL.TEXT.PROMPT": "plain",
        "MODEL.BACKBONE.FOCAL.EMBED_DIM": 8,
        "MODEL.BACKBONE.FOCAL.DEPTHS": [1, 1, 1, 1],
        "MODEL.BACKBONE.FOCAL.FOCAL_LEVELS": [2, 2, 2, 2],
        "MODEL.BACKBONE.FOCAL.DROP_PATH_RATE": 0.0,
        "MODEL.ENCODER.CONVS_DIM": 32,
        "MODEL.ENCODER.MASK_DIM": 32,
        "MODEL.ENCODER.TRANSFORMER_ENC_LAYERS": 1,
        "MODEL.DECODER.HIDDEN_DIM": 32,
        "MODEL.DECODER.NHEADS": 4,
        "MODEL.DECODER.DIM_FEEDFORWARD": 64,
        "MODEL.DECODER.DEC_LAYERS": 3,
        "MODEL.DECODER.NUM_OBJECT_QUERIES": 11,
        "MODEL.DECODER.TRAIN_NUM_POINTS": 64,
        "MODEL.DECODER.SPATIAL.ENABLED": False,
        "MODEL.DECODER.GROUNDING.ENABLED": False,
        "COCO.INPUT.IMAGE_SIZE": 64,
        "COCO.INPUT.MIN_SCALE": 0.8,
        "COCO.INPUT.MAX_SCALE": 1.25,
        "SOLVER.FIX_PARAM": {"lang_encoder": True},
        "SOLVER.BASE_LR": 1e-3,
        "SOLVER.MAX_ITERS": 4,
        "TRAIN.BATCH_SIZE_TOTAL": 2,
        "TRAIN.EVAL_EVERY_EPOCHS": 0,
        "TEST.BATCH_SIZE_TOTAL": 2,
        "DATALOADER.NUM_WORKERS": 0,
        "LOG_EVERY": 1,
        "DEVICE": "cpu",
    }


def check(cfg: Any) -> None:
    """Checks the rules that join several keys of SEEM.

    Raises:
        ConfigError: naming the keys, what was found and what is expected.
    """
    model = cfg.MODEL
    _check_name("MODEL.NAME", model.NAME, _MODELS)
    _check_name("MODEL.BACKBONE.NAME", model.BACKBONE.NAME, _BACKBONES)
    _check_name("MODEL.ENCODER.NAME", model.ENCODER.NAME, _PIXEL_DECODERS)
    _check_name("MODEL.DECODER.NAME", model.DECODER.NAME, _DECODERS)
    _check_backbone(model.BACKBONE)
    _check_widths(cfg)
    check_strokes(cfg.STROKE_SAMPLER)
    if not any(active_tasks(cfg)[0].values()):
        raise ConfigError(
            "MODEL.DECODER.MASK.ENABLED False leaves no task: the spatial and grounding tasks are not built"
        )
    scales = cfg.COCO.INPUT
    if not 0 < scales.MIN_SCALE <= scales.MAX_SCALE:
        raise ConfigError(
            f"COCO.INPUT.MIN_SCALE {scales.MIN_SCALE} and MAX_SCALE {scales.MAX_SCALE}: expected 0 < MIN_SCALE <= MAX_SCALE"
        )


def _check_name(name: str, value: str, known: dict[str, bool]) -> None:
    built = ", ".join(k for k, exists in known.items() if exists)
    if value not in known:
        raise ConfigError(f"{name} {value!r} is unknown{did_you_mean(value, known) or '.'} Built: {built}.")
    if not known[value]:
        raise ConfigError(f"{name} {value!r} is a published variant that is not built yet. Built: {built}.")


def _check_backbone(backbone: Any) -> None:
    focal, where = backbone.FOCAL, "MODEL.BACKBONE.FOCAL"
    for name in ("DEPTHS", "FOCAL_LEVELS", "FOCAL_WINDOWS"):
        if len(focal[name]) != 4:
            raise ConfigError(f"{where}.{name} {focal[name]}: expected four numbers, one for each stage")
    if any(window % 2 == 0 for window in focal.FOCAL_WINDOWS):
        raise ConfigError(f"{where}.FOCAL_WINDOWS {focal.FOCAL_WINDOWS}: kernels must be odd")
    if [f"res{i + 2}" for i in focal.OUT_INDICES] != list(focal.OUT_FEATURES):
        raise ConfigError(
            f"{where}.OUT_INDICES {focal.OUT_INDICES} does not belong to OUT_FEATURES {focal.OUT_FEATURES}: stage i is res(i+2)"
        )
    if backbone.LOAD_PRETRAINED and not backbone.PRETRAINED:
        raise ConfigError("MODEL.BACKBONE.LOAD_PRETRAINED is on, but MODEL.BACKBONE.PRETRAINED names no file")


def _check_widths(cfg: Any) -> None:
    model = cfg.MODEL
    encoder, decoder, text = model.ENCODER, model.DECODER, model.TEXT
    for name, value, divisor_name, divisor in (
        ("MODEL.ENCODER.CONVS_DIM", encoder.CONVS_DIM, "the 32 groups of its normalisation", 32),
        ("MODEL.ENCODER.CONVS_DIM", encoder.CONVS_DIM, "MODEL.DECODER.NHEADS", decoder.NHEADS),
        ("MODEL.DECODER.HIDDEN_DIM", decoder.HIDDEN_DIM, "MODEL.DECODER.NHEADS", decoder.NHEADS),
        ("MODEL.DECODER.HIDDEN_DIM", decoder.HIDDEN_DIM, "4 (sine position encoding)", 4),
        ("MODEL.TEXT.WIDTH", text.WIDTH, "MODEL.TEXT.HEADS", text.HEADS),
    ):
        if value % divisor:
            raise ConfigError(
                f"{name} {value} is not a multiple of {divisor_name}"
                + (f" {divisor}" if divisor_name.endswith("HEADS") else "")
            )
    tasks, _ = active_tasks(cfg)
    if tasks["grounding"] and model.DIM_PROJ != decoder.HIDDEN_DIM:
        raise ConfigError(
            f"MODEL.DIM_PROJ {model.DIM_PROJ} differs from MODEL.DECODER.HIDDEN_DIM {decoder.HIDDEN_DIM}, but text tokens join "
            "the queries: set both to the same number, or MODEL.DECODER.GROUNDING.ENABLED False"
        )
    if [f for f in encoder.IN_FEATURES if f not in model.BACKBONE.FOCAL.OUT_FEATURES]:
        raise ConfigError(
            f"MODEL.ENCODER.IN_FEATURES {encoder.IN_FEATURES} asks for more than MODEL.BACKBONE.FOCAL.OUT_FEATURES "
            f"{model.BACKBONE.FOCAL.OUT_FEATURES} offers"
        )
