"""Parts of a network that always come from a file of their own: read, verified, and left out of checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ...utils.errors import CheckpointError
from ...utils.files import sha256
from ..base import MetaArch, PartFile
from ..finetune import tensor_kinds
from .load_state import SHOWN, own_names
from .weight_files import read_state_dict
from .weight_places import weights_in_folder

Sources = Mapping[str, Mapping[str, str]]
"""Prefix of parameter names -> ``file`` and ``sha256``, as meta.json and the header of a weight file hold it."""


@dataclass(frozen=True)
class LoadedParts:
    """What the files of some parts hold.

    Attributes:
        tensors: name in the network -> tensor, on the CPU.
        sources: where they come from.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    sources: Sources = field(default_factory=dict)

    def text(self) -> str:
        """Returns one line per file for people."""
        return "\n".join(f"{prefix}* is that of {source['file']}" for prefix, source in self.sources.items())


def read_parts(model: MetaArch, expected: Sources, where: str) -> LoadedParts:
    """Reads the files of all parts that an architecture calls re-loadable (``MetaArch.reloadable``).

    Args:
        model: the network.
        expected: what an earlier training read; empty: nothing to compare with.
        where: what holds ``expected``, for messages.

    Raises:
        CheckpointError: a file is missing, unreadable, does not fit, lacks tensors of its part, or is not the one of
            the earlier training.
    """
    return _read(model, model.reloadable(), expected, where)


def missing_parts(model: MetaArch, state: Mapping[str, Tensor], expected: Sources, where: str) -> LoadedParts:
    """Reads the files of the re-loadable parts that a weight file leaves out; a whole one needs no other file.

    Args:
        model: the network.
        state: the weight file's tensors under its own names.
        expected: what the weight file says about its parts; empty: nothing.
        where: the weight file, for messages.

    Raises:
        CheckpointError: see :func:`read_parts`.
    """
    parts = model.reloadable()
    if expected:
        return _read(model, {prefix: part for prefix, part in parts.items() if prefix in expected}, expected, where)
    if not parts:
        return LoadedParts()
    # Another program's file says nothing about what it lacks; adapters and low-rank updates are never in a part's file.
    known = set(own_names(model, model.adapt_state(state, where)).values())
    lacking = [name for name in _base_names(model) if name not in known]
    left_out = {prefix: part for prefix, part in parts.items() if any(name.startswith(prefix) for name in lacking)}
    return _read(model, left_out, {}, where)


def check_sources(found: Sources, expected: Sources, where: str) -> None:
    """Makes sure that the parts read are those of an earlier training.

    Args:
        found: what was read.
        expected: what the training had.
        where: what holds ``expected``, for messages.

    Raises:
        CheckpointError: a part has another file, or none any more.
    """
    for prefix, source in expected.items():
        if prefix not in found:
            raise CheckpointError(
                f"{where} leaves out the weights below {prefix!r}, which came from {source['file']}, but the network "
                "of this configuration does not read them from a file; use the configuration of the training"
            )
        if found[prefix]["sha256"] != source["sha256"]:
            raise CheckpointError(
                f"{where} leaves out the weights below {prefix!r}: they are those of {source['file']} with the SHA-256 "
                f"digest {source['sha256']}, but {found[prefix]['file']} has {found[prefix]['sha256']}; bring back the "
                "file that was trained with"
            )


def check_frozen(parts: LoadedParts, trained: Iterable[str]) -> None:
    """Raises ValueError if a parameter trains that checkpoints would leave out."""
    wrong = sorted(parts.tensors.keys() & set(trained))
    if wrong:
        raise ValueError(f"reloadable() names parameters that train: {', '.join(wrong[:3])}")


def _read(model: MetaArch, parts: Mapping[str, PartFile], expected: Sources, where: str) -> LoadedParts:
    files = {prefix: part.path for prefix, part in parts.items()}
    for prefix, part in parts.items():
        if part.path == Path():  # of an empty text
            raise CheckpointError(
                f"{where}: the weights below {prefix!r} come from a file, and {part.key} names none; set {part.key}"
            )
        if part.path.is_dir():
            files[prefix] = weights_in_folder(part.path)
        elif not part.path.is_file():
            raise CheckpointError(
                f"{where}: the weights below {prefix!r} come from {part.path} ({part.key}), and there is no such file; "
                f"put it back, or set {part.key} to where it lies now"
            )
    digests = {file: sha256(file) for file in set(files.values())}
    sources = {prefix: {"file": str(file), "sha256": digests[file]} for prefix, file in files.items()}
    check_sources(sources, expected, where)
    tensors: dict[str, Tensor] = {}
    for prefix, file in files.items():
        key = parts[prefix].key
        found = _part_tensors(model, prefix, read_state_dict(file), f"{key} {file}")
        _refuse_lacking(model, prefix, found, key, file)
        tensors |= found
    return LoadedParts(tensors, sources)


def _part_tensors(model: MetaArch, prefix: str, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Returns what a file holds of the tensors below a prefix, under the network's names."""
    names = own_names(model.get_submodule(prefix.removesuffix(".")), state)
    own = model.state_dict()
    found = {prefix + names[name]: tensor for name, tensor in state.items() if prefix + names[name] in own}
    wrong = [name for name, tensor in found.items() if tensor.shape != own[name].shape]
    if wrong or not found:
        first = wrong[0] if wrong else ""
        problem = f"{first} has the shape {list(found[first].shape)}, not {list(own[first].shape)}" if wrong else ""
        raise CheckpointError(f"{source} does not fit the weights below {prefix!r}: {problem or 'no name is theirs'}")
    return found


def _refuse_lacking(model: MetaArch, prefix: str, found: Mapping[str, Tensor], key: str, file: Path) -> None:
    """Raises CheckpointError if tensors below a prefix are not in its file: they would stay random and never train."""
    own = [name for name in _base_names(model) if name.startswith(prefix)]
    lacking = [name for name in own if name not in found]
    if lacking:
        first = ", ".join(lacking[:SHOWN]) + (", ..." if len(lacking) > SHOWN else "")
        raise CheckpointError(
            f"{key} {file} lacks {len(lacking)} of the {len(own)} tensors below {prefix!r}: {first}; they would keep "
            f"random values, for nothing below {prefix!r} trains: set {key} to a file that holds the whole part"
        )


def _base_names(model: MetaArch) -> list[str]:
    """Returns the names of parameters and buffers that a part's file can hold: adapters, low-rank updates are none."""
    return [name for name, kind in tensor_kinds(model, model.state_dict()).items() if kind == "base"]
