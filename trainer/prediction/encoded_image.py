"""One image whose features are computed, and the answers of the network to prompts about it.

Letters in shapes: H and W rows and columns of the image, h and w those of the mask logits, N objects, T texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...modeling.promptable import Promptable, TakesReferences
from ...utils.config.architectures import find_architecture
from ...utils.errors import UserError
from ...utils.logging import get_logger
from ...utils.prompts import Prompt, PromptError, rasterize, scaled
from ...utils.structures.category import Category
from ...utils.structures.requests import PromptedMasks, Prompts, Request, Strokes
from ...utils.structures.results import Prediction, ReferResult
from .loaded_network import LoadedNetwork
from .result_memory import check_mask_memory, check_result_memory

log = get_logger(__name__)

_KINDS = {"stroke": "points, boxes and other strokes", "text": "texts", "reference": "objects shown on other images"}


@dataclass(frozen=True)
class Answer:
    """The network's mask of one prompted object.

    Attributes:
        mask: (H, W) bool, the mask at the size of the image.
        score: confidence 0..1.
        logits: (h, w) mask logits, the memory of the next round.
    """

    mask: np.ndarray
    score: float
    logits: Tensor


class EncodedImage:
    """One image, encoded once.

    Args:
        predictor: the network.
        image: (H, W, 3) uint8 RGB.

    Raises:
        UserError: the network takes no prompts.
    """

    def __init__(self, predictor: LoadedNetwork, image: np.ndarray) -> None:
        model = predictor.model
        if not isinstance(model, Promptable) or not model.prompt_kinds:
            raise UserError(
                f"{_network(predictor)} takes no prompts: it was built or trained without them; use weights that were "
                "trained with clicks or phrases, or its panoptic, semantic and instance results"
            )
        self.predictor = predictor
        self.model = model
        self.size = (image.shape[0], image.shape[1])
        batch = predictor.batch([image])
        self.input_size = batch.image_sizes[0]
        with predictor.running():
            self.features: Any = model.encode(batch)

    def answer(self, prompts: Sequence[Prompt], text: str | None = None, previous: Tensor | None = None) -> Answer:
        """Returns the mask of one object.

        Args:
            prompts: strokes on the object; empty: the text alone names it.
            text: words for the object, or None.
            previous: (h, w) logits of its last answer; None: the first round.

        Raises:
            UserError: the network does not understand this kind of prompt, or a prompt says nothing about the image.
        """
        if text is not None:
            self.require("text")
            check_text(text)
        texts = () if text is None else (text,)
        if not prompts:
            return self._first_answer(Prompts(texts=texts), None)
        strokes = self._strokes(prompts)
        scale = (self.input_size[1] / self.size[1], self.input_size[0] / self.size[0])
        shapes = (tuple(scaled(prompt, scale) for prompt in prompts),)
        return self._first_answer(Prompts(strokes, texts, texts_explain_strokes=bool(texts), shapes=shapes), previous)

    def example(self, prompts: Sequence[Prompt]) -> Any:
        """Returns what strokes of one object show, for :meth:`like` on another image.

        Raises:
            UserError: the architecture has no such prompt, or the strokes say nothing.
        """
        strokes = self._strokes(prompts)
        if not isinstance(self.model, TakesReferences):
            raise self._refusal("reference")
        with self.predictor.running():
            return self.model.reference(self.features, strokes)

    def like(self, example: Any) -> Answer:
        """Returns the mask of the object that looks like an :meth:`example`; UserError as there."""
        self.require("reference")
        return self._first_answer(Prompts(reference=example), None)

    def decode(self, tasks: Sequence[str], categories: Sequence[Category] | None = None) -> Prediction:
        """Returns what the network predicts without prompts.

        Args:
            tasks: names of tasks (:mod:`segfoundry.datasets.tasks`) that the features are enough for.
            categories: vocabulary; None: the predictor's.

        Raises:
            UserError: as ``Predictor.__call__``.
        """
        check_result_memory(self.predictor.cfg, self.size, self.predictor.result_tasks(tasks))
        with self.predictor.running():
            return self.model.decode(self.features, Request(tuple(tasks), categories))[0]

    def require(self, kind: str) -> None:
        """Refuses a kind of prompt, "stroke" or "text", that the network does not understand.

        One that it was not trained for is answered, with a warning.

        Raises:
            UserError: it does not; says which it does.
        """
        if kind not in self.model.prompt_kinds:
            raise self._refusal(kind)
        cfg = self.predictor.cfg
        if setting := find_architecture(cfg.MODEL.NAME).untrained_prompts(cfg).get(kind):
            _warn_untrained(str(self.predictor.source), setting, kind)

    def _refusal(self, kind: str) -> UserError:
        """Returns the error for a kind of prompt that the network does not understand."""
        understood = ", ".join(text for known, text in _KINDS.items() if known in self.model.prompt_kinds)
        return UserError(f"{_network(self.predictor)} takes no {_KINDS[kind]} as prompts; it understands {understood}")

    def _strokes(self, prompts: Sequence[Prompt]) -> Strokes:
        """Returns one object's prompts as the network takes them."""
        self.require("stroke")
        drawn = rasterize([prompts], self.size, self.input_size)
        if not drawn.positive.any():
            if any(prompt.positive for prompt in prompts):
                raise PromptError(
                    f"what does not belong covers all that does: the network sees this image of {self.size[1]} x "
                    f"{self.size[0]} pixels as {self.input_size[1]} x {self.input_size[0]}, where the two are one place"
                )
            raise PromptError("an object needs something positive: point at it before you say what does not belong")
        move = lambda array: torch.from_numpy(array).to(self.predictor.device)  # noqa: E731
        return Strokes(move(drawn.positive), move(drawn.negative))

    def _first_answer(self, prompts: Prompts, previous: Tensor | None) -> Answer:
        """Returns the first answer to the prompts."""
        model = self.model
        with self.predictor.running():
            memory = None if previous is None else [previous[None]]
            answer = model.prompted(self.features, [prompts], memory)[0]
            answer = PromptedMasks(answer.logits[:1], answer.scores[:1])
            mask = model.full_masks(self.features, [answer])[0][0].cpu().numpy()
        return Answer(mask, float(answer.scores[0]), answer.logits[0])


def refer(predictor: LoadedNetwork, image: np.ndarray, texts: Sequence[str]) -> ReferResult:
    """Finds what texts name; see ``Predictor.refer``."""
    for text in texts:
        check_text(text)
    check_mask_memory(predictor.cfg, (image.shape[0], image.shape[1]), len(texts))
    encoded = EncodedImage(predictor, image)
    masks, scores = np.zeros((len(texts), *encoded.size), bool), np.zeros(len(texts), np.float32)
    for place, text in enumerate(texts):
        answer = encoded.answer((), text)
        masks[place], scores[place] = answer.mask, answer.score
    return ReferResult(list(texts), masks, scores)


def check_text(text: str) -> None:
    """Refuses words that name nothing.

    Raises:
        PromptError: the text is empty, has only blanks and characters that cannot be seen, or is no text.
    """
    if not isinstance(text, str) or not any(c.isprintable() and not c.isspace() for c in text):
        raise PromptError(f"text {text!r}: expected words that name something, e.g. 'the left cup'")


def _network(predictor: LoadedNetwork) -> str:
    return f"{predictor.cfg.MODEL.NAME} ({predictor.source})"


@lru_cache
def _warn_untrained(source: str, setting: str, kind: str) -> None:
    """Says once that answers to a kind of prompt mean little."""
    log.warning("%s was trained with %s: its answers to %s mean little", source, setting, _KINDS[kind])
