"""Writes the weights, and the optimizer, as bare files that other programs read: the names of the original trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from ....modeling.base import MetaArch
from ....modeling.finetune import parameter_kinds
from ....utils.errors import ConfigError
from ....utils.files import atomic_write, check_free_space, disk_errors
from ....utils.logging import get_logger
from ..loop import Callback, Loop
from .checkpoint_callback import crosses

log = get_logger(__name__)


class PublishedCallback(Callback):
    """Writes ``torch.save`` files of plain dictionaries on the first process, every N epochs and at the end of the run.

    Nothing is read back from them: a run continues from its checkpoints.

    Args:
        folder: folder of the run.
        model: the network.
        weights: pattern of names below it, with the fields ``step``, ``epoch`` and ``batch``; empty: none are written.
        optimizer: the same for the optimizer's state dict.
        every_epochs: epochs between two files; 0: one.
        steps_per_epoch: steps of one pass over the data.
        batch: images of a batch, for the field ``batch``.

    Raises:
        ConfigError: the network has parameters that published files do not know.
    """

    def __init__(
        self,
        folder: Path,
        model: MetaArch,
        *,
        weights: str,
        optimizer: str,
        every_epochs: float,
        steps_per_epoch: float,
        batch: int,
    ) -> None:
        self.folder, self.weights, self.optimizer = folder, weights, optimizer
        self.steps_per_epoch, self.batch = steps_per_epoch, batch
        self.period = (every_epochs or 1.0) * steps_per_epoch
        if weights:
            self._check(model)

    def _check(self, model: MetaArch) -> None:
        kinds = parameter_kinds(model)
        foreign = [name for name in model.state_dict() if kinds.get(name, "base") != "base"]
        if foreign:
            raise ConfigError(
                f"CHECKPOINT.PUBLISHED {self.weights!r}: published files know no adapters and low-rank updates, and "
                f"this network has {len(foreign)} parameters of that kind, e.g. {foreign[0]}; set it '' and use "
                "'convert' after training"
            )

    def start(self, loop: Loop) -> None:
        """Writes what a run that stopped here still owes, on a full disk say."""
        if loop.step:
            self._write_due(loop, again=False)

    def step(self, loop: Loop) -> None:
        """Writes when files are due."""
        self._write_due(loop, again=True)

    def _write_due(self, loop: Loop, again: bool) -> None:
        if not (crosses(loop.step, self.period) or loop.done) or not loop.processes.main:
            return
        for pattern, state in (
            (self.weights, loop.state.model.state_dict),
            (self.optimizer, loop.state.optimizer.state_dict),
        ):
            if pattern and (again or not self._path(pattern, loop.step).exists()):
                self._write(self._path(pattern, loop.step), state())

    def _path(self, pattern: str, step: int) -> Path:
        epoch = int(step / self.steps_per_epoch + 1e-9)
        return self.folder / pattern.format(step=step, epoch=epoch, batch=self.batch)

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        content = tree_map_only(Tensor, lambda t: t.detach().cpu(), dict(content))
        size = sum(t.numel() * t.element_size() for t in tree_leaves(content) if isinstance(t, Tensor))
        check_free_space(path, size + (1 << 20))
        with disk_errors(path, size), atomic_write(path) as file:
            torch.save(content, file)
        log.info("published layout: %s", path)
