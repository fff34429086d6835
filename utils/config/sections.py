"""Sections that every meta-architecture shares: run folder, data, solver, trainer, checkpoints, log.

SEEM's published names are kept, because job scripts use them. Keys of the published files without an effect are
declared here too, with the reason.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ..errors import ConfigError
from .schema import key, section


def _tasks() -> Any:
    """Returns the registry of the tasks: files of their own, found by name as the architectures are."""
    return importlib.import_module("...datasets.tasks.registry", __package__)


def evaluator_names() -> tuple[str, ...]:
    """Returns the tasks that can be measured."""
    return _tasks().evaluator_names()


def evaluators_text() -> str:
    """Returns what TEST.EVALUATORS means."""
    return (
        f"What is measured: {', '.join(_tasks().evaluators_in_words())}, as far as a data set's annotations and the "
        "network allow; empty: what its record says, or else panoptic, instance and semantic, or foreground, or what "
        "else its annotations are made for."
    )


@dataclass(frozen=True, kw_only=True)
class Loader:
    JOINT: bool = key(
        False,
        "Several training sets. False: an epoch shows each image of all sets once. True: each batch is drawn from the sets "
        "by DATASETS.WEIGHTS.",
    )
    KEY_DATASET: str = key(
        "coco",
        "With JOINT: an epoch lasts until this training set (its name, or the first that holds this text) was seen once.",
    )


@dataclass(frozen=True, kw_only=True)
class Datasets:
    TRAIN: list[str] = key([], "Training data sets: a record file, NAME or NAME:split (default split: train).")
    TEST: list[str] = key([], "Evaluation data sets: a record file, NAME or NAME:split (default split: val).")
    WEIGHTS: list[float] = key(
        [],
        "With LOADER.JOINT: share of each of TRAIN in the images, e.g. [3, 1] (they need not add up to 1); empty: equal.",
        minimum=0,
    )
    CLASS_CONCAT: bool = key(False, "", no_effect="never read by the reference")
    SIZE_DIVISIBILITY: int = key(32, "", no_effect="the network decides the padding")
    PROPOSAL_FILES_TRAIN: list[str] = key([], "", no_effect="proposals are not used")


@dataclass(frozen=True, kw_only=True)
class Input:
    PIXEL_MEAN: list[float] = key([123.675, 116.28, 103.53], "RGB mean subtracted from images, 0..255.")
    PIXEL_STD: list[float] = key([58.395, 57.12, 57.375], "RGB standard deviation that images are divided by, 0..255.")
    MAX_PIXELS: int = key(200_000_000, "Images with more pixels (read from the header) are refused.", minimum=1)
    BIT_DEPTH: str = key(
        "auto",
        "How values of more than 8 bits per channel become 0..255: bits of which the largest value is white. auto: what "
        "the file declares, else by its largest value; validate says where files differ.",
        choices=("auto", "8", "12", "16"),
    )
    ON_CORRUPT: str = key(
        "stop", "An unreadable training image stops the run, or is skipped and counted.", choices=("stop", "skip")
    )


@dataclass(frozen=True, kw_only=True)
class Dataloader:
    NUM_WORKERS: int = key(8, "Loader processes per training process; 0 loads in the main process.", minimum=0)
    FILTER_EMPTY_ANNOTATIONS: bool = key(False, "Leave images without a segment out of training.")
    LOAD_PROPOSALS: bool = key(False, "", no_effect="proposals are not used")
    SAMPLER_TRAIN: str = key("TrainingSampler", "", no_effect="one sampler: a pure function of (seed, epoch, index)")
    ASPECT_RATIO_GROUPING: bool = key(True, "", no_effect="training crops are square")


@dataclass(frozen=True, kw_only=True)
class Train:
    BATCH_SIZE_TOTAL: int = key(
        4, "Images per optimizer step over all processes, before GRADIENT_ACCUMULATE_STEP.", minimum=1
    )
    BATCH_SIZE_PER_GPU: int = key(
        0,
        "Largest micro-batch of one process; the rest is accumulated. 0: its share of BATCH_SIZE_TOTAL, which is the "
        "limit anyway.",
        minimum=0,
    )
    SHUFFLE: bool = key(True, "New order of the training images in each epoch.")
    ASPECT_RATIO_GROUPING: bool = key(True, "", no_effect="training crops are square")
    NONFINITE_MAX: int = key(
        10, "Steps with a non-finite loss or gradient that are skipped (and counted) before the run stops.", minimum=0
    )
    EVAL_EVERY: int = key(0, "Evaluate every N steps; 0: only by EVAL_EVERY_EPOCHS and at the end.", minimum=0)
    EVAL_EVERY_EPOCHS: float = key(1.0, "Evaluate every N epochs; 0: only by EVAL_EVERY and at the end.", minimum=0)
    BEST_METRIC: str = key(
        "",
        "Metric that decides the best weights, DATASET/KIND/METRIC or its end (of noc@..., nof@... and loss the smallest); "
        "empty: what is measured on the first test set decides, PQ before mIoU, AP, dice and noc@0.85.",
    )
    EMA: float = key(
        0.0, "Decay of an exponential moving average of the weights, used in evaluation; 0: off.", minimum=0, maximum=1
    )
    COMPILE: bool = key(
        False, "Compile encoders and decoders with torch.compile, as far as their inputs keep their form."
    )


@dataclass(frozen=True, kw_only=True)
class TestAug:
    ENABLED: bool = key(False, "", no_effect="test-time augmentation is not built")


@dataclass(frozen=True, kw_only=True)
class Test:
    BATCH_SIZE_TOTAL: int = key(8, "Images per evaluation batch over all processes.", minimum=1)
    DETECTIONS_PER_IMAGE: int = key(100, "Instances kept per image.", minimum=1)
    MAX_RESULT_GB: float = key(
        8.0,
        "predict and the Python interface refuse an image whose results at its full size would need more memory (GB).",
        minimum=0,
    )
    EVALUATORS: list[str] = key(
        [],
        evaluators_text,
        choices=evaluator_names,
    )
    SENTENCES: str = key(
        "first",
        "Sentences of an object that referring segmentation is measured with: its first (SEEM) or all (RefCOCO).",
        choices=("first", "all"),
    )
    NAME: str = key("coco_eval", "", no_effect="TEST.EVALUATORS, or else the data set record, decides")
    IOU_TYPE: list[str] = key(["bbox", "segm"], "", no_effect="TEST.EVALUATORS, or else the data set record, decides")
    USE_MULTISCALE: bool = key(False, "", no_effect="test-time augmentation is not built")
    MODEL_FILE: str = key("", "", no_effect="RESUME_FROM names the weights")
    AUG: TestAug = section(TestAug)


@dataclass(frozen=True, kw_only=True)
class ClipGradients:
    ENABLED: bool = key(True, "Scale gradients down to CLIP_VALUE.")
    CLIP_TYPE: str = key("full_model", "L2 norm over all parameters together.", choices=("full_model",))
    CLIP_VALUE: float = key(5.0, "Largest global gradient norm.", minimum=0)
    NORM_TYPE: float = key(2.0, "", no_effect="the norm is L2")


@dataclass(frozen=True, kw_only=True)
class Solver:
    BASE_LR: float = key(1e-4, "Learning rate before multipliers; not scaled by batch or processes.", minimum=0)
    BASE_LR_END: float = key(0.0, "Learning rate at the end of cosine and poly schedules.", minimum=0)
    MAX_NUM_EPOCHS: int = key(50, "Length of training in passes over the data.", minimum=1)
    MAX_ITERS: int = key(0, "Length of training in optimizer steps; 0: MAX_NUM_EPOCHS decides.", minimum=0)
    EXTEND: str = key(
        "restart",
        "The learning rate when a run gets another length than it began with. restart: the schedule is computed anew over "
        "the new length, so that the rate may jump. continue: the schedule stays that of the length before; steps beyond "
        "its end keep its last rate, or go on where it does not depend on the length (constant, WarmupStepExp, absolute "
        "STEPS). The start says the last and the next rate.",
        choices=("restart", "continue"),
    )
    MAX_ITER: int = key(1, "", no_effect="SOLVER.MAX_ITERS or SOLVER.MAX_NUM_EPOCHS decides")
    STEPS: list[float] = key(
        [0.88889, 0.96296],
        "Where the multi-step schedule multiplies by GAMMA: fractions of the run (<= 1) or steps (> 1).",
        minimum=0,
    )
    GAMMA: float = key(
        0.1, "Factor of WarmupMultiStepLR at each of STEPS, and of WarmupStepExp every DECAY_INTERVAL.", minimum=0
    )
    DECAY_INTERVAL: int = key(100, "WarmupStepExp: iterations between two multiplications by GAMMA.", minimum=1)
    MIN_LR: float = key(0.0, "WarmupStepExp: the rate does not decay below this.", minimum=0)
    COUNT_MICRO_ITERS: bool = key(
        True,
        "WarmupStepExp: an iteration is a batch of BATCH_SIZE_TOTAL images, of which GRADIENT_ACCUMULATE_STEP make a "
        "step. False: it is a step.",
    )
    POLY_POWER: float = key(0.9, "Exponent of the poly schedule.", minimum=0)
    WARMUP_FACTOR: float = key(
        1.0,
        "Learning-rate factor at step 0, growing to 1; 1: no warm-up. WarmupStepExp always starts from 0.",
        minimum=0,
        maximum=1,
    )
    WARMUP_ITERS: int = key(10, "Length of the warm-up in steps (WarmupStepExp: in iterations).", minimum=0)
    WARMUP_METHOD: str = key("linear", "Course of the warm-up.", choices=("linear", "constant"))
    LR_SCHEDULER_NAME: str = key(
        "WarmupMultiStepLR",
        "Schedule. WarmupStepExp: BASE_LR * GAMMA^k, k intervals after the warm-up. WarmupPoly: as WarmupPolyLR.",
        choices=("WarmupMultiStepLR", "WarmupCosineLR", "WarmupPolyLR", "WarmupPoly", "WarmupStepExp", "constant"),
    )
    OPTIMIZER: str = key(
        "ADAMW",
        "Optimizer. ADAM adds the weight decay to the gradient instead of the weights.",
        choices=("ADAMW", "ADAM", "SGD"),
    )
    FLUSH_PARTIAL: bool = key(
        True, "", no_effect="steps go on over the ends of epochs, so that no micro-batch is left over at one"
    )
    MOMENTUM: float = key(0.9, "Momentum of SGD.", minimum=0, maximum=1)
    WEIGHT_DECAY: float = key(0.05, "Weight decay of matrices and kernels.", minimum=0)
    WEIGHT_DECAY_NORM: float = key(0.0, "Weight decay of normalisation layers.", minimum=0)
    WEIGHT_DECAY_EMBED: float = key(0.0, "Weight decay of embeddings.", minimum=0)
    WEIGHT_DECAY_BIAS: float = key(0.0, "Weight decay of biases.", minimum=0)
    LR_MULTIPLIER: dict[str, float] = key(
        {}, "Part of a parameter's name -> factor on its learning rate; factors multiply.", minimum=0
    )
    FIX_PARAM: dict[str, bool] = key({}, "Part of a parameter's name -> True: frozen.")
    IGNORE_FIX: list[str] = key([], "Parts of names exempt from FIX_PARAM.")
    CLIP_GRADIENTS: ClipGradients = section(ClipGradients)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    EVERY: int = key(
        0, "Write a checkpoint every N steps; 0: as EVERY_EPOCHS says. There is always one at the end.", minimum=0
    )
    EVERY_EPOCHS: float = key(
        0.0, "Write a checkpoint every N epochs, beside those of EVERY; 0: without EVERY once per epoch.", minimum=0
    )
    KEEP: int = key(2, "Number of latest checkpoints kept; the best weights are kept beside them.", minimum=1)
    PUBLISHED: str = key(
        "",
        "Name, below the run folder, of files with the weights under their published names, for other programs: one every "
        "EVERY_EPOCHS (0: each) epochs and at the end; all are kept. Fields: {step}, {epoch}, {batch}, as in "
        "ckpts/ckpt_{step:07d}_b{batch}.pth. Empty: none.",
    )
    PUBLISHED_OPTIMIZER: str = key(
        "", "The same for the state dict of the optimizer, e.g. ckpts/optimizer_{step:07d}_b{batch}.pth."
    )


@dataclass(frozen=True, kw_only=True)
class Lora:
    TARGETS: list[str] = key(
        [],
        "Patterns (fnmatch) of attention and linear layers that get a low-rank update, e.g. ['backbone.*.mlp.fc*']; empty: off.",
    )
    RANK: int = key(8, "Rank of the update.", minimum=1)
    ALPHA: float = key(16.0, "The update is scaled by ALPHA / RANK.", minimum=0)
    DROPOUT: float = key(0.0, "Dropout on the input of the update.", minimum=0, maximum=1)


@dataclass(frozen=True, kw_only=True)
class Model:
    NAME: str = key("", "Chooses the architecture and its variant.")


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Top level of every configuration; an architecture's extends it."""

    SAVE_DIR: str = key("runs", "Folder that holds the run folders, relative to the working directory.")
    EXP_NAME: str = key("", "Name of the run folder inside SAVE_DIR; empty: name of the first configuration file.")
    SEED: int = key(0, "Seed of initialisation, data order, augmentation and all draws of training.", minimum=0)
    DEVICE: str = key("auto", "cpu, cuda, cuda:N, mps, or auto.")
    DETERMINISTIC: bool = key(
        False, "Ask the device for deterministic algorithms (slower on CUDA; CPU runs are exact anyway)."
    )
    RESUME: bool = key(False, "Start from the checkpoint folder RESUME_FROM (same as --resume PATH).")
    WEIGHT: bool = key(False, "Start from the weight file RESUME_FROM.")
    RESUME_FROM: str = key(
        "",
        "Weight file (WEIGHT True), or checkpoint or run folder (RESUME True). A bare name is also looked for in datasets/xdecoder_data/pretrained.",
    )
    EVAL_AT_START: bool = key(False, "Evaluate before the first step.")
    GRADIENT_ACCUMULATE_STEP: int = key(
        1, "Multiplies the images per optimizer step; gradients are summed over as many batches.", minimum=1
    )
    PRECISION: str = key("fp32", "Arithmetic of the forward pass; losses stay fp32.", choices=("fp32", "bf16", "fp16"))
    FP16: bool = key(False, "True: PRECISION fp16 on CUDA (published name).")
    LOG_EVERY: int = key(100, "Steps between log lines.", minimum=1)
    LOG_FIRST: int = key(10, "Each of the first N steps is logged.", minimum=0)
    TENSORBOARD: bool = key(True, "Write TensorBoard event files into the run folder when the package is installed.")
    WANDB: bool = key(False, "Log to Weights & Biases; key from WANDB_API_KEY or WANDB_KEY, offline without one.")
    WANDB_PROJECT: str = key("segfoundry", "Project name for Weights & Biases.")
    VERBOSE: bool = key(True, "", no_effect="the report of loaded weights is always written")
    FIND_UNUSED_PARAMETERS: bool = key(
        False, "DistributedDataParallel searches unused parameters in each step (slower)."
    )
    PORT: str = key("36873", "Port of the first process when no launcher gave one.")
    CUDA: bool = key(True, "", no_effect="DEVICE decides")
    PIPELINE: str = key("XDecoderPipeline", "", no_effect="there is one pipeline")
    TRAINER: str = key("xdecoder", "", no_effect="there is one trainer")
    BASENAME: str = key("", "", no_effect="EXP_NAME, else the first configuration file, names the run folder")
    EVAL_PER_UPDATE_NUM: int = key(0, "", no_effect="TRAIN.EVAL_EVERY sets the steps between evaluations")
    LR_SCHEDULER_PARAMS: dict[str, Any] = key({}, "", no_effect="the keys of SOLVER describe the schedule")
    base_path: str = key("./", "", no_effect="nothing is imported from the configuration")
    LOADER: Loader = section(Loader)
    DATASETS: Datasets = section(Datasets)
    INPUT: Input = section(Input)
    DATALOADER: Dataloader = section(Dataloader)
    TRAIN: Train = section(Train)
    TEST: Test = section(Test)
    SOLVER: Solver = section(Solver)
    CHECKPOINT: Checkpoint = section(Checkpoint)
    LORA: Lora = section(Lora)
    MODEL: Model = section(Model)


