"""The folder of a run: who may write it, whether it continues, and where its weights lie."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from ...modeling.weights.weight_places import weights_in_folder
from ...utils.config.architectures import architectures
from ...utils.config.engine import load_config
from ...utils.config.resolved import Resolved, diff
from ...utils.errors import CheckpointError, ConfigError, UserError
from ...utils.files import atomic_write_text
from ...utils.logging import get_logger
from .checkpoints import Checkpoint, CheckpointStore, open_checkpoint
from .metrics_log import truncate_records

log = get_logger(__name__)

# Shared keys that may differ between the parts of one run: they do not shape the result, or only lengthen it.
FREE_KEYS = (
    "SAVE_DIR", "EXP_NAME", "DEVICE", "RESUME", "EVAL_AT_START", "LOG_*", "TENSORBOARD", "WANDB*", "VERBOSE",
    "FIND_UNUSED_PARAMETERS", "PORT", "CUDA", "DETERMINISTIC", "CHECKPOINT.*", "DATALOADER.NUM_WORKERS",
    "SOLVER.MAX_NUM_EPOCHS", "SOLVER.MAX_ITERS", "SOLVER.EXTEND", "TRAIN.BATCH_SIZE_PER_GPU", "TRAIN.EVAL_EVERY*",
    "TRAIN.NONFINITE_MAX", "TRAIN.BEST_METRIC", "TEST.BATCH_SIZE_TOTAL", "INPUT.ON_CORRUPT",
)  # fmt: skip


class RunFolder:
    """``SAVE_DIR/EXP_NAME``.

    Args:
        path: the folder.
        keep: checkpoints kept.
    """

    def __init__(self, path: Path, keep: int = 2) -> None:
        self.path = path
        self.store = CheckpointStore(path / "checkpoints", keep)
        self._lock: IO | None = None

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """One JSON object per line: figures of training and evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def best(self) -> Path:
        """The best weights so far."""
        return self.path / "weights" / "best" / "model.safetensors"

    def evaluation(self, dataset: str) -> Path:
        """Returns the folder of a data set's results."""
        return self.path / "eval" / dataset

    def holds_run(self) -> bool:
        """True when something was trained here; a start that failed before its first step left nothing to protect."""
        logged = self.metrics.is_file() and self.metrics.stat().st_size > 0
        return logged or self.best.is_file() or bool(self.store.steps())

    def open(self, resolved: Resolved, resume: str, config_text: str) -> Checkpoint | None:
        """Locks the folder and finds out where the run goes on. Only the first process calls this.

        Args:
            resolved: the configuration of this start.
            resume: ``auto`` (continue if there is something to continue), ``never``, or a checkpoint or run folder.
            config_text: what config.yaml will hold.

        Returns:
            The verified checkpoint to continue from, or None for a fresh start.

        Raises:
            UserError: the folder is in use, holds another run, or must not hold one.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # a ValueError: a NUL in the name
            problem = error.strerror if isinstance(error, OSError) else error
            raise UserError(f"cannot create the run folder {self.path}: {problem}; set SAVE_DIR or EXP_NAME") from error
        self._take_lock()
        if resume == "never" and self.holds_run():
            raise UserError(
                f"{self.path} already holds a run and --resume never was given; choose another EXP_NAME or SAVE_DIR, "
                "or continue it with --resume auto. Nothing was changed."
            )
        if self.config.is_file() and self.holds_run():
            self._compare(resolved)
        self.store.clean()
        found = self._newest(resume, resolved)
        truncate_records(self.metrics, found.step if found else -1)
        atomic_write_text(self.config, config_text)
        return found

    def _newest(self, resume: str, resolved: Resolved) -> Checkpoint | None:
        own = self.store.newest_good()
        self.store.set_damaged_aside(own)
        if resume in ("auto", "never"):
            return own
        source = _as_checkpoint(Path(resume))
        if own is None:
            found = open_checkpoint(source)
            _refuse_differences(
                diff(saved_config(found).cfg, resolved.cfg), str(source), "the run in", _free_keys(resolved)
            )
            return found
        if source.resolve().parent == self.store.folder.resolve() and source.name != own.path.name:
            raise UserError(
                f"--resume {resume}: {self.path} has a newer checkpoint, {own.path.name}. To branch off an older one, "
                "choose another EXP_NAME."
            )
        if source.resolve() != own.path.resolve():
            log.info("%s has checkpoints of its own: continuing from %s, not from %s", self.path, own.path.name, source)
        return own

    def _compare(self, resolved: Resolved) -> None:
        try:
            before = load_config([self.config]).cfg
        except UserError as error:
            raise ConfigError(
                f"{self.path} holds a run whose configuration this version cannot read: {error}. "
                "Restore config.yaml, or choose another EXP_NAME. Nothing was changed."
            ) from error
        free_keys = _free_keys(resolved, from_weights=resolved.typed.WEIGHT)
        _refuse_differences(diff(before, resolved.cfg), str(self.path), "another run is in", free_keys)

    def _take_lock(self) -> None:
        """Takes a lock that the system releases with the process, however it ends, and that children do not inherit."""
        self._lock = open(self.path / ".lock", "a+", encoding="utf-8")
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise UserError(
                f"{self.path} is in use by another process (number {owner}); wait for it, end it, "
                "or choose another EXP_NAME"
            ) from error
        except OSError:
            log.warning("this file system knows no locks: make sure that %s is used by one job only", self.path)
            return
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()

    def close(self) -> None:
        """Releases the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def saved_config(checkpoint: Checkpoint) -> Resolved:
    """Reads the configuration that a checkpoint carries.

    Raises:
        ConfigError: this version cannot read it.
    """
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(checkpoint.meta["config"], encoding="utf-8")
        return load_config([path])


