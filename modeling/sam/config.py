"""Configuration of Segment Anything (SAM): the network, what trains, prompts, everything mode."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ...utils.config import sections
from ...utils.config.architectures import Architecture
from ...utils.config.schema import key, section
from ...utils.errors import ConfigError
from .config_dlo import DATASET_SECTION, Dlo, Test, check_dlo
from .config_training import LoraUpdates, Loss, Promptable, Train, check_training
from .recognise import Shapes, lacks_parts, shipped_config

_RECOMPUTE = "or set SAM.USE_CHECKPOINT True (slower, recomputes activations)"

TYPES = ("vit_b", "vit_l", "vit_h", "vit_t", "custom")


@dataclass(frozen=True, kw_only=True)
class Custom:
    """A network of one's own size, for SAM.TYPE custom; a plain Vision Transformer."""

    PATCH_SIZE: int = key(16, "Side of a patch in pixels; SAM.IMAGE_SIZE is a multiple of it.", minimum=1)
    EMBED_DIM: int = key(96, "Channels of the image encoder.", minimum=1)
    DEPTH: int = key(4, "Blocks of the image encoder.", minimum=1)
    HEADS: int = key(4, "Attention heads of the image encoder; must divide EMBED_DIM.", minimum=1)
    GLOBAL_BLOCKS: list[int] = key(
        [1, 3], "Blocks, from 0, that attend over the whole image; the others use windows.", minimum=0
    )
    WINDOW: int = key(4, "Side of the attention windows in patches.", minimum=1)
    PROMPT_DIM: int = key(
        64, "Channels of image embedding, prompt encoder and mask decoder; a multiple of 16.", minimum=16
    )


