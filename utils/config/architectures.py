"""What a meta-architecture says about itself before torch is loaded; it is found by its folder in ``modeling``."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Generic, TypeVar

from ..errors import ConfigError, did_you_mean
from ..paths import configs_root
from .foreign import ForeignSection
from .schema import Leaf, collect, with_choices
from .sections import Shared

C = TypeVar("C", bound=Shared)

MODELING = f"{__name__.partition('.')[0]}.modeling"
"""Package whose folders are the architectures."""


class Architecture(ABC, Generic[C]):
    """What one meta-architecture says about itself; ``modeling/<name>/config.py`` defines exactly one subclass.

    Nothing heavy is imported by such a module. What concerns data stands in ``datasets/pipelines/<name>.py``, what
    needs the network in ``modeling/<name>/model.py``.

    Args:
        name: its folder in ``modeling``.

    Attributes:
        model_names: the values of MODEL.NAME that choose this architecture.
        config: its configuration: the shared sections and its own.
        foreign: sections of other systems' files that are read as keys of this one.
        part_weights_off: dotted key -> value that switches the files and downloads of single parts (a pre-trained
            backbone, say) off, when weights of the whole network follow. A key that names the file of a re-loadable
            part (``MetaArch.reloadable``) must not stand here: checkpoints leave that part out and need its file.
        free_keys: patterns of own keys that may differ between the parts of one run: they do not shape the result.
        class_count_key: key with the number of categories, which follows from the data; empty: there is none.
        class_weights: tensor in weight files with a number for each trained category and one for "no object"; empty:
            there is none.
        task_switches: task -> key that switches its results off; tasks without one are always on.
        training_memory: keys, with a hint, that lower the memory of training, beside the shared ones.
        prediction_memory: the same for prediction.
        schedules: names of its own schedules of the learning rate (SOLVER.LR_SCHEDULER_NAME).
        leaves: dotted key -> declaration, the shared sections first.
    """

    model_names: ClassVar[tuple[str, ...]]
    config: ClassVar[type[Shared]]
    foreign: ClassVar[tuple[ForeignSection, ...]] = ()
    part_weights_off: ClassVar[Mapping[str, Any]] = {}
    free_keys: ClassVar[tuple[str, ...]] = ()
    class_count_key: ClassVar[str] = ""
    class_weights: ClassVar[str] = ""
    task_switches: ClassVar[Mapping[str, str]] = {}
    training_memory: ClassVar[tuple[str, ...]] = ()
    prediction_memory: ClassVar[tuple[str, ...]] = ()
    schedules: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self.leaves: dict[str, Leaf] = with_choices(collect(self.config), "SOLVER.LR_SCHEDULER_NAME", self.schedules)

    @property
    def foreign_sections(self) -> dict[str, ForeignSection]:
        """The foreign sections by name."""
        return {section.name: section for section in self.foreign}

    @abstractmethod
    def tiny(self) -> dict[str, Any]:
        """Returns the smallest configuration that trains: dotted key -> value."""

    def check(self, cfg: C) -> None:  # noqa: B027  # an architecture without such rules has nothing to check
        """Checks the rules that join several keys.

        Raises:
            ConfigError: naming the keys, what was found and what is expected.
        """

    def training_notices(self, cfg: C) -> list[str]:
        """Returns what there is to say before a training starts, e.g. that a task switches itself off."""
        return []

    def shipped_config(self, shapes: Mapping[str, tuple[int, ...]], file_name: str = "") -> str | None:
        """Returns the file below ``configs`` that describes a published weight file, or None.

        Args:
            shapes: parameter name -> shape.
            file_name: name of the file without its folder, for files that shapes do not tell apart.
        """
        return None

    def lacks_parts(self, names: Collection[str]) -> bool:
        """Tells whether a weight file with these parameters may lack parts of a network; their own files come first."""
        return True

    def merged_lora(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the keys that change when low-rank updates are merged into the weights: dotted key -> value."""
        return {}

    def untrained_prompts(self, cfg: C) -> dict[str, str]:
        """Returns the prompts that were not trained with this configuration: "stroke", "text" -> key and its value."""
        return {}


@functools.cache
def architectures() -> dict[str, Architecture[Any]]:
    """Returns all meta-architectures by folder name. Imports their config modules only, never torch."""
    package = importlib.import_module(MODELING)
    found = {}
    for path in sorted(Path(place) / name / "config.py" for place, name in _folders(package)):
        if path.is_file():
            name = path.parent.name
            module = importlib.import_module(f"{MODELING}.{name}.config")
            found[name] = only_subclass(module, Architecture)(name)  # type: ignore[type-abstract]
    return found


def _folders(package: ModuleType) -> list[tuple[str, str]]:
    return [(place, found.name) for place in package.__path__ for found in pkgutil.iter_modules([place]) if found.ispkg]


_T = TypeVar("_T")


def only_subclass(module: ModuleType, base: type[_T]) -> type[_T]:
    """Returns the one concrete subclass of ``base`` that a module defines."""
    classes = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__]
    found = [c for c in classes if issubclass(c, base) and not inspect.isabstract(c)]
    if len(found) != 1:
        raise RuntimeError(
            f"{module.__name__} must define exactly one {base.__name__}, not {[c.__name__ for c in found]}"
        )
    return found[0]


def find_architecture(model_name: str) -> Architecture[Any]:
    """Returns the architecture that MODEL.NAME chooses.

    Raises:
        ConfigError: if no architecture has that name; lists all names.
    """
    names = {m: a for a in architectures().values() for m in a.model_names}
    if model_name not in names:
        known = ", ".join(sorted(names))
        if not model_name:
            raise ConfigError(f"MODEL.NAME is not set; give a configuration file, or set it to one of: {known}")
        raise ConfigError(
            f"MODEL.NAME {model_name!r} is unknown{did_you_mean(model_name, names) or '.'} Known: {known}."
        )
    return names[model_name]


def recognise(shapes: Mapping[str, tuple[int, ...]], file_name: str = "") -> Path | None:
    """Returns the shipped configuration of a published weight file, or None when no architecture knows it.

    Args:
        shapes: parameter name -> shape.
        file_name: name of the file without its folder.
    """
    for architecture in architectures().values():
        name = architecture.shipped_config(shapes, file_name)
        if name is not None:
            return configs_root() / name
    return None
