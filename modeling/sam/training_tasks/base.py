"""What a training task of SAM answers about itself; the network asks it and knows none by name."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from ....utils.draws import Draws
from ....utils.structures.results import Prediction
from ....utils.structures.samples import Batch
from ..network.sam import Sam
from ..prompting.encoded import Encoded


class TrainingTask(Protocol):
    """What is trained, and predicted without prompts.

    Attributes:
        result_kinds: results that it gives on encoded images, without prompts.
    """

    result_kinds: frozenset[str]

    def losses(self, model: Sam, batch: Batch, embeddings: Tensor, rng: Draws) -> dict[str, Tensor]:
        """Returns the weighted losses of a micro-batch, as shares of the step's."""

    def normalizers(self, batch: Batch) -> dict[str, float]:
        """Returns the batch's share of the loss normalisers."""

    def unreached(self, name: str) -> bool:
        """Tells whether no loss depends on the parameter of this name."""

    def predict(self, model: Sam, encoded: Encoded) -> list[Prediction]:
        """Returns all of its ``result_kinds`` for each encoded image, at its output size."""

    def compile_parts(self, model: Sam) -> list[nn.Module]:
        """Returns the parts of the network whose inputs keep their form from step to step."""
