"""How the configuration of an architecture becomes samples: mappers, image sizes, data of its own keys, checks.

``datasets/pipelines/<name>.py`` defines exactly one subclass of :class:`Pipeline`; it is found by the architecture's
name. Of ``modeling`` it may import ``modeling/<name>/config*.py`` and nothing else. No torch here.
"""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from ...utils.config.architectures import find_architecture, only_subclass
from ...utils.config.sections import Shared
from ...utils.structures.requests import ClickProtocol
from ..mappers.base import EvalMapper, TrainMapper
from ..records.record import Record
from ..records.split import Split
from ..stream.mixture import DataSet
from ..transforms.resize import FixedResize

C = TypeVar("C", bound=Shared)


@dataclass(frozen=True)
class DataKey:
    """A key of an architecture that names data, beside DATASETS.TRAIN and DATASETS.TEST.

    Attributes:
        name: dotted key.
        example: a value, for messages.
    """

    name: str
    example: str


@dataclass(frozen=True)
class OwnData:
    """What the architecture's own keys name.

    Attributes:
        train: training sets.
        test: evaluation sets.
        notices: sentences for the user.
    """

    train: list[DataSet] = field(default_factory=list)
    test: list[DataSet] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def as_record(self, name: str, path: Path) -> Record:
        """Returns all sets as the splits train.0, train.1, ... and test (test.1, ...) of one data set, to be checked.

        Args:
            name: of the data set; its categories are those of the first set.
            path: what named them, for messages.
        """
        named = [(f"train.{number}", split) for number, (_, split) in enumerate(self.train)]
        named += [(f"test.{number}" if number else "test", split) for number, (_, split) in enumerate(self.test)]
        splits = {name: replace(split, name=name) for name, split in named}
        categories = [*self.train, *self.test][0][0].categories
        return Record(name, path, Path(path.absolute().anchor), categories, None, splits)


class Pipeline(ABC, Generic[C]):
    """Makes the samples of one architecture.

    Args:
        cfg: the architecture's configuration.

    Attributes:
        data_name: what the data of its own keys is called in reports.
    """

    data_name: ClassVar[str] = ""

    def __init__(self, cfg: C) -> None:
        self.cfg = cfg

    @abstractmethod
    def train_mapper(self, record: Record) -> TrainMapper:
        """Builds the mapper of training samples; the categories are those of ``record``."""

    @abstractmethod
    def eval_mapper(self, record: Record, split: Split, kinds: Sequence[str] = ()) -> EvalMapper:
        """Builds the mapper of evaluation samples.

        Args:
            record: the data set.
            split: its part.
            kinds: kinds of the evaluators that will read the samples.

        Raises:
            ConfigError: the evaluators do not go together.
        """

    @abstractmethod
    def eval_resize(self, record: Record) -> FixedResize:
        """Returns how images of a data set are resized for evaluation and prediction."""

    @property
    def train_key(self) -> DataKey | None:
        """The own key that names training data, where there is one."""
        return None

    @property
    def test_key(self) -> DataKey | None:
        """The own key that names evaluation data, where there is one."""
        return None

    def own_data(self) -> OwnData:
        """Finds the data that the own keys name.

        Raises:
            ConfigError: an entry makes no sense; names the key.
            DataError: a folder is missing; says which and what is expected.
        """
        return OwnData()

    def check_training(self, train: Sequence[DataSet]) -> None:  # noqa: B027  # most have nothing to check
        """Checks keys against the training sets.

        Raises:
            ConfigError: names the keys and what does not go together.
        """

    def training_notices(self, train: Sequence[DataSet], written: Callable[[str], bool]) -> list[str]:
        """Returns what the training sets lack that the configuration switched on.

        Args:
            train: the training sets.
            written: tells whether the user wrote a key.
        """
        return []

    def click_protocol(self, split: Split | None = None) -> ClickProtocol:
        """Returns how clicks on the objects of a split are simulated; None: of any data."""
        return ClickProtocol()

    def evaluator_options(self, split: Split, kinds: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Returns kind -> arguments of its evaluator, as far as the configuration decides them.

        Raises:
            ConfigError: keys contradict each other.
        """
        return {"referring": {"sentences": self.cfg.TEST.SENTENCES}}


def find_pipeline(cfg: C) -> Pipeline[C]:
    """Returns the pipeline of the architecture that MODEL.NAME chooses.

    Raises:
        ConfigError: no architecture has that name.
    """
    name = f"{__package__}.{find_architecture(cfg.MODEL.NAME).name}"
    if importlib.util.find_spec(name) is None:
        raise RuntimeError(f"{cfg.MODEL.NAME} has no pipeline: {name} is missing")
    module = importlib.import_module(name)
    return only_subclass(module, Pipeline)(cfg)  # type: ignore[type-abstract]
