"""What an architecture that takes prompts offers beside :class:`~segfoundry.modeling.base.MetaArch`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from ..utils.draws import Draws
from ..utils.structures.requests import PromptedMasks, Prompts, Request, Strokes
from ..utils.structures.results import Prediction
from ..utils.structures.samples import Batch


class Promptable(ABC):
    """Images are encoded once; prompts are answered on them in any number of rounds.

    Attributes:
        prompt_kinds: what ``prompted`` understands: any of "stroke", "text", "reference"; empty: this instance was
            built without prompts.
        mask_stride: pixels of the padded input per pixel of the logits that ``prompted`` returns.
        takes_shapes: ``prompted`` reads ``Prompts.shapes``, coordinates instead of pixels; simulated clicks have some.
    """

    prompt_kinds: frozenset[str] = frozenset()
    mask_stride: int = 4
    takes_shapes: ClassVar[bool] = False

    @abstractmethod
    def encode(self, batch: Batch) -> Any:
        """Runs the part of the network that no prompt changes, once per image.

        Args:
            batch: B images of one padded size.

        Returns:
            An object for ``decode``, ``select`` and ``prompted``; it serves any number of rounds.
        """

    @abstractmethod
    def decode(self, encoded: Any, request: Request) -> list[Prediction]:
        """Returns what ``predict`` does, from encoded images."""

    @abstractmethod
    def select(self, encoded: Any, places: Sequence[int]) -> Any:
        """Returns some of the encoded images, in the order of ``places``; a place may occur more than once."""

    @abstractmethod
    def prompted(
        self,
        encoded: Any,
        prompts: Sequence[Prompts],
        previous: Sequence[Tensor | None] | None = None,
        rng: Draws | None = None,
    ) -> list[PromptedMasks]:
        """Answers the prompts of each encoded image.

        Args:
            encoded: what ``encode`` returned for B images.
            prompts: of each image; images may have different numbers of objects.
            previous: per image, the logits (N, h, w) of the last round for its stroked objects, in the same order,
                or None in the first round.
            rng: source of random draws; None: a fixed one, so that equal prompts have equal answers.

        Returns:
            One answer per image.
        """

    @abstractmethod
    def full_masks(self, encoded: Any, answers: Sequence[PromptedMasks]) -> list[Tensor]:
        """Returns the answers' masks (N + T, H, W) bool at each image's original size."""


class TakesReferences(Promptable):
    """An object that is shown on one image can be looked for in others ("reference" among the ``prompt_kinds``)."""

    @abstractmethod
    def reference(self, encoded: Any, strokes: Strokes) -> Any:
        """Returns what strokes (1, h, w) of one object on one encoded image show, for ``Prompts.reference``.

        Raises:
            UserError: this variant has no such prompt; says which has.
        """


def prompt_kinds(model: nn.Module) -> frozenset[str]:
    """Returns the kinds of prompts that a network understands; none if it takes no prompts."""
    return model.prompt_kinds if isinstance(model, Promptable) else frozenset()
