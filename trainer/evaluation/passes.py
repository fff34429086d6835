"""What one evaluation asks of a model for a batch: each image is encoded once, whatever is measured on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...modeling.base import MetaArch
from ...modeling.promptable import Promptable
from ...utils.structures.requests import ClickProtocol, PromptedMasks, Prompts, Request, Strokes
from ...utils.structures.results import Prediction
from ...utils.structures.samples import Batch, PhraseTruth
from .click_simulation import OBJECTS_PER_RECORD, simulate_clicks
from .prompt_groups import PromptGroup, answer_groups


@dataclass(frozen=True)
class EvaluationPasses:
    """Predicts what the evaluators of one data set read.

    Attributes:
        model: in evaluation mode, on ``device``.
        asks: kinds of result, and names in :data:`PASSES`.
        clicks: how clicks are simulated.
        device: of the model.
    """

    model: MetaArch
    asks: tuple[str, ...]
    clicks: ClickProtocol
    device: torch.device

    def __call__(self, batch: Batch) -> list[Prediction]:
        """Returns one prediction per image of a batch on the device."""
        request = Request(tasks=tuple(asked for asked in self.asks if asked not in PASSES))
        if len(request.tasks or ()) == len(self.asks):
            return self.model(batch, request=request)
        encoded = self._promptable.encode(batch)
        predictions = [Prediction() for _ in batch.samples]
        if request.tasks:
            predictions = self._promptable.decode(encoded, request)
        for name, run in PASSES.items():
            if name in self.asks:
                run(self, encoded, batch, predictions)
        return predictions

    def add_phrases(self, encoded: Any, batch: Batch, predictions: Sequence[Prediction]) -> None:
        """Asks for the phrases of each image: ``Prediction.phrases``."""
        for prediction, masks in zip(predictions, self._phrases(encoded, batch), strict=True):
            prediction.phrases = masks

    def add_clicks(self, encoded: Any, batch: Batch, predictions: Sequence[Prediction]) -> None:
        """Clicks on the objects of each image, round by round: ``Prediction.click_ious``."""
        ious = simulate_clicks(self._promptable, encoded, batch.samples, self.clicks, self.device)
        for prediction, image in zip(predictions, ious, strict=True):
            prediction.click_ious = image

    @property
    def _promptable(self) -> Promptable:
        """The model as what answers prompts; prompted tasks are chosen for networks that do."""
        assert isinstance(self.model, Promptable)
        return self.model

    def _phrases(self, encoded: Any, batch: Batch) -> list[np.ndarray]:
        """Returns the masks (T, H, W) bool of each image's phrases, (0, H, W) where it has none."""
        model = self._promptable
        asked = {place: s.phrases for place, s in enumerate(batch.samples) if s.phrases is not None and s.phrases.texts}
        counts = [len(asked[place].texts) if place in asked else 0 for place in range(len(batch))]
        found = [np.zeros((n, *s.output_size), bool) for n, s in zip(counts, batch.samples, strict=True)]
        if any(truth.strokes for truth in asked.values()):
            sizes = [batch.image_sizes[place] for place in asked]
            view = model.select(encoded, list(asked))
            answers = self._phrases_with_strokes(view, list(asked.values()), sizes)
            return [found[place] if place not in asked else answers.pop(0) for place in range(len(found))]
        turns = {place: sentence_turns(truth) for place, truth in asked.items()}
        for number in range(max(map(len, turns.values()), default=0)):
            rows = {place: turn[number] for place, turn in turns.items() if number < len(turn)}
            texts = [[asked[place].texts[row] for row in own] for place, own in rows.items()]
            view = model.select(encoded, list(rows))
            answers = model.decode(view, Request(tasks=("phrases",), texts=texts))
            for (place, own), answer in zip(rows.items(), answers, strict=True):
                found[place][own] = answer.phrases
        for place, truth in asked.items():
            found[place] = found[place][first_rows(truth)]
        return found

    def _phrases_with_strokes(
        self, view: Any, truths: Sequence[PhraseTruth], sizes: Sequence[tuple[int, int]]
    ) -> list[Any]:
        """Answers each phrase by itself with a stroke of its object; strokes lie in inputs of ``sizes``."""
        groups = []
        for place, (truth, (height, width)) in enumerate(zip(truths, sizes, strict=True)):
            for text, owner in zip(truth.texts, truth.owner.tolist(), strict=True):
                positive = np.zeros((1, height * width), bool)
                positive[0, truth.strokes[owner]] = True
                drawn = torch.from_numpy(positive).view(1, height, width).to(self.device)
                strokes = Strokes(drawn, torch.zeros_like(drawn))
                groups.append(PromptGroup(place, Prompts(strokes, (text,), strokes_explain_texts=True)))
        answers = iter(answer_groups(self._promptable, view, groups, OBJECTS_PER_RECORD))
        found = []
        for truth in truths:
            own = [next(answers) for _ in truth.texts]
            logits, scores = ([getattr(answer, name)[1:] for answer in own] for name in ("logits", "scores"))
            found.append(PromptedMasks(torch.cat(logits), torch.cat(scores)))
        return [masks.cpu().numpy() for masks in self._promptable.full_masks(view, found)]


PASSES: dict[str, Callable[[EvaluationPasses, Any, Batch, Sequence[Prediction]], None]] = {
    "phrases": EvaluationPasses.add_phrases,
    "clicks": EvaluationPasses.add_clicks,
}
"""How networks are prompted for a measurement, by the name that a task gives (``PromptedTask.evaluation_pass``).

A pass takes the encoded images, their batch, and the predictions that it adds its answers to.
"""


def first_rows(truth: PhraseTruth) -> list[int]:
    """Returns, for each of the T texts of an image, the first row that says the same of the same object."""
    said = list(zip(truth.owner.tolist(), truth.texts, strict=True))
    return [said.index(one) for one in said]


def sentence_turns(truth: PhraseTruth) -> list[list[int]]:
    """Returns which texts of an image are asked for together: the first sentence of each object, the second ones, ...

    Phrases that are asked for together see each other, so a sentence must not meet others about the same object. What
    is said twice of an object is asked for once.
    """
    turns: list[list[int]] = []
    count: dict[int, int] = {}
    for row, first in enumerate(first_rows(truth)):
        if row != first:
            continue
        owner = int(truth.owner[row])
        turn = count[owner] = count.get(owner, -1) + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(row)
    return turns