@dataclass(frozen=True, kw_only=True)
class Amg:
    """Everything mode: settings of SamAutomaticMaskGenerator, with its defaults."""

    POINTS_PER_SIDE: int = key(32, "Points along each side of the grid that prompts the network.", minimum=1)
    POINTS_PER_BATCH: int = key(64, "Points that are answered at once.", minimum=1)
    PRED_IOU_THRESH: float = key(0.88, "Masks whose predicted IoU is not above this are dropped; 0: none.", minimum=0)
    STABILITY_SCORE_THRESH: float = key(
        0.95,
        "Masks whose extent depends more on the threshold of the logits are dropped; 0: none.",
        minimum=0,
        maximum=1,
    )
    STABILITY_SCORE_OFFSET: float = key(
        1.0, "Shift of the threshold (logits) that the stability is measured with.", minimum=0
    )
    BOX_NMS_THRESH: float = key(
        0.7, "Of masks of one crop whose boxes overlap more (IoU), the best is kept.", minimum=0, maximum=1
    )
    CROP_N_LAYERS: int = key(0, "Layers of crops that are searched too; layer i has 2^i x 2^i crops.", minimum=0)
    CROP_NMS_THRESH: float = key(0.7, "The same as BOX_NMS_THRESH between crops.", minimum=0, maximum=1)
    CROP_OVERLAP_RATIO: float = key(
        512 / 1500, "Overlap of crops, as a share of the image's short side.", minimum=0, maximum=1
    )
    CROP_N_POINTS_DOWNSCALE_FACTOR: int = key(1, "Points per side in layer i: POINTS_PER_SIDE / this^i.", minimum=1)
    MIN_MASK_REGION_AREA: int = key(
        0, "Holes and islands with fewer pixels are removed from masks; 0: none.", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class Clicks:
    """Evaluation by simulated clicks (TEST.EVALUATORS interactive)."""

    START: str = key("Point", "First prompt of an object.", choices=("Point", "Box"))
    MAX_ITER: int = key(20, "Clicks per object.", minimum=1)
    IOU_ITER: int = key(1, "Click whose mean overlap is reported as miou@iterN; at most MAX_ITER.", minimum=1)
    OBJECTS: str = key("all", "Objects that are clicked on: all segments, or things only.", choices=("all", "things"))


@dataclass(frozen=True, kw_only=True)
class Sam:
    TYPE: str = key(
        "vit_b",
        "Size of the network: vit_b, vit_l, vit_h (Segment Anything), vit_t (MobileSAM), custom (SAM.CUSTOM).",
        choices=TYPES,
    )
    CHECKPOINT: str = key(
        "",
        "Weight file of the base network: one of the public files (.pth, .pt, .safetensors) or in transformers' layout. "
        "Empty: random weights, or those of RESUME_FROM.",
    )
    IMAGE_SIZE: int = key(
        1024,
        "Long side, in pixels, that images are resized to before they are padded to a square; a multiple of 16 "
        "(PATCH_SIZE). Position tables of a file for another size are interpolated.",
        minimum=32,
    )
    TASK: str = key(
        "dlo",
        "What is trained and predicted. dlo: foreground (cables) against background without the user's prompts, from "
        "folders imgs/ + masks/. promptable: objects of any data set, from points, boxes and masks.",
        choices=("dlo", "promptable"),
    )
    ATTENTION: str = key(
        "auto",
        "How the image encoder adds relative positions: bias (dense matrix), concat (longer queries and keys), eager "
        "(plain matrix products). They agree up to rounding; auto takes the fastest.",
        choices=("auto", "bias", "concat", "eager"),
    )
    CUSTOM: Custom = section(Custom)
    TRAIN: Train = section(Train)
    LORA: LoraUpdates = section(LoraUpdates)
    LOSS: Loss = section(Loss)
    DLO: Dlo = section(Dlo)
    PROMPTABLE: Promptable = section(Promptable)
    AMG: Amg = section(Amg)
    CLICKS: Clicks = section(Clicks)
    REINIT_MASK_DECODER: bool = key(
        False, "Start from a new mask decoder: Kaiming-normal convolutions, Xavier-normal matrices, zero biases."
    )
    USE_CHECKPOINT: bool = key(
        False, "Recompute the activations of the image encoder in the backward pass: less memory, more time."
    )
    TRAIN_BN: bool = key(
        False, "With a vit_t image encoder that trains in full: batch statistics and moving averages; else they stay."
    )
    CACHE_EMBEDDINGS: bool = key(
        False,
        "Keep image embeddings on the disk ($SEGFOUNDRY_CACHE/sam, default ~/.cache/segfoundry/sam), for a frozen image "
        "encoder; also used by prediction and the web page.",
    )
    CACHE_GB: float = key(
        20.0, "Bound on the size of that folder in GB; 4.2 MB per image at IMAGE_SIZE 1024.", minimum=0
    )
    CACHE_VARIANTS: int = key(
        0,
        "With CACHE_EMBEDDINGS and random augmentation: each image has this many fixed random variants, one per epoch in "
        "turn. 0: a new one in each epoch, which a cache cannot serve.",
        minimum=0,
    )


@dataclass(frozen=True, kw_only=True)
class SamConfig(sections.Shared):
    """Configuration of SAM: the shared sections and its own."""

    SAM: Sam = section(Sam)
    TEST: Test = section(Test)


class SamArchitecture(Architecture[SamConfig]):
    """Segment Anything."""

    model_names = ("sam",)
    config = SamConfig
    foreign = (DATASET_SECTION,)
    part_weights_off = {"SAM.CHECKPOINT": ""}
    free_keys = ("SAM.CACHE_GB", "SAM.USE_CHECKPOINT")
    training_memory = ("SAM.IMAGE_SIZE, the training image size", _RECOMPUTE)
    prediction_memory = ("SAM.AMG.POINTS_PER_BATCH (everything mode)",)

    def tiny(self) -> dict[str, Any]:
        """Returns the smallest configuration that trains: dotted key -> value."""
        return tiny()

    def check(self, cfg: SamConfig) -> None:
        """Checks the rules that join several keys of SAM; raises ConfigError."""
        check(cfg.SAM)

    def training_notices(self, cfg: SamConfig) -> list[str]:
        """Returns what there is to say about the weights that a training starts from and the IoU head."""
        return training_notices(cfg)

    def shipped_config(self, shapes: Shapes, file_name: str = "") -> str | None:
        """Returns the file below ``configs`` that describes a published weight file of SAM or MobileSAM, or None."""
        return shipped_config(shapes, file_name)

    def lacks_parts(self, names: Collection[str]) -> bool:
        """Whether names are not those of a whole SAM."""
        return lacks_parts(names)

    def merged_lora(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the keys that say that nothing is low-rank any more."""
        parts = ("SAM.TRAIN.IMAGE_ENCODER", "SAM.TRAIN.MASK_DECODER")
        return {name: "frozen" for name in parts if values[name] == "lora"}

    def untrained_prompts(self, cfg: SamConfig) -> dict[str, str]:
        """Networks for foreground never saw a stroke."""
        return {"stroke": "SAM.TASK dlo"} if cfg.SAM.TASK == "dlo" else {}


def tiny() -> dict[str, Any]:
    """Returns the smallest configuration that trains: dotted key -> value."""
    return {
        "MODEL.NAME": "sam",
        "SAM.TYPE": "custom",
        "SAM.IMAGE_SIZE": 64,
        "SAM.TASK": "promptable",
        "SAM.CUSTOM.PATCH_SIZE": 8,
        "SAM.CUSTOM.EMBED_DIM": 32,
        "SAM.CUSTOM.DEPTH": 2,
        "SAM.CUSTOM.HEADS": 2,
        "SAM.CUSTOM.GLOBAL_BLOCKS": [1],
        "SAM.CUSTOM.PROMPT_DIM": 32,
        "SAM.TRAIN.IMAGE_ENCODER": "full",
        "SAM.TRAIN.PROMPT_ENCODER": "full",
        "SAM.PROMPTABLE.OBJECTS": 2,
        "SAM.PROMPTABLE.CORRECTIONS": 1,
        "SAM.CLICKS.MAX_ITER": 3,
        "SAM.AMG.POINTS_PER_SIDE": 3,
        "SOLVER.BASE_LR": 1e-3,
        "SOLVER.MAX_ITERS": 4,
        "TRAIN.BATCH_SIZE_TOTAL": 2,
        "TRAIN.EVAL_EVERY_EPOCHS": 0,
        "TEST.BATCH_SIZE_TOTAL": 2,
        "DATALOADER.NUM_WORKERS": 0,
        "LOG_EVERY": 1,
        "DEVICE": "cpu",
    }


def training_notices(cfg: SamConfig) -> list[str]:
    """Returns what there is to say about the IoU head and the weights that a training starts from."""
    sam, notices = cfg.SAM, []
    masks_change = {sam.TRAIN.IMAGE_ENCODER, sam.TRAIN.MASK_DECODER} != {"frozen"}
    if sam.TASK == "dlo" and masks_change and not sam.LOSS.IOU_WEIGHT:
        notices.append(
            "SAM.LOSS.IOU_WEIGHT is 0: the predicted IoUs do not follow the masks as these change, so everything mode, "
            "which filters by them, keeps worse masks after this training; 1 would train them along"
        )
    if (
        sam.TRAIN.IMAGE_ENCODER != "full"
        and not sam.CHECKPOINT
        and not (cfg.RESUME_FROM and (cfg.WEIGHT or cfg.RESUME))
    ):
        notices.append(
            "SAM.CHECKPOINT is empty: the image encoder starts from random weights, most of which stay as they are "
            f"(SAM.TRAIN.IMAGE_ENCODER {sam.TRAIN.IMAGE_ENCODER}); name a published file, or train it in full"
        )
    return notices


def check(sam: Sam) -> None:
    """Checks the rules that join several keys of SAM.

    Raises:
        ConfigError: naming the keys, what was found and what is expected.
    """
    patch = sam.CUSTOM.PATCH_SIZE if sam.TYPE == "custom" else 16
    if sam.IMAGE_SIZE % patch:
        below = sam.IMAGE_SIZE // patch * patch
        raise ConfigError(
            f"SAM.IMAGE_SIZE {sam.IMAGE_SIZE} is not a multiple of {patch}, the side of a patch; choose {below} or "
            f"{below + patch}"
        )
    if sam.TYPE == "custom":
        _check_custom(sam.CUSTOM)
    if sam.CLICKS.IOU_ITER > sam.CLICKS.MAX_ITER:
        raise ConfigError(
            f"SAM.CLICKS.IOU_ITER is {sam.CLICKS.IOU_ITER}, expected at most MAX_ITER ({sam.CLICKS.MAX_ITER} clicks)"
        )
    check_training(sam.TRAIN, sam.LORA, sam.LOSS, sam.CACHE_EMBEDDINGS)
    check_dlo(sam.DLO)


def _check_custom(custom: Custom) -> None:
    if custom.EMBED_DIM % custom.HEADS:
        raise ConfigError(
            f"SAM.CUSTOM.EMBED_DIM {custom.EMBED_DIM} is not a multiple of SAM.CUSTOM.HEADS {custom.HEADS}"
        )
    if custom.PROMPT_DIM % 16:
        raise ConfigError(f"SAM.CUSTOM.PROMPT_DIM is {custom.PROMPT_DIM}, expected a multiple of 16")
    wrong = [block for block in custom.GLOBAL_BLOCKS if block >= custom.DEPTH]
    if wrong:
        raise ConfigError(
            f"SAM.CUSTOM.GLOBAL_BLOCKS names block {wrong[0]}, but there are {custom.DEPTH} (DEPTH), counted from 0"
        )
