"""What every meta-architecture offers to the trainer.

What only some can do is a class of its own, which an architecture also extends and a caller looks for with isinstance:
prompts (``promptable.py``), export (``exportable.py``), layouts of published files (``weights/layouts.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from ..utils.draws import Draws
from ..utils.schedules import Schedule
from ..utils.structures.category import Category
from ..utils.structures.requests import Request
from ..utils.structures.results import Prediction
from ..utils.structures.samples import Batch
from .layers.adapters import Adapter
from .layers.lora import LoraUpdate


@dataclass
class ParamRule:
    """How one trainable parameter is optimised.

    Attributes:
        lr_multiplier: factor on SOLVER.BASE_LR.
        weight_decay: decoupled weight decay.
        kind: "base", "adapter" or "lora"; for the table printed at start.
        schedule: course of the learning rate, by name or as it is, in place of the run's; None: the run's. While its
            factor is 0 the parameter rests: neither gradient nor weight decay nor momentum moves it, and its optimizer
            state stays as it is.
    """

    lr_multiplier: float
    weight_decay: float
    kind: str = "base"
    schedule: str | Schedule | None = None


@dataclass
class TrainPolicy:
    """Which parameters train, and how.

    Attributes:
        rules: parameter name -> rule. Names that are absent are frozen.
        unreached: names that are frozen because no loss of this configuration depends on them.
    """

    rules: dict[str, ParamRule] = field(default_factory=dict)
    unreached: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PartFile:
    """A weight file that a part of the network always comes from.

    Attributes:
        path: the file, or a folder with one.
        key: the dotted configuration key that names it; never one of ``Architecture.part_weights_off``.
    """

    path: Path
    key: str


@dataclass(frozen=True)
class Progress:
    """Where a training step stands in its run: a pure function of the step, so that a resumed run sees the same.

    Attributes:
        step: optimizer steps done before it.
        epoch: passes over the training data done before it, with the fraction of the present one.
    """

    step: int
    epoch: float


START = Progress(0, 0.0)


class MetaArch(nn.Module, ABC):
    """A network with its losses and post-processing.

    Attributes:
        monitors: figures for people (never part of the objective); filled by ``losses``, read by the log.
        parts: label -> prefix of parameter names, for the table printed at start; the longest prefix wins. Empty: the
            top-level modules.
        result_kinds: tasks that ``predict`` can be asked for; empty: the network answers prompts only.
        tasks: those of ``result_kinds`` that ``predict`` does unasked; all of them unless the instance says otherwise.
        absent_hints: kind of result -> what helps users whose weights do not give it, as the end of a sentence.
        empty_hints: kind of result -> what helps where nothing is found in an image, as the end of a sentence.
        has_categories: it tells categories apart; weights without names of categories get those of COCO then.
    """

    parts: ClassVar[dict[str, str]] = {}
    result_kinds: frozenset[str] = frozenset({"panoptic", "semantic", "instance"})
    has_categories: ClassVar[bool] = True
    absent_hints: ClassVar[Mapping[str, str]] = {}
    empty_hints: ClassVar[Mapping[str, str]] = {}
    monitors: dict[str, Tensor]
    tasks: tuple[str, ...]

    def __init__(self) -> None:
        super().__init__()
        self.monitors = {}
        self.tasks = tuple(sorted(self.result_kinds))

    @classmethod
    @abstractmethod
    def from_config(cls, cfg: Any, categories: Sequence[Category]) -> MetaArch:
        """Builds the network from a resolved configuration; the only reader of its section.

        Args:
            cfg: the configuration, an object of the architecture's ``Architecture.config``.
            categories: the training data set's categories, in index order.
        """

    def forward(
        self, batch: Batch, *, rng: Draws | None = None, progress: Progress = START, request: Request | None = None
    ) -> Any:
        """Single entrance, so that DistributedDataParallel works: ``losses`` in training mode, else ``predict``."""
        if self.training:
            if rng is None:
                raise ValueError("training needs rng, the source of this step's random draws")
            return self.losses(batch, rng, progress)
        return self.predict(batch, request or Request())

    @abstractmethod
    def losses(self, batch: Batch, rng: Draws, progress: Progress = START) -> dict[str, Tensor]:
        """Returns weighted scalar losses, float32; their sum is the objective.

        Normalisers are taken from ``batch.totals`` when given, so that the sums over the micro-batches and processes
        of a step equal the losses of the whole batch.

        Args:
            batch: images with targets.
            rng: source of the step's random draws.
            progress: where the step stands in the run, for weights and stages that change with it. It is part of the
                interface: an architecture whose losses are the same at every step accepts and ignores it.
        """

    def normalizers(self, batch: Batch) -> dict[str, float]:
        """Returns this batch's share of each loss normaliser, for ``batch.totals``.

        The trainer sums the shares of all micro-batches and processes; of names that start with "max_" it takes the
        largest.
        """
        return {"images": float(len(batch))}

    @abstractmethod
    def predict(self, batch: Batch, request: Request) -> list[Prediction]:
        """Returns one prediction per image at ``sample.output_size``. Called under ``torch.no_grad``."""

    @abstractmethod
    def train_policy(self) -> TrainPolicy:
        """Returns which parameters train. Called once, before the optimizer is built."""

    def reloadable(self) -> Mapping[str, PartFile]:
        """Returns the frozen parts that always come from a file: prefix of their names ("backbone.") -> the file.

        Whoever builds the network for use reads these files; ``from_config`` does not. Names are those of the part
        (through its ``key_map``, if it has one), and a file holds all of them but adapters and low-rank updates.
        Checkpoints and best weights leave out what the files hold and keep their digests instead, so none of it may
        train, and no buffer of it may move: :meth:`train` leaves these parts in eval mode.
        """
        return {}

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; re-loadable parts stay in eval mode, but for the adapters and low-rank updates in them."""
        super().train(mode)
        for prefix in self.reloadable():
            part = self.get_submodule(prefix.removesuffix(".")).eval()
            for module in part.modules():
                if isinstance(module, Adapter):
                    module.train(mode)
                elif isinstance(module, LoraUpdate):
                    module.lora_dropout.train(mode)
        return self

    def set_vocabulary(self, categories: Sequence[Category]) -> None:  # noqa: B027
        """Sets the categories that ``predict`` tells apart; an architecture with fixed classes ignores it.

        One that reads their names warns of names that are the same to it.
        """

    def compile_parts(self) -> list[nn.Module]:
        """Returns the submodules that TRAIN.COMPILE hands to ``torch.compile``, each on its own."""
        return list(self.children())

    def adapt_state(self, state: Mapping[str, Tensor], source: str) -> Mapping[str, Tensor]:
        """Brings the tensors of a file to this network, where single names (:meth:`key_map`) do not tell what to do.

        Args:
            state: name in the file -> tensor.
            source: the file, for messages.

        Raises:
            CheckpointError: the file cannot belong to this network.
        """
        return state

    def key_map(self, name: str) -> str:
        """Maps a published checkpoint's parameter name to ours; identity unless an architecture says otherwise."""
        return name
