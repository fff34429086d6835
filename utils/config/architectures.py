"""Finds the configuration module of each meta-architecture: a folder of ``modeling`` that holds a ``config.py``."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import ConfigError, did_you_mean
from ..paths import configs_root, product_root
from .foreign import ForeignSection
from .schema import Leaf, collect, with_choices
from .sections import Shared


@dataclass(frozen=True)
class Architecture:
    """A meta-architecture as the configuration sees it.

    Attributes:
        name: its folder in ``modeling``.
        module: ``segfoundry.modeling.<name>.config``.
        leaves: dotted key -> declaration, the shared sections first.
    """

    name: str
    module: ModuleType
    leaves: dict[str, Leaf]

    @property
    def model_names(self) -> tuple[str, ...]:
        """The values of MODEL.NAME that choose this architecture."""
        return self.module.MODEL_NAMES

    @property
    def foreign(self) -> dict[str, ForeignSection]:
        """Sections of another system's files that a config module understands (FOREIGN_SECTIONS), by name."""
        return {section.name: section for section in getattr(self.module, "FOREIGN_SECTIONS", ())}


@functools.cache
def architectures() -> dict[str, Architecture]:
    """Returns all meta-architectures by folder name. Imports their config modules only, never torch."""
    found = {}
    for path in sorted((product_root() / "modeling").glob("*/config.py")):
        name = path.parent.name
        module = importlib.import_module(f"segfoundry.modeling.{name}.config")
        leaves = {**collect(Shared), **collect(module.Section)}
        leaves = with_choices(leaves, "SOLVER.LR_SCHEDULER_NAME", getattr(module, "SCHEDULES", ()))
        found[name] = Architecture(name, module, leaves)
    return found


def find_architecture(model_name: str) -> Architecture:
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

    A config module may define ``shipped_config(shapes, file_name)``, which returns a path below ``configs``.

    Args:
        shapes: parameter name -> shape.
        file_name: name of the file without its folder, for files that shapes do not tell apart.
    """
    for architecture in architectures().values():
        shipped_config = getattr(architecture.module, "shipped_config", None)
        name = None if shipped_config is None else shipped_config(shapes, file_name)
        if name is not None:
            return configs_root() / name
    return None


def lacks_parts(model_name: str, names: Collection[str]) -> bool:
    """Tells whether a weight file may lack parts of a network, so that the parts' own files are loaded before it.

    A config module may define ``lacks_parts(names)``; without it any file may lack some.

    Args:
        model_name: value of MODEL.NAME.
        names: parameter names in the file.
    """
    answer = getattr(find_architecture(model_name).module, "lacks_parts", None)
    return True if answer is None else answer(names)


def training_notices(cfg: Any) -> list[str]:
    """Returns what the architecture has to say before a training starts, e.g. that a task switches itself off.

    A config module may define ``active_tasks(cfg)``, which returns the tasks and such sentences.
    """
    active_tasks = getattr(find_architecture(cfg.MODEL.NAME).module, "active_tasks", None)
    return [] if active_tasks is None else active_tasks(cfg)[1]
