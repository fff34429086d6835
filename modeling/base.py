"""What every meta-architecture offers to the trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from ..utils.draws import Draws
from ..utils.errors import UserError
from ..utils.structures import Batch, Category, Prediction, PromptedMasks, Prompts, Request, Strokes


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
    """Which parameters train, and how.

    Attributes:
        rules: parameter name -> rule. Names that are absent are frozen.
        unreached: names that are frozen because no loss of this configuration depends on them.
    """

    rules: dict[str, ParamRule] = field(default_factory=dict)
    unreached: list[str] = field(default_factory=list)


class InferenceGraph(nn.Module):
    """A network from one image to masks and their classes, without control flow on data: what ``export`` writes.

    ``forward`` maps images (1, 3, H, W) float32 RGB 0..255 to class probabilities (1, Q, K + 1), the last one of "no
    object", and mask logits (1, Q, h, w), both float32.

    Args:
        divisibility: H and W are multiples of this.
    """

    def __init__(self, divisibility: int) -> None:
        super().__init__()
        self.divisibility = divisibility


class MetaArch(nn.Module, ABC):
    """A network with its losses and post-processing.

    Attributes:
        monitors: figures for people (never part of the objective); filled by ``losses``, read by the log.
        parts: label -> prefix of parameter names, for the table printed at start; the longest prefix wins. Empty: the
            top-level modules.
        prompt_kinds: what ``prompted`` understands: any of "stroke", "text", "reference"; empty: it takes no prompts.
        result_kinds: tasks that ``predict`` and ``decode`` can be asked for; empty: the network answers prompts only.
        absent_hints: kind of result -> what helps users whose weights do not give it, as the end of a sentence.
        empty_hints: kind of result -> what helps where nothing is found in an image, as the end of a sentence.
        mask_stride: pixels of the padded input per pixel of the logits that ``prompted`` returns.
        has_categories: it tells categories apart; weights without names of categories get those of COCO then.
        takes_shapes: ``prompted`` reads ``Prompts.shapes``, coordinates instead of pixels; simulated clicks have some.
    """

    parts: ClassVar[dict[str, str]] = {}
    prompt_kinds: frozenset[str] = frozenset()
    result_kinds: frozenset[str] = frozenset({"panoptic", "semantic", "instance"})
    mask_stride: int = 4
    takes_shapes: ClassVar[bool] = False
    has_categories: ClassVar[bool] = True
    absent_hints: ClassVar[Mapping[str, str]] = {}
    empty_hints: ClassVar[Mapping[str, str]] = {}
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

    def set_vocabulary(self, categories: Sequence[Category]) -> None:  # noqa: B027
        """Sets the categories that ``predict`` tells apart; an architecture with fixed classes ignores it."""

    def encode(self, batch: Batch) -> Any:
        """Runs the part of the network that no prompt changes, once per image.

        Args:
            batch: B images of one padded size.

        Returns:
            An object for ``decode``, ``select``, ``prompted`` and ``reference``; it serves any number of rounds.
        """
        raise NotImplementedError(f"{type(self).__name__} takes no prompts")

    def decode(self, encoded: Any, request: Request) -> list[Prediction]:
        """Returns what ``predict`` does, from encoded images."""
        raise NotImplementedError(f"{type(self).__name__} takes no prompts")

    def select(self, encoded: Any, places: Sequence[int]) -> Any:
        """Returns some of the encoded images, in the order of ``places``; a place may occur more than once."""
        raise NotImplementedError(f"{type(self).__name__} takes no prompts")

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
        raise NotImplementedError(f"{type(self).__name__} takes no prompts")

    def full_masks(self, encoded: Any, answers: Sequence[PromptedMasks]) -> list[Tensor]:
        """Returns the answers' masks (N + T, H, W) bool at each image's original size."""
        raise NotImplementedError(f"{type(self).__name__} takes no prompts")

    def reference(self, encoded: Any, strokes: Strokes) -> Any:
        """Returns what strokes of one object on one encoded image show, to look for it in other images.

        Raises:
            UserError: the architecture has no such prompt; says which has.
        """
        raise NotImplementedError(f"{type(self).__name__} takes no reference prompts")

    def inference_graph(self) -> InferenceGraph:
        """Returns the network with its present vocabulary as one graph, sharing the parameters.

        Raises:
            UserError: this architecture cannot be exported.
        """
        raise UserError("this architecture cannot be exported; networks of SEEM can")

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

    def check_plain(self) -> None:  # noqa: B027
        """Makes sure that published files have a place for every tensor; called after LoRA updates were merged.

        Raises:
            UserError: fine-tuning added modules that they do not know.
        """

    def to_transformers(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns the tensors under the names of this network's class in transformers, and the class's configuration.

        Raises:
            UserError: there is no such class.
        """
        raise UserError(f"{type(self).__name__} has no class in transformers; convert --to published or segfoundry")

    def key_map(self, name: str) -> str:
        """Maps a published checkpoint's parameter name to ours; identity unless an architecture says otherwise."""
        return name

    def published_state(self) -> dict[str, Tensor]:
        """Returns the weights under published names, for other programs.

        Here these are the network's own names, translated by no part. An architecture that knows better overrides
        this; one with low-rank updates may merge them, into copies.
        """
        return self.state_dict()