def check(cfg: Shared) -> None:
    """Checks the rules that join several shared keys.

    Raises:
        ConfigError: naming the keys, what was found and what is expected.
    """
    for name, numbers in (("PIXEL_MEAN", cfg.INPUT.PIXEL_MEAN), ("PIXEL_STD", cfg.INPUT.PIXEL_STD)):
        if len(numbers) != 3:
            raise ConfigError(f"INPUT.{name} has {len(numbers)} numbers, expected one each for R, G and B")
    if min(cfg.INPUT.PIXEL_STD) <= 0:
        raise ConfigError(f"INPUT.PIXEL_STD {cfg.INPUT.PIXEL_STD}: images are divided by it, it must be above 0")
    _check_weights(cfg)
    if cfg.WEIGHT and cfg.RESUME:
        raise ConfigError("WEIGHT and RESUME are both on, but RESUME_FROM names only one thing: switch one of them off")
    if cfg.WEIGHT and not cfg.RESUME_FROM:
        raise ConfigError("WEIGHT is on, but RESUME_FROM names no weight file: set it, or set WEIGHT False")
    if cfg.SOLVER.CLIP_GRADIENTS.ENABLED and cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE <= 0:
        raise ConfigError("SOLVER.CLIP_GRADIENTS.CLIP_VALUE must be above 0; switch clipping off with ENABLED False")

    for name, pattern in (
        ("PUBLISHED", cfg.CHECKPOINT.PUBLISHED),
        ("PUBLISHED_OPTIMIZER", cfg.CHECKPOINT.PUBLISHED_OPTIMIZER),
    ):
        if pattern:
            _check_pattern(f"CHECKPOINT.{name}", pattern)


