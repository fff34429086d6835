"""Groups of prompts that must not see each other: each group is asked on a copy of its image's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...modeling.promptable import Promptable
from ...utils.structures.requests import PromptedMasks, Prompts


@dataclass(frozen=True)
class PromptGroup:
    """Prompts of one image that see each other.

    Attributes:
        place: of the image among the encoded ones.
        prompts: what is asked for.
        previous: logits (N, h, w) of the last answer for the stroked objects, or None in the first round.
    """

    place: int
    prompts: Prompts
    previous: Tensor | None = None


def answer_groups(model: Promptable, encoded: Any, groups: Sequence[PromptGroup], together: int) -> list[PromptedMasks]:
    """Returns the answer to each group, which does not depend on the others.

    Args:
        model: takes the prompts.
        encoded: images, from ``model.encode``.
        groups: any number of each image.
        together: most groups that share a pass; each holds a copy of its image's features.
    """
    answers: list[PromptedMasks] = []
    for start in range(0, len(groups), together):
        part = groups[start : start + together]
        selected = model.select(encoded, [one.place for one in part])
        answers += model.prompted(selected, [one.prompts for one in part], [one.previous for one in part])
    return answers
