"""Configuration of SEEM: every key of the published files, with its published default, and the keys added here.

Key names are the published ones, because job scripts use them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ...utils.config import sections
from ...utils.config.architectures import Architecture
from ...utils.config.schema import key, section
from ...utils.errors import ConfigError, did_you_mean
from .config_backbone import check_backbone
from .config_data import (
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
from .config_model import Model
from .recognise import Shapes, shipped_config

_PIXEL_DECODERS = ("transformer_encoder_fpn", "transformer_encoder_deform")
# decoder of each model
_DECODERS = {"seem_model_v1": "seem_v1", "seem_model_v0": "seem_v0", "seem_model_demo": "seem_demo"}

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


@dataclass(frozen=True, kw_only=True)
class Datasets(sections.Datasets):
    SIZE_DIVISIBILITY: int = key(32, "", no_effect="MODEL.DECODER.SIZE_DIVISIBILITY decides the padding")


@dataclass(frozen=True, kw_only=True)
class SeemConfig(sections.Shared):
    """Configuration of SEEM: the shared sections and its own."""

    DATASETS: Datasets = section(Datasets)

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


class SeemArchitecture(Architecture[SeemConfig]):
    """SEEM in its three variants."""

    model_names = ("seem_model_v1", "seem_model_v0", "seem_model_demo")
    config = SeemConfig
    part_weights_off = {
        "MODEL.BACKBONE.LOAD_PRETRAINED": False,
        "MODEL.BACKBONE.TIMM.DOWNLOAD": False,
        "MODEL.TEXT.OPEN_CLIP.PRETRAINED": "",
    }
    free_keys = ("MODEL.BACKBONE.*.USE_CHECKPOINT", "MODEL.TEXT.CACHE", "MODEL.TEXT.OPEN_CLIP.DOWNLOAD")
    class_count_key = "MODEL.ENCODER.NUM_CLASSES"
    class_weights = "criterion.empty_weight"
    task_switches = {
        "panoptic": "MODEL.DECODER.TEST.PANOPTIC_ON",
        "semantic": "MODEL.DECODER.TEST.SEMANTIC_ON",
        "instance": "MODEL.DECODER.TEST.INSTANCE_ON",
        "interactive": "MODEL.DECODER.SPATIAL.ENABLED",
        "referring": "MODEL.DECODER.GROUNDING.ENABLED",
    }
    training_memory = (
        "the training image size (COCO.INPUT.IMAGE_SIZE)",
        "or set the backbone's USE_CHECKPOINT True (slower, recomputes activations)",
    )

    def tiny(self) -> dict[str, Any]:
        """Returns the smallest configuration that trains: dotted key -> value."""
        return tiny()

    def check(self, cfg: SeemConfig) -> None:
        """Checks the rules that join several keys of SEEM; raises ConfigError."""
        check(cfg)

    def shipped_config(self, shapes: Shapes, file_name: str = "") -> str | None:
        """Returns the file below ``configs`` that describes a published weight file of SEEM, or None."""
        return shipped_config(shapes, file_name)

    def training_notices(self, cfg: SeemConfig) -> list[str]:
        """Returns what there is to say about weights of the backbone that nothing reads."""
        backbone = cfg.MODEL.BACKBONE
        whole = cfg.RESUME_FROM and (cfg.WEIGHT or cfg.RESUME)
        if not backbone.PRETRAINED or backbone.LOAD_PRETRAINED or whole:
            return []
        return [
            f"MODEL.BACKBONE.PRETRAINED {backbone.PRETRAINED} is not read, because MODEL.BACKBONE.LOAD_PRETRAINED is "
            "False: the backbone starts from random weights"
        ]

    def untrained_prompts(self, cfg: SeemConfig) -> dict[str, str]:
        """Prompts whose training task is off."""
        decoder, found = cfg.MODEL.DECODER, {}
        if not decoder.SPATIAL.ENABLED:
            found["stroke"] = "MODEL.DECODER.SPATIAL.ENABLED False"
        if not decoder.GROUNDING.ENABLED:
            found["text"] = "MODEL.DECODER.GROUNDING.ENABLED False"
        return found


def active_tasks(cfg: SeemConfig) -> dict[str, bool]:
    """Returns which training tasks are on: "mask", "spatial", "grounding" -> on or not."""
    trains = cfg.MODEL.NAME != "seem_model_demo"
    names = ("mask", "spatial", "grounding")
    return {name: trains and bool(getattr(cfg.MODEL.DECODER, name.upper()).ENABLED) for name in names}


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
        "MODEL.DECODER.MAX_SPATIAL_LEN": [16, 16, 16, 16],
        "STROKE_SAMPLER.MAX_CANDIDATE": 2,
        "ATTENTION_ARCH": {"SPATIAL_MEMORIES": 4, "QUERY_NUMBER": 2},
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


def check(cfg: SeemConfig) -> None:
    """Checks the rules that join several keys of SEEM.

    Raises:
        ConfigError: naming the keys, what was found and what is expected.
    """
    model = cfg.MODEL
    _check_name("MODEL.NAME", model.NAME, _DECODERS)
    _check_name("MODEL.ENCODER.NAME", model.ENCODER.NAME, _PIXEL_DECODERS)
    _check_name("MODEL.DECODER.NAME", model.DECODER.NAME, _DECODERS.values())
    if model.DECODER.NAME != _DECODERS[model.NAME]:
        raise ConfigError(
            f"MODEL.NAME {model.NAME!r} has the decoder {_DECODERS[model.NAME]!r}, but MODEL.DECODER.NAME is "
            f"{model.DECODER.NAME!r}: change one of them"
        )
    check_backbone(model)
    _check_widths(cfg)
    check_strokes(cfg.STROKE_SAMPLER)
    _check_tasks(cfg)
    scales = cfg.COCO.INPUT
    if not 0 < scales.MIN_SCALE <= scales.MAX_SCALE:
        raise ConfigError(
            f"COCO.INPUT.MIN_SCALE {scales.MIN_SCALE} and MAX_SCALE {scales.MAX_SCALE}: expected 0 < MIN_SCALE <= MAX_SCALE"
        )


def _check_tasks(cfg: SeemConfig) -> None:
    decoder, sampler = cfg.MODEL.DECODER, cfg.STROKE_SAMPLER
    if not (decoder.MASK.ENABLED or decoder.SPATIAL.ENABLED or decoder.GROUNDING.ENABLED):
        raise ConfigError(
            "MODEL.DECODER.MASK.ENABLED, SPATIAL.ENABLED and GROUNDING.ENABLED are all False, which leaves no task: "
            "switch one on"
        )
    if cfg.MODEL.NAME == "seem_model_v0" and decoder.SPATIAL.ENABLED and sampler.MAX_CANDIDATE > 1:
        raise ConfigError(
            f"STROKE_SAMPLER.MAX_CANDIDATE {sampler.MAX_CANDIDATE}: seem_model_v0 trains one stroked object per image, "
            "because all its queries stand for it; set 1, or train seem_model_v1"
        )
    if sampler.DILATION % 2 == 0:
        raise ConfigError(
            f"STROKE_SAMPLER.DILATION is {sampler.DILATION}, expected an odd number: a click has a middle"
        )


def _check_name(name: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise ConfigError(f"{name} {value!r} is unknown{did_you_mean(value, known) or '.'} Built: {', '.join(known)}.")


def _check_widths(cfg: SeemConfig) -> None:
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
    if active_tasks(cfg)["grounding"] and model.DIM_PROJ != decoder.HIDDEN_DIM:
        raise ConfigError(
            f"MODEL.DIM_PROJ {model.DIM_PROJ} differs from MODEL.DECODER.HIDDEN_DIM {decoder.HIDDEN_DIM}, but text tokens join "
            "the queries: set both to the same number, or MODEL.DECODER.GROUNDING.ENABLED False"
        )
