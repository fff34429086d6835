"""The variables of one pass through the decoder: groups, and what changes in them from layer to layer.

Letters in shapes: B images, N variables of the named groups, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .memory_slots import Memory
from .visibility import AttentionArch, Group


@dataclass
class StrokeMeans:
    """Mean mask features (B, objects, D), float32, under the strokes of each sign: what masks are compared with."""

    positive: Tensor
    negative: Tensor


@dataclass
class Variables:
    """State of a pass.

    Attributes:
        arch: groups and their visibility in this pass.
        groups: group name -> variables.
        level_tokens: group name -> per level, the tokens that replace the group when a layer of that level begins. What
            a layer would make of them is never read, so that they are keys and values only.
        memory: masks of the last round, of the group ``memories_spatial``; None in the first round.
        owned_memory: slots are seen by the variables of their object only.
        means: of the strokes; None without strokes.
        reference_means: of the positive strokes on reference images; None without references.
    """

    arch: AttentionArch
    groups: dict[str, Group]
    level_tokens: dict[str, list[Group]] = field(default_factory=dict)
    memory: Memory | None = None
    owned_memory: bool = True
    means: StrokeMeans | None = None
    reference_means: Tensor | None = None

    def enter_layer(self, index: int) -> None:
        """Puts the layer's tokens and owners of memory slots in place."""
        for name, levels in self.level_tokens.items():
            self.groups[name] = replace(levels[index % len(levels)])
        if self.memory is not None and self.owned_memory:
            self.groups["memories_spatial"].owner = self.memory.owners[index]

    def present(self, names: Sequence[str]) -> list[str]:
        """Returns those of the names that are in this pass."""
        return [name for name in names if name in self.groups]

    def counts(self, names: Sequence[str]) -> list[int]:
        """Returns the number of variables of each named group."""
        return [self.groups[name].content.shape[1] for name in names]

    def joined(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Returns content and position (B, N, C) of the named groups, one after the other."""
        content = torch.cat([self.groups[name].content for name in names], dim=1)
        return content, torch.cat([self.groups[name].position for name in names], dim=1)

    def write(self, names: Sequence[str], content: Tensor) -> None:
        """Splits (B, N, C) into the contents of the named groups."""
        for name, part in zip(names, content.split(self.counts(names), dim=1), strict=True):
            self.groups[name].content = part
