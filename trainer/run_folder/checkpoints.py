"""Checkpoint folders: written completely or not at all, verified on load, without pickle.

``step-00001000/`` holds ``model.safetensors`` (all weights, but for parts that come from files of their own),
``state.safetensors`` (optimizer and averaged weights) and ``meta.json`` (counters, configuration, size and CRC-32 of
each file, its own included, and the digests of the files that parts come from). The newest one is found by looking, so
no pointer file can be stale.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...utils.errors import CheckpointError
from ...utils.files import (
    TEMP_MARK,
    atomic_write_json,
    check_free_space,
    crc32,
    disk_errors,
    fsync_file,
    fsync_folder,
)
from ...utils.json_text import parse_json
from ...utils.logging import get_logger
from ..training.state import Counters, TrainState

log = get_logger(__name__)

_NAME = re.compile(r"step-(\d{8,})$")
_OLD = ".replaced-"
_FORMAT = 1
_SELF = '"crc32_of_this_file": "'
_NUMBER = re.compile(r"os error (\d+)")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder that has been verified, with the content of its meta.json."""

    path: Path
    meta: dict[str, Any]

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.meta["counters"]["step"]


class CheckpointStore:
    """The folder ``checkpoints/`` of a run.

    Args:
        folder: where the checkpoint folders lie; created when needed.
        keep: number of latest checkpoints that are kept.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = max(1, keep)

    def steps(self) -> list[tuple[int, Path]]:
        """Returns (step, folder) of all checkpoints, newest first, good or not."""
        if not self.folder.is_dir():
            return []
        found = ((_NAME.match(path.name), path) for path in self.folder.iterdir())
        return sorted(((int(match[1]), path) for match, path in found if match), reverse=True)

    def clean(self) -> None:
        """Removes what an interrupted save left behind; a replaced checkpoint whose successor is missing returns."""
        for path in sorted(self.folder.glob(f"{_OLD}*")) if self.folder.is_dir() else []:
            target = self.folder / path.name.removeprefix(_OLD)
            if target.exists():
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.replace(path, target)
        for path in self.folder.glob(f".*{TEMP_MARK}*") if self.folder.is_dir() else []:
            shutil.rmtree(path, ignore_errors=True)

    def save(self, state: TrainState, *, config: str, categories: list[dict[str, Any]]) -> Path:
        """Writes the state as a new checkpoint folder and removes those beyond ``keep``.

        Args:
            state: what to save.
            config: the run's configuration as YAML.
            categories: the training categories as JSON values.

        Returns:
            The folder.

        Raises:
            DiskError: if the disk is (nearly) full; older checkpoints are untouched.
        """
        step = state.counters.step
        final = self.folder / f"step-{step:08d}"
        parts = {"model.safetensors": state.weights(), "state.safetensors": state.tensors()}
        size = sum(t.numel() * t.element_size() for tensors in parts.values() for t in tensors.values())
        check_free_space(final, 2 * size)
        temporary = self.folder / f".{final.name}{TEMP_MARK}{os.getpid()}"
        about = {"config": config, "categories": json.dumps(categories), "step": str(step)}
        about |= {name: json.dumps(value) for name, value in state.about().items()}
        try:
            with disk_errors(final, size):
                temporary.mkdir(parents=True)
                for name, tensors in parts.items():
                    write_safetensors(temporary / name, tensors, about if name.startswith("model") else {}, final)
                files = {n: {"bytes": (temporary / n).stat().st_size, "crc32": crc32(temporary / n)} for n in parts}
                meta = {
                    "format": _FORMAT,
                    **state.scalars(),
                    "categories": categories,
                    "config": config,
                    "files": files,
                }
                _write_meta(temporary / "meta.json", meta)
                fsync_folder(temporary)
                _exchange(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self._prune()
        return final

    def _prune(self) -> None:
        for _, path in self.steps()[self.keep :]:
            gone = path.with_name(f".{path.name}{TEMP_MARK}old")  # never a half-deleted folder under a good name
            os.replace(path, gone)
            shutil.rmtree(gone, ignore_errors=True)

    def newest_good(self) -> Checkpoint | None:
        """Returns the newest checkpoint whose files are intact, or None; says which ones are damaged."""
        for _, path in self.steps():
            try:
                return open_checkpoint(path)
            except CheckpointError as error:
                log.warning("%s; going back to the checkpoint before it", error)
        return None

    def set_damaged_aside(self, newest: Checkpoint | None) -> None:
        """Renames checkpoints newer than the newest good one, so that they are neither counted nor looked at again."""
        for step, path in self.steps():
            if newest is None or step > newest.step:
                aside = path.with_name(f"damaged-{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                os.replace(path, aside)


def _exchange(temporary: Path, final: Path) -> None:
    """Gives a complete folder its final name; an older one of that name survives a crash in between."""
    old = final.with_name(f"{_OLD}{final.name}")
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(final, old)
    os.replace(temporary, final)
    fsync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _write_errors(target: Path, size: int) -> Iterator[None]:
    """Turns safetensors' text for a system error back into that error, and a full disk into a DiskError."""
    with disk_errors(target, size):
        try:
            yield
        except SafetensorError as error:
            number = _NUMBER.search(str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(target)) from error


