"""Configuration of SEEM, continued: image sizes, the published per-data-set sections and simulated strokes.

Only COCO.INPUT sizes the training images, of every data set. The other sections exist so that published files load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...utils.config.schema import key, section
from ...utils.errors import ConfigError, did_you_mean

_RECORD = "a data set record gives the evaluation size (min_size_test, max_size_test)"
_LOADER = "DATALOADER decides, for every data set"
_BATCH = "TEST.BATCH_SIZE_TOTAL decides, for every data set"
_MAPPER = "this belongs to another mapper of the reference"
_PIXELS = "INPUT.PIXEL_MEAN and INPUT.PIXEL_STD decide"


@dataclass(frozen=True, kw_only=True)
class Crop:
    ENABLED: bool = key(True, "", no_effect="training images are always cropped or padded to IMAGE_SIZE")


@dataclass(frozen=True, kw_only=True)
class CocoInput:
    """Training images of every data set."""

    IMAGE_SIZE: int = key(
        1024, "Side of the square training image in pixels; best a multiple of 32.", minimum=32, maximum=16384
    )
    MIN_SCALE: float = key(0.1, "Smallest random enlargement of the image relative to IMAGE_SIZE before the crop.")
    MAX_SCALE: float = key(2.0, "Largest random enlargement of the image relative to IMAGE_SIZE before the crop.")
    RANDOM_FLIP: str = key(
        "horizontal", "Random mirroring of training images.", choices=("horizontal", "vertical", "none")
    )
    FORMAT: str = key("RGB", "Order of the colour channels.", choices=("RGB",))
    MIN_SIZE_TEST: int = key(800, "Short side of evaluation images of COCO data sets in pixels.", minimum=1)
    MAX_SIZE_TEST: int = key(
        1333, "Longest allowed long side of evaluation images of COCO data sets in pixels.", minimum=1
    )
    MIN_SIZE_TRAIN: int = key(800, "", no_effect="IMAGE_SIZE, MIN_SCALE and MAX_SCALE decide")
    MAX_SIZE_TRAIN: int = key(1333, "", no_effect="IMAGE_SIZE, MIN_SCALE and MAX_SCALE decide")
    MIN_SIZE_TRAIN_SAMPLING: str = key("choice", "", no_effect="IMAGE_SIZE, MIN_SCALE and MAX_SCALE decide")
    DATASET_MAPPER_NAME: str = key("coco_interactive", "", no_effect="there is one mapper")
    IGNORE_VALUE: int = key(255, "", no_effect="VOID is what no segment covers")
    COLOR_AUG_SSD: bool = key(
        False,
        "Change the colours of training images at random: brightness by up to 32 of 255, contrast and saturation by a "
        "factor of 0.5 to 1.5, hue by up to 36 degrees, each in half of the images.",
    )
    SIZE_DIVISIBILITY: int = key(32, "", no_effect="MODEL.DECODER.SIZE_DIVISIBILITY decides the padding")
    MASK_FORMAT: str = key("polygon", "", no_effect="masks are bitmaps")
    CROP: Crop = section(Crop)


@dataclass(frozen=True, kw_only=True)
class CocoDataset:
    DATASET: str = key("coco", "", no_effect="data sets are chosen by name in DATASETS")


@dataclass(frozen=True, kw_only=True)
class CocoSection:
    INPUT: CocoInput = section(CocoInput, "Training images of every data set; evaluation images of COCO.")
    DATASET: CocoDataset = section(CocoDataset)


@dataclass(frozen=True, kw_only=True)
class Ade20kCrop:
    ENABLED: bool = key(True, "", no_effect=_MAPPER)
    TYPE: str = key("absolute", "", no_effect=_MAPPER)
    SIZE: str = key("(640, 640)", "", no_effect=_MAPPER)
    SINGLE_CATEGORY_MAX_AREA: float = key(1.0, "", no_effect=_MAPPER)


@dataclass(frozen=True, kw_only=True)
class Ade20kInput:
    MIN_SIZE_TRAIN: int = key(640, "", no_effect="COCO.INPUT.IMAGE_SIZE sizes training images of every data set")
    MIN_SIZE_TRAIN_SAMPLING: str = key("choice", "", no_effect=_MAPPER)
    MIN_SIZE_TEST: int = key(640, "", no_effect=_RECORD)
    MAX_SIZE_TRAIN: int = key(2560, "", no_effect="COCO.INPUT.IMAGE_SIZE sizes training images of every data set")
    MAX_SIZE_TEST: int = key(2560, "", no_effect=_RECORD)
    MASK_FORMAT: str = key("polygon", "", no_effect=_MAPPER)
    CROP: Ade20kCrop = section(Ade20kCrop)
    COLOR_AUG_SSD: bool = key(True, "", no_effect="COCO.INPUT.COLOR_AUG_SSD decides, for every data set")
    SIZE_DIVISIBILITY: int = key(640, "", no_effect="MODEL.DECODER.SIZE_DIVISIBILITY decides the padding")
    DATASET_MAPPER_NAME: str = key("mask_former_panoptic", "", no_effect="there is one mapper")
    FORMAT: str = key("RGB", "", no_effect=_MAPPER)


@dataclass(frozen=True, kw_only=True)
class Ade20kDataset:
    DATASET: str = key("ade", "", no_effect="data sets are chosen by name in DATASETS")


@dataclass(frozen=True, kw_only=True)
class Ade20kSection:
    INPUT: Ade20kInput = section(Ade20kInput)
    DATASET: Ade20kDataset = section(Ade20kDataset)


@dataclass(frozen=True, kw_only=True)
class EvalInput:
    MIN_SIZE_TEST: int = key(800, "", no_effect=_RECORD)
    MAX_SIZE_TEST: int = key(1333, "", no_effect=_RECORD)


@dataclass(frozen=True, kw_only=True)
class EvalLoader:
    FILTER_EMPTY_ANNOTATIONS: bool = key(False, "", no_effect=_LOADER)
    NUM_WORKERS: int = key(0, "", no_effect=_LOADER)
    LOAD_PROPOSALS: bool = key(False, "", no_effect=_LOADER)
    SAMPLER_TRAIN: str = key("TrainingSampler", "", no_effect=_LOADER)
    ASPECT_RATIO_GROUPING: bool = key(False, "", no_effect=_LOADER)


@dataclass(frozen=True, kw_only=True)
class EvalBatch1:
    BATCH_SIZE_TOTAL: int = key(1, "", no_effect=_BATCH)


@dataclass(frozen=True, kw_only=True)
class EvalBatch8:
    BATCH_SIZE_TOTAL: int = key(8, "", no_effect=_BATCH)


@dataclass(frozen=True, kw_only=True)
class SbdSection:
    INPUT: EvalInput = section(EvalInput)
    DATALOADER: EvalLoader = section(EvalLoader)
    TEST: EvalBatch1 = section(EvalBatch1)


@dataclass(frozen=True, kw_only=True)
class VocSection:
    INPUT: EvalInput = section(EvalInput)
    DATALOADER: EvalLoader = section(EvalLoader)
    TEST: EvalBatch8 = section(EvalBatch8)


@dataclass(frozen=True, kw_only=True)
class DavisSection(VocSection):
    pass


@dataclass(frozen=True, kw_only=True)
class VosSection(SbdSection):
    pass


@dataclass(frozen=True, kw_only=True)
class RefInput:
    PIXEL_MEAN: list[float] = key([123.675, 116.28, 103.53], "", no_effect=_PIXELS)
    PIXEL_STD: list[float] = key([58.395, 57.12, 57.375], "", no_effect=_PIXELS)
    MIN_SIZE_TEST: int = key(512, "", no_effect=_RECORD)
    MAX_SIZE_TEST: int = key(1024, "", no_effect=_RECORD)
    FORMAT: str = key("RGB", "", no_effect=_MAPPER)
    SPATIAL: bool = key(
        False, "In referring evaluation, give the first prompt of each object along; its phrases may look at it."
    )


@dataclass(frozen=True, kw_only=True)
class RefLoader(EvalLoader):
    NUM_WORKERS: int = key(4, "", no_effect=_LOADER)


@dataclass(frozen=True, kw_only=True)
class RefSection:
    INPUT: RefInput = section(RefInput)
    DATALOADER: RefLoader = section(RefLoader)
    TEST: EvalBatch8 = section(EvalBatch8)


@dataclass(frozen=True, kw_only=True)
class BddInput:
    PIXEL_MEAN: list[float] = key([123.675, 116.28, 103.53], "", no_effect=_PIXELS)
    PIXEL_STD: list[float] = key([58.395, 57.12, 57.375], "", no_effect=_PIXELS)
    MIN_SIZE_TEST: int = key(256, "", no_effect=_RECORD)
    MAX_SIZE_TEST: int = key(1333, "", no_effect=_RECORD)


@dataclass(frozen=True, kw_only=True)
class BddLoader(EvalLoader):
    NUM_WORKERS: int = key(8, "", no_effect=_LOADER)


@dataclass(frozen=True, kw_only=True)
class BddBatch:
    BATCH_SIZE_TOTAL: int = key(2, "", no_effect=_BATCH)


@dataclass(frozen=True, kw_only=True)
class BddSection:
    INPUT: BddInput = section(BddInput)
    DATALOADER: BddLoader = section(BddLoader)
    TEST: BddBatch = section(BddBatch)


STROKE_SHAPES = ("Point", "Polygon", "Scribble", "Circle")
STROKE_PRESETS = ("rand_curve", "rand_curve_small", "object_like", "object_like_middle", "object_like_small")
_NUM_STROKES = "Strokes of a prompt: uniformly 1 to this many."
_PRESET = "Kinds of random walk; one is drawn per object."
_WEIGHTS = "Relative frequency of each STROKE_PRESET; they need not add up to 1."


@dataclass(frozen=True, kw_only=True)
class Circle:
    """Broad brush strokes."""

    NUM_STROKES: int = key(5, _NUM_STROKES, minimum=1)
    STROKE_PRESET: list[str] = key(["object_like", "object_like_middle", "object_like_small"], _PRESET)
    STROKE_PROB: list[float] = key([0.33, 0.33, 0.33], _WEIGHTS, minimum=0)


@dataclass(frozen=True, kw_only=True)
class Scribble:
    """Thin brush strokes."""

    NUM_STROKES: int = key(5, _NUM_STROKES, minimum=1)
    STROKE_PRESET: list[str] = key(["rand_curve", "rand_curve_small"], _PRESET)
    STROKE_PROB: list[float] = key([0.5, 0.5], _WEIGHTS, minimum=0)


@dataclass(frozen=True, kw_only=True)
class Point:
    NUM_POINTS: int = key(20, "Pixels of a training prompt of points: uniformly 1 to this many.", minimum=1)


@dataclass(frozen=True, kw_only=True)
class Polygon:
    MAX_POINTS: int = key(9, "Corners of a closed curve: uniformly 1 to this many.", minimum=1)


@dataclass(frozen=True, kw_only=True)
class StrokeEval:
    """Simulated clicks of the evaluation (kind "interactive" in TEST.EVALUATORS or the data set record)."""

    MODE: str = key(
        "best",
        "Where a click goes inside the larger error region: best (innermost pixel) or best_random (any pixel off its "
        "border). The reference refuses random as well.",
        choices=("best", "best_random"),
    )
    START: str = key(
        "Point",
        "First prompt of each object; a data set's split may name another one (pascalvoc_val_Box, say).",
        choices=("Point", "Box", "Scribble", "Polygon", "Circle"),
    )
    OBJECTS: str = key(
        "segments",
        "Objects of panoptic data: all segments, or things only; crowds never. Unlabelled pixels count neither way.",
        choices=("segments", "things"),
    )
    NEGATIVE: bool = key(False, "", no_effect="never read by the reference")
    MAX_ITER: int = key(20, "Clicks per object, the first prompt included; the NoC of an object that fails.", minimum=1)
    IOU_ITER: int = key(1, "Click whose mean IoU is reported as miou@iterN, 1..MAX_ITER.", minimum=1)
    GROUNDING: bool = key(
        False, "Give the phrase or category name of each object along with its strokes; the strokes may look at it."
    )


@dataclass(frozen=True, kw_only=True)
class StrokeSampler:
    """Simulated strokes of the interactive task."""

    MAX_CANDIDATE: int = key(1, "Most objects of a training image that get a simulated prompt.", minimum=1)
    CANDIDATE_PROBS: list[float] = key(
        [0.25] * 4, "Relative frequency of each CANDIDATE_NAMES; they need not add up to 1.", minimum=0
    )
    CANDIDATE_NAMES: list[str] = key(
        list(STROKE_SHAPES), "Shapes of the simulated prompts of training: Point, Polygon, Scribble, Circle."
    )
    DILATION: int = key(3, "Side of a simulated click in pixels of the network's input, odd.", minimum=1)
    CIRCLE: Circle = section(Circle)
    SCRIBBLE: Scribble = section(Scribble)
    POINT: Point = section(Point)
    POLYGON: Polygon = section(Polygon)
    EVAL: StrokeEval = section(StrokeEval)


def check_strokes(keys: StrokeSampler) -> None:
    """Checks names and weights of the section STROKE_SAMPLER.

    Raises:
        ConfigError: unknown shape or preset, or weights that do not fit the names.
    """
    _check_choice("", keys, "CANDIDATE_NAMES", "CANDIDATE_PROBS", STROKE_SHAPES)
    _check_choice("SCRIBBLE.", keys.SCRIBBLE, "STROKE_PRESET", "STROKE_PROB", STROKE_PRESETS)
    _check_choice("CIRCLE.", keys.CIRCLE, "STROKE_PRESET", "STROKE_PROB", STROKE_PRESETS)


def _check_choice(where: str, keys: Any, names_key: str, weights_key: str, known: Sequence[str]) -> None:
    names, weights = getattr(keys, names_key), getattr(keys, weights_key)
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or "."
            raise ConfigError(f"STROKE_SAMPLER.{where}{names_key}: unknown {name!r}{hint} Known: {', '.join(known)}.")
    if not names:
        raise ConfigError(f"STROKE_SAMPLER.{where}{names_key} is empty; known: {', '.join(known)}")
    if len(weights) != len(names):
        raise ConfigError(
            f"STROKE_SAMPLER.{where}{weights_key} has {len(weights)} number{'s' * (len(weights) != 1)}, "
            f"{where}{names_key} {len(names)} name{'s' * (len(names) != 1)}: give one for each"
        )
    if sum(weights) <= 0:
        raise ConfigError(f"STROKE_SAMPLER.{where}{weights_key} {list(weights)}: at least one must be above 0")
