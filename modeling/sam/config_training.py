"""Configuration of SAM, continued: which parts train and how, losses, promptable training."""

from __future__ import annotations

from dataclasses import dataclass

from ...utils.config.schema import key
from ...utils.errors import ConfigError

_WAYS = ("frozen", "full", "lora", "adapter", "bias", "norm", "last_n")
_WAY_TEXT = (
    "frozen; full: all parameters; lora: low-rank updates of attention (SAM.LORA); adapter: small parallel layers beside "
    "the perceptrons; bias, norm: biases or normalisation layers only; last_n: the last LAST_N blocks."
)


@dataclass(frozen=True, kw_only=True)
class Train:
    IMAGE_ENCODER: str = key("frozen", f"How the image encoder trains. {_WAY_TEXT}", choices=_WAYS)
    PROMPT_ENCODER: str = key(
        "frozen",
        "How the prompt encoder trains: frozen, full, bias or norm.",
        choices=("frozen", "full", "bias", "norm"),
    )
    MASK_DECODER: str = key("full", f"How the mask decoder trains. {_WAY_TEXT}", choices=_WAYS)
    LAST_N: int = key(
        2, "For last_n: blocks of the part, counted from its end, that train together with what follows.", minimum=1
    )
    ADAPTER_DIM: int = key(64, "For adapter: channels of the bottleneck.", minimum=1)


@dataclass(frozen=True, kw_only=True)
class LoraUpdates:
    """Low-rank updates of the attention projections, where SAM.TRAIN says lora."""

    RANK: int = key(4, "Rank of an update.", minimum=1)
    ALPHA: float = key(4.0, "An update is scaled by ALPHA / RANK.", minimum=0)
    TARGETS: list[str] = key(
        ["q", "v"], "What gets an update: projections q, k, v, and mlp (both layers of the perceptrons).",
        choices=("q", "k", "v", "mlp"),
    )  # fmt: skip
    BLOCKS: list[int] = key(
        [],
        "Blocks of the image encoder, from 0 (vit_t: those with attention), that get updates; empty: all.",
        minimum=0,
    )
    DROPOUT: float = key(0.0, "Dropout on the input of an update.", minimum=0, maximum=1)


@dataclass(frozen=True, kw_only=True)
class Loss:
    FOCAL_ALPHA: float = key(
        0.85,
        "Weight, above 0 and below 1, of foreground pixels in the focal loss, whatever INVERT_TARGET says; background "
        "pixels weigh 1 - FOCAL_ALPHA. Promptable training usually takes 0.25.",
    )
    FOCAL_GAMMA: float = key(2.0, "Exponent of the focal loss; 0: weighted cross-entropy.", minimum=0)
    FOCAL_WEIGHT: float = key(20.0, "Weight of the focal loss.", minimum=0)
    DICE_WEIGHT: float = key(1.0, "Weight of the dice loss.", minimum=0)
    DICE_PER_IMAGE: bool = key(
        False,
        "True: dice loss of each image, averaged. False: one over all pixels of the micro-batch, as published. "
        "Promptable training always takes that of each object.",
    )
    IOU_WEIGHT: float = key(
        0.0,
        "Weight of the squared error of the predicted IoU. With 0 the IoU head stays as it was, and everything mode, "
        "which filters by it, gets worse the more the masks change.",
        minimum=0,
    )
    CLDICE_WEIGHT: float = key(
        0.0, "Weight of the centre-line dice loss (clDice), which asks thin structures to stay connected.", minimum=0
    )
    CLDICE_ITERS: int = key(
        10, "Steps of the soft skeleton of clDice: half the width of the broadest structure, in pixels.", minimum=1
    )


@dataclass(frozen=True, kw_only=True)
class Promptable:
    """Training with simulated prompts (SAM.TASK promptable; arXiv 2408.00714, section D.2)."""

    OBJECTS: int = key(8, "Most objects of an image in a step, drawn at random.", minimum=1)
    POINT_PROB: float = key(
        0.5, "Probability that an object's first prompt is a point or box; else its noised mask.", minimum=0, maximum=1
    )
    BOX_PROB: float = key(0.5, "Share of boxes among those.", minimum=0, maximum=1)
    BOX_NOISE: float = key(
        0.1, "Standard deviation of the corners of boxes, as a share of their side; at most 20 pixels.", minimum=0
    )
    CORRECTIONS: int = key(7, "Rounds of correction clicks after the first prompt.", minimum=0)
    FROM_TARGET_PROB: float = key(
        0.1,
        "Probability that a correction click is drawn from the whole object instead of the error.",
        minimum=0,
        maximum=1,
    )
    MULTIMASK: bool = key(
        True, "The first point asks for three masks; the one with the least loss is trained, the IoU head on all three."
    )
    MIN_AREA: int = key(16, "Objects with fewer pixels of the training image are left out.", minimum=1)
    FLIP_P: float = key(0.5, "Probability of a horizontal flip.", minimum=0, maximum=1)


def check_training(train: Train, lora: LoraUpdates, loss: Loss, cached: bool) -> None:
    """Checks the rules that join keys of SAM.TRAIN, LORA, LOSS and the cache.

    Raises:
        ConfigError: naming the keys, what was found and what is expected.
    """
    alpha = loss.FOCAL_ALPHA
    if not 0 < alpha < 1:
        raise ConfigError(f"SAM.LOSS.FOCAL_ALPHA is {alpha:g}, expected a number above 0 and below 1 (published: 0.85)")
    ways = {train.IMAGE_ENCODER, train.MASK_DECODER}
    if "lora" in ways and not lora.TARGETS:
        raise ConfigError("SAM.LORA.TARGETS is empty, but SAM.TRAIN asks for lora: name some of q, k, v, mlp")
    if cached and train.IMAGE_ENCODER != "frozen":
        raise ConfigError(
            f"SAM.CACHE_EMBEDDINGS needs a frozen image encoder, but SAM.TRAIN.IMAGE_ENCODER is "
            f"{train.IMAGE_ENCODER!r}: its embeddings change in every step. Switch one of them off"
        )