def _check_pattern(name: str, pattern: str) -> None:
    try:
        first, second = (PurePosixPath(pattern.format(step=n, epoch=n, batch=n)) for n in (1, 2))
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{name} {pattern!r}: {error}; expected a file name with the fields {{step}}, {{epoch}}, {{batch}}"
        ) from None
    if first.suffix not in (".pth", ".pt") or first.is_absolute() or ".." in first.parts:
        raise ConfigError(f"{name} {pattern!r}: expected a name below the run folder that ends in .pth or .pt")
    if first == second or "{step" not in pattern and "{epoch" not in pattern:
        raise ConfigError(f"{name} {pattern!r}: each file replaces the one before; put {{step}} or {{epoch}} into it")


def _check_weights(cfg: Shared) -> None:
    weights, names = cfg.DATASETS.WEIGHTS, cfg.DATASETS.TRAIN
    if not weights:
        return
    if not cfg.LOADER.JOINT:
        raise ConfigError("DATASETS.WEIGHTS mixes training sets, but LOADER.JOINT is off: set it True")
    if len(weights) != len(names):
        raise ConfigError(
            f"DATASETS.WEIGHTS has {len(weights)} numbers, DATASETS.TRAIN {len(names)} sets: give one each"
        )
    if min(weights) <= 0:
        raise ConfigError(
            f"DATASETS.WEIGHTS {list(weights)}: a set without weight is left out by not naming it in TRAIN"
        )
