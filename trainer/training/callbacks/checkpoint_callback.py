"""Writes checkpoints: every N steps, every N epochs, at the end of the run and on a stop signal."""

from __future__ import annotations

from typing import Any

from ....utils.errors import UserError
from ....utils.logging import get_logger
from ...run_folder.checkpoints import Checkpoint, CheckpointStore
from ..loop import Callback, Loop

log = get_logger(__name__)


def crosses(step: int, period: float) -> bool:
    """True when a multiple of ``period`` (steps, fractions allowed) lies in (step - 1, step]."""
    return period > 0 and int(step / period + 1e-9) > int((step - 1) / period + 1e-9)


class CheckpointCallback(Callback):
    """Saves the training state on the first process.

    Args:
        store: where to.
        every: steps between checkpoints; 0: as ``every_epochs`` says.
        every_epochs: epochs between checkpoints, beside the others; 0: one where ``every`` is 0, else none.
        steps_per_epoch: steps of one pass over the data.
        config: the run's configuration as YAML.
        categories: training categories as JSON values.
        resumed: the checkpoint of this store that the run starts from: that state is saved already.
    """

    def __init__(
        self,
        store: CheckpointStore,
        *,
        every: int,
        every_epochs: float = 0.0,
        steps_per_epoch: float,
        config: str,
        categories: list[dict[str, Any]],
        resumed: Checkpoint | None = None,
    ) -> None:
        self.store = store
        epochs = every_epochs or (0.0 if every else 1.0)
        self.periods = (float(every), epochs * steps_per_epoch)
        self.config, self.categories = config, categories
        self._saved = (resumed.step, resumed.meta["counters"]["evaluated"]) if resumed is not None else None

    def step(self, loop: Loop) -> None:
        """Saves when a checkpoint is due."""
        if any(crosses(loop.step, period) for period in self.periods) or loop.done:
            self._save(loop)

    def stop(self, loop: Loop, error: BaseException | None) -> None:
        """Saves after a stop signal or a user's error, when the state is that of a complete step not yet saved."""
        savable = error is None or isinstance(error, UserError) and loop.settled
        if savable and self._saved != self._mark(loop):
            self._save(loop)

    @staticmethod
    def _mark(loop: Loop) -> tuple[int, int]:
        return loop.step, loop.state.counters.evaluated

    def _save(self, loop: Loop) -> None:
        if loop.processes.main:
            path = self.store.save(loop.state, config=self.config, categories=self.categories)
            log.info("checkpoint %s", path)
        self._saved = self._mark(loop)
