"""The four events of training that a callback may listen to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..loop import Loop


class Callback:
    """Does nothing; subclasses override what they need. Called on every process, in the same order."""

    def start(self, loop: Loop) -> None:
        """Called once, before the first step of this process's life."""

    def step(self, loop: Loop) -> None:
        """Called after each optimizer step; ``loop.step`` counts it already."""

    def record(self, loop: Loop, record: dict[str, Any]) -> None:
        """Called when there are figures: a dictionary with ``kind`` ("train" or "eval"), ``step`` and numbers."""

    def stop(self, loop: Loop, error: BaseException | None) -> None:
        """Called once at the end, also after an error or a stop signal."""