def write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], target: Path) -> None:
    """Writes tensors to ``path`` and forces them onto the disk.

    Args:
        path: file to write.
        tensors: name -> tensor; tied ones are written once per name.
        metadata: text entries for the file's header.
        target: name shown in messages.
    """
    seen: set[tuple[int, int]] = set()
    separate = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        place = (tensor.data_ptr(), tensor.numel())
        separate[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    with _write_errors(target, sum(t.numel() * t.element_size() for t in separate.values())):
        save_file(separate, path, metadata={"format": "pt", **metadata})
    fsync_file(path)


def write_weights(path: Path, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Writes a weight file for use elsewhere, atomically, and ``meta.json`` beside it for people.

    Args:
        path: the .safetensors file.
        weights: state dict.
        about: ``config`` (YAML text), ``categories`` (JSON values) and numbers; all go into the file's header as text.
    """
    size = sum(t.numel() * t.element_size() for t in weights.values())
    check_free_space(path, size + (1 << 20))
    header = {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}
    temporary = path.with_name(f".{path.name}{TEMP_MARK}{os.getpid()}")
    try:
        with disk_errors(path, size):
            path.parent.mkdir(parents=True, exist_ok=True)
            for leftover in path.parent.glob(f".{path.name}{TEMP_MARK}*"):
                leftover.unlink()
            write_safetensors(temporary, weights, header, path)
            digest = crc32(temporary)
            os.replace(temporary, path)
            fsync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    atomic_write_json(path.with_name("meta.json"), {**about, "crc32": digest})


def _write_meta(path: Path, meta: dict[str, Any]) -> None:
    """Writes meta.json with the CRC-32 of its own text, computed with zeros in the digest's place."""
    text = json.dumps({**meta, "crc32_of_this_file": "0" * 8}, indent=1)
    digest = f"{zlib.crc32(text.encode()):08x}"
    path.write_text(text.replace(_SELF + "0" * 8, _SELF + digest), encoding="utf-8")
    fsync_file(path)


def _read_meta(path: Path) -> dict[str, Any]:
    """Reads meta.json and checks its digest.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    try:
        text = path.read_bytes().decode()
        before, mark, after = text.rpartition(_SELF)
        expected = f"{zlib.crc32((before + mark + '0' * 8 + after[8:]).encode()):08x}"
        if not mark or after[:8] != expected:
            raise CheckpointError(f"checkpoint file {path} is damaged: its checksum does not match")
        meta = parse_json(text)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint file {path} is missing or damaged: {error}") from error
    if not isinstance(meta, dict) or meta.get("format") != _FORMAT:
        found = meta.get("format") if isinstance(meta, dict) else meta
        raise CheckpointError(f"checkpoint {path.parent} has format {found!r}; this version reads {_FORMAT}")
    _check_meta(meta, path)
    return meta


def _check_meta(meta: dict[str, Any], path: Path) -> None:
    """Refuses a meta.json of whole text whose fields no version of this program wrote."""
    counters, files = meta.get("counters"), meta.get("files")
    known = {count.name for count in fields(Counters)}
    if not isinstance(counters, dict) or not {"step", "evaluated"} <= counters.keys() <= known:
        raise CheckpointError(f"{path}: counters: {counters!r}, expected {', '.join(sorted(known))}")
    for name, value in counters.items():
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
        if not whole and name != "best" or name == "best" and value is not None and not isinstance(value, dict):
            raise CheckpointError(f"{path}: counters.{name}: {value!r}, expected a whole number (of `best` a mapping)")
    if not isinstance(meta.get("config"), str) or not isinstance(meta.get("categories"), list):
        raise CheckpointError(f"{path}: expected `config` as text and `categories` as a list")
    if not isinstance(files, dict):
        raise CheckpointError(f"{path}: files: {files!r}, expected a mapping from names to bytes and crc32")
    for name, about in files.items():
        if name != Path(name).name or not isinstance(about, dict) or not {"bytes", "crc32"} <= about.keys():
            raise CheckpointError(f"{path}: files: {name!r}: {about!r}, expected a file beside it with bytes and crc32")


def open_checkpoint(path: Path) -> Checkpoint:
    """Verifies every file of a checkpoint folder.

    Raises:
        CheckpointError: names the first file that is missing, has another size or another checksum.
    """
    meta = _read_meta(path / "meta.json")
    for name, expected in meta["files"].items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"checkpoint file {file} is missing")
        if file.stat().st_size != expected["bytes"]:
            raise CheckpointError(
                f"checkpoint file {file} has {file.stat().st_size} bytes, expected {expected['bytes']}"
            )
        if crc32(file) != expected["crc32"]:
            raise CheckpointError(f"checkpoint file {file} is damaged: its checksum does not match")
    return Checkpoint(path, meta)


def restore(checkpoint: Checkpoint, state: TrainState) -> None:
    """Loads a verified checkpoint into the training state.

    Raises:
        CheckpointError: if it does not fit.
    """
    try:
        state.load(
            load_file(checkpoint.path / "model.safetensors"),
            load_file(checkpoint.path / "state.safetensors"),
            checkpoint.meta,
        )
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        problem = f"its meta.json or tensors do not fit this version ({type(error).__name__}: {error})"
        raise CheckpointError(f"{checkpoint.path}: {problem}") from error
