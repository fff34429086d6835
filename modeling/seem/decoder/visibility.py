"""Groups of decoder variables, and which of them see which: the attention architecture as data.

A group is named KIND_SOURCE: kinds are queries (predict masks), memories (remember the previous round) and tokens
(carry a prompt), for example ``queries_object``, ``tokens_grounding``, ``memories_spatial``.

Letters in shapes: B images, N variables of a group, T of several groups, C channels, h and w rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ....utils.errors import ConfigError

# Numbers of variables that belong to no object.
_PADDING = -1
_UNOWNED = -2

# The order in which groups are concatenated.
_CROSS_KINDS = ("queries", "memories", "tokens")
_SELF_KINDS = ("queries", "tokens", "memories")


@dataclass
class Group:
    """Variables of one kind and source.

    Attributes:
        content: (B, N, C) features, rewritten by each layer.
        position: (B, N, C) added to queries and keys.
        owner: (B, N) or (1, N) int64 number of the prompted object that each variable belongs to, -1 for padding;
            None: belongs to no object, which hides it from nothing.
        valid: (B, N) bool, False for padding; None: no padding.
    """

    content: Tensor
    position: Tensor
    owner: Tensor | None = None
    valid: Tensor | None = None

    @classmethod
    def of_tokens(cls, content: Tensor, owner: Tensor | None = None, valid: Tensor | None = None) -> Group:
        """Returns tokens (B, N, C), whose position is their content, without gradient."""
        return cls(content, content.detach(), owner, valid)


@dataclass(frozen=True)
class AttentionArch:
    """Which groups exist and see each other (the section ATTENTION_ARCH).

    Attributes:
        cross_groups: groups that read the image, in order of concatenation.
        self_groups: groups that take part in self-attention, in order of concatenation.
        visible: group -> groups that its variables may look at.
        masked: groups whose padding is hidden (``Group.valid``).
        num_memories: memory slots.
        queries_per_object: spatial queries per prompted object.
    """

    cross_groups: tuple[str, ...]
    self_groups: tuple[str, ...]
    visible: Mapping[str, tuple[str, ...]]
    masked: tuple[str, ...]
    num_memories: int
    queries_per_object: int

    @classmethod
    def from_config(cls, arch: Mapping[str, Any]) -> AttentionArch:
        """Reads the section; the order of kinds is fixed, the order within a kind is that of VARIABLE.

        Raises:
            ConfigError: tokens that read the image, or queries that start from anything but the object queries.
        """
        _check_section(arch)
        variables, crossing, seeing = arch["VARIABLE"], arch["CROSS_ATTENTION"], arch["SELF_ATTENTION"]

        def names(kinds: tuple[str, ...], table: Mapping[str, Any]) -> tuple[str, ...]:
            return tuple(
                f"{kind}_{source}"
                for kind in kinds
                for source in variables.get(kind, ())
                if table.get(kind, {}).get(source)
            )

        return cls(
            cross_groups=names(_CROSS_KINDS, crossing),
            self_groups=names(_SELF_KINDS, seeing),
            visible={f"{k}_{s}": tuple(cols) for k, rows in seeing.items() for s, cols in rows.items()},
            masked=tuple(arch["MASKING"]),
            num_memories=int(arch["SPATIAL_MEMORIES"]),
            queries_per_object=int(arch["QUERY_NUMBER"]),
        )

    @property
    def query_groups(self) -> tuple[str, ...]:
        """The groups that predict masks, in order of concatenation."""
        return tuple(name for name in self.cross_groups if name.startswith("queries_"))

    def opened(self, row: str, column: str) -> AttentionArch:
        """Returns a copy in which the group ``row`` looks at the group ``column``, too."""
        return replace(self, visible={**self.visible, row: (*self.visible[row], column)})


def self_attention_mask(
    arch: AttentionArch, groups: Mapping[str, Group], rows: Sequence[str], columns: Sequence[str]
) -> Tensor | None:
    """Builds the self-attention mask.

    A row sees a column when the table lists the column's group for the row's group, both are valid, and, if both have
    owners, the owners agree (padding sees padding). Rows without owner see what any object owns, but no padding.

    Args:
        arch: the visibility table.
        groups: group name -> variables.
        rows: groups that look, in order of concatenation.
        columns: groups that are looked at.

    Returns:
        (B, rows, columns) bool, True = forbidden; None when nothing can be forbidden.
    """
    free = all(groups[n].owner is None and (groups[n].valid is None or n not in arch.masked) for n in columns)
    if free and all(set(columns) <= set(arch.visible[n]) for n in rows):
        return None
    owner, other = _owners(rows, groups)[:, :, None], _owners(columns, groups)[:, None]
    agree = (owner == other) | (other == _UNOWNED) | ((owner == _UNOWNED) & (other != _PADDING))
    valid = _validity(arch, rows, groups)[:, :, None] & _validity(arch, columns, groups)[:, None]
    return ~(_table(arch, rows, columns, groups) & agree & valid)


def cross_attention_mask(mask_logits: Tensor) -> Tensor:
    """Lets each query look at the pixels that it predicted; at all pixels if it predicted none.

    Args:
        mask_logits: (B, N, h, w) or (B, N, h * w) predicted mask logits at the resolution of the next layer's features.

    Returns:
        (B, N, h * w) bool, True = forbidden (Mask2Former, arXiv 2112.01527, section 3.2.1).
    """
    forbidden = mask_logits.flatten(2).sigmoid() < 0.5
    return forbidden & ~forbidden.all(dim=-1, keepdim=True)


def _table(arch: AttentionArch, rows: Sequence[str], columns: Sequence[str], groups: Mapping[str, Group]) -> Tensor:
    """Returns (rows, columns) bool: the table's entry for every pair of variables."""
    content = {name: groups[name].content for name in (*rows, *columns)}

    def block(row: str, column: str) -> Tensor:
        shape = (content[row].shape[1], content[column].shape[1])
        return torch.full(shape, column in arch.visible[row], device=content[row].device)

    return torch.cat([torch.cat([block(row, column) for column in columns], dim=1) for row in rows])


def _owners(names: Sequence[str], groups: Mapping[str, Group]) -> Tensor:
    """Returns the owner (B, T) of every variable of the named groups."""
    return torch.cat([_full(groups[name], groups[name].owner, _UNOWNED) for name in names], dim=1)


def _validity(arch: AttentionArch, names: Sequence[str], groups: Mapping[str, Group]) -> Tensor:
    """Returns (B, T) bool: False at padding that the table hides."""
    known = [groups[name].valid if name in arch.masked else None for name in names]
    return torch.cat([_full(groups[name], valid, True) for name, valid in zip(names, known, strict=True)], dim=1)


def _full(group: Group, values: Tensor | None, default: int | bool) -> Tensor:
    """Returns values (B or 1, N) for a whole batch, or the default for all variables."""
    shape = group.content.shape[:2]
    return torch.full(shape, default, device=group.content.device) if values is None else values.expand(shape)


def _check_section(arch: Mapping[str, Any]) -> None:
    crossing = [source for source, on in arch["CROSS_ATTENTION"].get("tokens", {}).items() if on]
    if crossing:
        raise ConfigError(
            f"ATTENTION_ARCH.CROSS_ATTENTION.tokens.{crossing[0]} is on, but tokens do not read the image"
        )
    for kind, rows in arch["DUPLICATION"].items():
        for source, group in rows.items():
            if group != "queries_object":
                raise ConfigError(
                    f"ATTENTION_ARCH.DUPLICATION.{kind}.{source} is {group!r}; queries start from queries_object"
                )
