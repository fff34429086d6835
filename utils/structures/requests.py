"""What a network is asked for: tasks, prompts, simulated clicks; and its masks of prompts.

Letters in shapes: H and W pixels (rows, columns) of the network's input, h and w those at its stride, N objects, T
texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .category import Category

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Strokes:
    """Prompts drawn on one image, for N objects, as pixels.

    Attributes:
        positive: (N, H, W) bool array or tensor, pixels said to belong to the object.
        negative: (N, H, W) bool, pixels said not to belong to it.
    """

    positive: Any
    negative: Any


@dataclass
class Request:
    """What to predict.

    Attributes:
        tasks: names of tasks that are answered unasked (``MetaArch.result_kinds``), and "phrases"; None: what the
            configuration switches on.
        categories: vocabulary, in index order; None: the one set last with ``MetaArch.set_vocabulary``.
        texts: per image, the texts whose masks the task "phrases" asks for.
    """

    tasks: Sequence[str] | None = None
    categories: Sequence[Category] | None = None
    texts: Sequence[Sequence[str]] | None = None


@dataclass(frozen=True)
class ClickProtocol:
    """How clicks are simulated in an evaluation.

    Attributes:
        max_clicks: R, the first prompt included.
        mode: "best" or "best_random" (``modeling/clicks.py``).
        dilation: side of a click in pixels of the network's input.
        texts: give each object's text along (``ObjectTruth.texts``); the object alone sees it.
        boxes: the first prompt is the object's bounding box, not the sample's stroke; for networks that take shapes.
    """

    max_clicks: int = 20
    mode: str = "best"
    dilation: int = 3
    texts: bool = False
    boxes: bool = False


@dataclass
class Prompts:
    """What a user points at in one image: N objects by strokes, T by texts, one after the other.

    Attributes:
        strokes: of N objects, at the size of the network's input without padding; or None.
        shapes: of each of the N objects, the shapes that ``strokes`` were drawn from (:mod:`segfoundry.utils.prompts`),
            in pixels of the network's input; empty where strokes come as pixels only (simulated clicks). For networks
            that take coordinates.
        texts: T sentences.
        reference: an object shown on another image (``TakesReferences.reference``), or None.
        texts_explain_strokes: the texts also describe the stroked objects, which may look at them.
        strokes_explain_texts: the strokes also show what the texts name, which may look at them.
    """

    strokes: Strokes | None = None
    texts: tuple[str, ...] = ()
    reference: Any = None
    texts_explain_strokes: bool = False
    strokes_explain_texts: bool = False
    shapes: Sequence[Sequence[Any]] = ()


@dataclass
class PromptedMasks:
    """Answer to :class:`Prompts`: one mask per prompted object, stroked objects first, then texts, then the reference.

    Attributes:
        logits: (N + T, h, w) float32 tensor of mask logits at the network's stride, above 0 inside; handed back as
            ``previous`` they are the memory of the next round.
        scores: (N + T,) float32 tensor, confidence 0..1.
    """

    logits: Tensor
    scores: Tensor
