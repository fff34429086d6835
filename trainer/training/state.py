"""Everything that step k depends on besides the seed and k: weights, optimizer, average, loss scale, counters."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ...modeling.base import MetaArch
from ...modeling.weights.part_files import LoadedParts, check_sources
from ...utils.errors import CheckpointError
from ..machine.precision import Precision
from .ema import Ema
from .optimizer import parameter_names


@dataclass
class Counters:
    """Plain numbers that belong to the state.

    Attributes:
        step: optimizer steps done, skipped ones included.
        updates: steps that changed the weights.
        skipped: steps skipped because a loss or gradient was not finite.
        images: training images seen.
        evaluated: step of the last complete evaluation; -1: none.
        best: best result so far (``metric``, ``value``, ``step``), or None.
        schedule_steps: length that the schedules of the learning rate are made for; 0: not known.
    """

    step: int = 0
    updates: int = 0
    skipped: int = 0
    images: int = 0
    evaluated: int = -1
    best: dict[str, Any] | None = None
    schedule_steps: int = 0


class TrainState:
    """The training state, and its form in a checkpoint.

    Args:
        model: the bare meta-architecture (not wrapped for distribution).
        optimizer: its optimizer.
        precision: holder of the loss scale.
        ema: averaged weights, or None.
        parts: what was read from the files of re-loadable parts; it is in the model and stays out of checkpoints.
    """

    def __init__(
        self,
        model: MetaArch,
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        ema: Ema | None = None,
        parts: LoadedParts | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.precision = precision
        self.ema = ema
        self.counters = Counters()
        parts = parts or LoadedParts()
        self.sources, self._left_out = parts.sources, frozenset(parts.tensors)
        self.trained = parameter_names(model, optimizer)

    def weights(self) -> dict[str, Tensor]:
        """Returns the model's state dict without what comes from files of its own."""
        return {name: tensor for name, tensor in self.model.state_dict().items() if name not in self._left_out}

    def about(self) -> dict[str, Any]:
        """Returns what completes :meth:`weights`: where left-out parts come from, under ``reloadable``; or nothing."""
        return {"reloadable": self.sources} if self.sources else {}

    def tensors(self) -> dict[str, Tensor]:
        """Returns the other tensors: ``optimizer/<entry>/<parameter>`` and ``ema/<parameter>``."""
        found = {}
        for name, parameter in self.trained.items():
            for entry, value in self.optimizer.state.get(parameter, {}).items():
                if value is not None:
                    found[f"optimizer/{entry}/{name}"] = torch.as_tensor(value)
        if self.ema is not None:
            found.update({f"ema/{name}": value for name, value in self.ema.tensors().items()})
        return found

    def scalars(self) -> dict[str, Any]:
        """Returns the numbers, as JSON values."""
        return {"counters": asdict(self.counters), "loss_scale": self.precision.state(), **self.about()}

    def load(self, weights: dict[str, Tensor], tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Restores what :meth:`weights`, :meth:`tensors` and :meth:`scalars` returned.

        Raises:
            CheckpointError: if the names or shapes are not those of this model and optimizer, or the parts that were
                left out came from other files.
        """
        check_sources(self.sources, scalars.get("reloadable", {}), "the checkpoint")
        kept = {name: tensor for name, tensor in self.model.state_dict().items() if name in self._left_out}
        try:
            self.model.load_state_dict(kept | weights, strict=True)
        except RuntimeError as error:
            raise CheckpointError(f"the checkpoint does not fit the model of this configuration: {error}") from error
        averages = {n.removeprefix("ema/"): t for n, t in tensors.items() if n.startswith("ema/")}
        if self.ema is not None:
            if averages.keys() != self.ema.average.keys():
                raise CheckpointError("the checkpoint's averaged weights (TRAIN.EMA) are not those of this model")
            self.ema.load(averages)
        self._load_optimizer(tensors)
        self.precision.load(scalars["loss_scale"])
        self.counters = Counters(**scalars["counters"])

    def _load_optimizer(self, tensors: dict[str, Tensor]) -> None:
        self.optimizer.state.clear()
        for key, value in tensors.items():
            kind, entry, name = key.split("/", 2) if key.startswith("optimizer/") else ("", "", "")
            if not kind:
                continue
            if name not in self.trained:
                raise CheckpointError(f"the checkpoint trains {name!r}, which this configuration freezes or lacks")
            parameter = self.trained[name]
            # The step count stays on the host unless the optimizer is fused, which wants it beside the parameter.
            host = value.dim() == 0 and not self.optimizer.defaults.get("fused")
            self.optimizer.state[parameter][entry] = value.clone() if host else value.to(parameter.device, copy=True)
