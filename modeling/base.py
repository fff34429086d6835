"""What every meta-architecture offers to the trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from segfoundry.utils.draws import Draws
from segfoundry.utils.structures import Batch, Category, Prediction, Request


@dataclass
class ParamRule:
    """How one trainable parameter is optimised.

    Attributes:
        lr_multiplier: factor on SOLVER.BASE_LR.
        weight_decay: decoupled weight decay.
        kind: "base", "adapter" or "lora"; for the table printed at start.
    """

    lr_multiplier: float
    weight_decay: float
    kind: str = "base"


@dataclass
class TrainPolicy:
    """Which parameters train, and how: parameter name -> rule. Names that are absent are frozen."""

    rules: dict[str, ParamRule] = field(default_factory=dict)


class MetaArch(nn.Module, ABC):
    """A network with its losses and post-processing.

    Attributes:
        monitors: figures for people (never part of the objective); filled by ``losses``, read by the log.
        parts: label -> prefix of parameter names, for the table printed at start; the longest prefix wins. Empty: the
            top-level modules.
        mapper: name of the mappers that make its training and evaluation samples (``datasets/mappers/build.py``).
    """

    parts: ClassVar[dict[str, str]] = {}
    mapper: ClassVar[str] = "panoptic"
    monitors: dict[str, Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.monitors = {}

    @classmethod
    @abstractmethod
    def from_config(cls, cfg: Any, categories: Sequence[Category]) -> MetaArch:
        """Builds the network from a resolved configuration; the only reader of its section.

        Args:
            cfg: frozen configuration tree.
            categories: the training data set's categories, in index order.
        """

    def forward(self, batch: Batch, *, rng: Draws | None = None, request: Request | None = None) -> Any:
        """Single entrance, so that DistributedDataParallel works: ``losses`` in training mode, else ``predict``."""
        if self.training:
            if rng is None:
                raise ValueError("training needs rng, the source of this step's random draws")
            return self.losses(batch, rng)
        return self.predict(batch, request or Request())

    @abstractmethod
    def losses(self, batch: Batch, rng: Draws) -> dict[str, Tensor]:
        """Returns weighted scalar losses, float32; their sum is the objective.

        Normalisers are taken from ``batch.totals`` when given, so that the sums over the micro-batches and processes
        of a step equal the losses of the whole batch.
        """

    def normalizers(self, batch: Batch) -> dict[str, float]:
        """Returns this batch's share of each loss normaliser; the trainer sums them into ``batch.totals``."""
        return {"images": float(len(batch))}

    @abstractmethod
    def predict(self, batch: Batch, request: Request) -> list[Prediction]:
        """Returns one prediction per image at ``sample.output_size``. Called under ``torch.no_grad``."""

    @abstractmethod
    def train_policy(self) -> TrainPolicy:
        """Returns which parameters train. Called once, before the optimizer is built."""

    def set_vocabulary(self, categories: Sequence[Category]) -> None:  # noqa: B027
        """Sets the categories that ``predict`` tells apart; an architecture with fixed classes ignores it."""

    def compile_parts(self) -> list[nn.Module]:
        """Returns the submodules that TRAIN.COMPILE hands to ``torch.compile``, each on its own."""
        return list(self.children())

    def key_map(self, name: str) -> str:
        """Maps a published checkpoint's parameter name to ours; identity unless an architecture says otherwise."""
        return name
