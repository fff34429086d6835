"""TensorBoard and Weights & Biases. They only listen: whatever goes wrong with them is a warning."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ....utils.files import atomic_write_text
from ....utils.logging import get_logger
from ..loop import Callback, Loop

log = get_logger(__name__)

_SKIPPED = ("kind", "step", "dataset", "seconds")


def flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yields ``train/losses/NAME`` or ``eval/DATASET/KIND/METRIC`` and the number, for every number of a record."""
    prefix = prefix or record["kind"]
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from flat(value, prefix if name == "metrics" else f"{prefix}/{name}")
        elif name not in _SKIPPED and isinstance(value, (int, float)):
            yield f"{prefix}/{name}", float(value)


class _Tracker(Callback):
    """Switches itself off after the first failure."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.client: Any = None
        self.first_step = 1

    def _open(self) -> Any:
        raise NotImplementedError

    def _write(self, values: dict[str, float], step: int) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError

    def _guarded(self, action: Any) -> Any:
        try:
            return action()
        except Exception as error:  # the service, its network or its disk: never the run's problem
            reason = (str(error).splitlines() or ["no reason given"])[0]
            log.warning("%s is switched off: %s: %s", self.name, type(error).__name__, reason)
            self.client = None
            return None

    def start(self, loop: Loop) -> None:
        if loop.processes.main:
            self.first_step = loop.step + 1
            self.client = self._guarded(self._open)

    def record(self, loop: Loop, record: dict[str, Any]) -> None:
        if self.client is not None:
            self._guarded(lambda: self._write(dict(flat(record)), record["step"]))

    def stop(self, loop: Loop, error: BaseException | None) -> None:
        if self.client is not None:
            self._guarded(self._close)


class TensorBoardCallback(_Tracker):
    """Writes event files into ``tensorboard/`` of the run folder."""

    name = "TensorBoard"

    def _open(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.first_step)

    def _write(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.client.add_scalar(name, value, step)
        self.client.flush()

    def _close(self) -> None:
        self.client.close()


class WandbCallback(_Tracker):
    """Logs to Weights & Biases; without a key it writes an offline run that ``wandb sync`` can send later.

    Args:
        folder: the run folder.
        project: project name.
        config: the configuration as a plain mapping.
    """

    name = "Weights & Biases"

    def __init__(self, folder: Path, project: str, config: dict[str, Any]) -> None:
        super().__init__(folder)
        self.project, self.config = project, config

    def _open(self) -> Any:
        import wandb

        key = os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_KEY")
        mode: Any = os.environ.get("WANDB_MODE") or ("online" if key else "offline")
        if key:
            os.environ["WANDB_API_KEY"] = key
        elif mode == "offline":
            log.warning(
                "Weights & Biases: no key in WANDB_API_KEY or WANDB_KEY; writing an offline run into %s", self.folder
            )
        settings = wandb.Settings(silent=True, init_timeout=30)
        options: dict[str, Any] = {
            "project": self.project,
            "name": self.folder.name,
            "dir": str(self.folder),
            "config": self.config,
            "id": self._run_id(),
            "resume": "allow" if mode == "online" else None,
            "settings": settings,
        }
        try:
            return wandb.init(mode=mode, **options)
        except Exception as error:
            if mode != "online":
                raise
            log.warning("Weights & Biases cannot be reached (%s); writing an offline run", type(error).__name__)
            return wandb.init(mode="offline", **{**options, "resume": None})

    def _run_id(self) -> str:
        """Returns the run's id, kept in the run folder, so that a resumed run goes on in the same curve."""
        path = self.folder / "wandb_run_id.txt"
        if not path.is_file():
            atomic_write_text(path, os.urandom(6).hex())
        return path.read_text(encoding="utf-8").strip()

    def _write(self, values: dict[str, float], step: int) -> None:
        self.client.log({**values, "step": step})

    def _close(self) -> None:
        self.client.finish()