def _free_keys(resolved: Resolved, *, from_weights: bool = False) -> tuple[str, ...]:
    """Returns the keys that may differ; RESUME_FROM shapes the result only as the name of a weight file."""
    own = architectures()[resolved.arch].free_keys
    return (*FREE_KEYS, *own) if from_weights else (*FREE_KEYS, *own, "RESUME_FROM")


def _refuse_differences(found: list[tuple[str, Any, Any]], where: str, what: str, free_keys: Sequence[str]) -> None:
    """Raises ConfigError when a difference shapes the result."""
    shaping = [(key, a, b) for key, a, b in found if not any(fnmatchcase(key, free) for free in free_keys)]
    if shaping:
        lines = "\n".join(f"  {key}: there {a!r}, now {b!r}" for key, a, b in shaping)
        raise ConfigError(
            f"{what} {where}, with a configuration that gives other results:\n{lines}\n"
            "Choose another EXP_NAME (or SAVE_DIR) for a new run, or use the same values to continue. "
            "Nothing was changed."
        )


def _as_checkpoint(path: Path) -> Path:
    """Returns the checkpoint folder that a path means: itself, or the newest good one of a run folder."""
    if (path / "meta.json").is_file() and (path / "state.safetensors").is_file():
        return path
    for folder in (path / "checkpoints", path):
        found = CheckpointStore(folder).newest_good()
        if found is not None:
            return found.path
    kind = "is no folder" if not path.is_dir() else "holds no intact checkpoint"
    raise CheckpointError(f"cannot resume from {path}: it {kind}; expected a run folder or checkpoints/step-NNNNNNNN")


def run_weights(path: Path) -> Path:
    """Returns the weight file a folder stands for: a run's best, else its newest checkpoint's, else the folder's own.

    Folders of other trainers count, too.

    Raises:
        CheckpointError: if there is none.
    """
    best = RunFolder(path).best
    if best.is_file():
        return best
    if any(CheckpointStore(folder).steps() for folder in (path / "checkpoints", path)):
        return _as_checkpoint(path) / "model.safetensors"
    return weights_in_folder(path)
