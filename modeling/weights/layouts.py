"""What an architecture offers whose weights other programs read in a layout that is not simply its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor


class PublishedLayout(ABC):
    """Fine-tuning can add modules that the published files of this architecture have no place for."""

    @abstractmethod
    def check_plain(self) -> None:
        """Makes sure that published files have a place for every tensor; called after LoRA updates were merged.

        Raises:
            UserError: fine-tuning added modules that they do not know.
        """


class TransformersLayout(ABC):
    """The architecture has a class in transformers."""

    @abstractmethod
    def to_transformers(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns the tensors under the names of the class in transformers, and the class's configuration."""
