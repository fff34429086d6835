"""Groups of decoder variables, and which of them see which: the attention architecture as data.

A group is named KIND_SOURCE: kinds are queries (predict masks), memories (remember the previous round) and tokens
(carry a prompt), for example ``queries_object``, ``tokens_grounding``, ``memories_spatial``.

Letters in shapes: B images, N variables of a group, T variables of all groups, C channels, h and w rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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


@dataclass(frozen=True)
class AttentionArch:
    """Which groups exist and see each other (the section ATTENTION_ARCH).

    Attributes:
        cross_groups: groups that read the image, in order of concatenation.
        self_groups: groups that take part in self-attention, in order of concatenation.
        visible: group -> groups that its variables may look at.
        masked: groups whose padding is hidden (``Group.valid``).
        duplicated: group -> group whose variables it starts from.
        num_memories: memory slots.
        queries_per_object: spatial queries per prompted object.
    """

    cross_groups: tuple[str, ...]
    self_groups: tuple[str, ...]
    visible: Mapping[str, tuple[str, ...]]
    masked: tuple[str, ...]
    duplicated: Mapping[str, str]
    num_memories: int
    queries_per_object: int

    @classmethod
    def from_config(cls, arch: Mapping[str, Any]) -> AttentionArch:
        """Reads the section; the order of kinds is fixed, the order within a kind is that of VARIABLE."""
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
            duplicated={f"{k}_{s}": group for k, rows in arch["DUPLICATION"].items() for s, group in rows.items()},
            num_memories=int(arch["SPATIAL_MEMORIES"]),
            queries_per_object=int(arch["QUERY_NUMBER"]),
        )


def self_attention_mask(arch: AttentionArch, groups: Mapping[str, Group]) -> Tensor | None:
    """Builds the self-attention mask of the groups that are present.

    A row sees a column when the table lists the column's group for the row's group, both are valid, and, if both have
    owners, the owners agree (padding sees padding).

    Args:
        arch: the visibility table.
        groups: group name -> variables.

    Returns:
        (B, T, T) bool, True = forbidden, with the groups in the order of ``arch.self_groups``; None when nothing can be
        forbidden.
    """
    names = [name for name in arch.self_groups if name in groups]
    free = all(groups[n].owner is None and (groups[n].valid is None or n not in arch.masked) for n in names)
    if free and all(set(names) <= set(arch.visible[n]) for n in names):
        return None
    rows = [torch.cat([_block_mask(arch, groups, row, column) for column in names], dim=2) for row in names]
    return torch.cat(rows, dim=1)


def cross_attention_mask(mask_logits: Tensor) -> Tensor:
    """Lets each query look at the pixels that it predicted; at all pixels if it predicted none.

    Args:
        mask_logits: (B, N, h, w) or (B, N, h * w) predicted mask logits at the resolution of the next layer's features.

    Returns:
        (B, N, h * w) bool, True = forbidden (Mask2Former, arXiv 2112.01527, section 3.2.1).
    """
    forbidden = mask_logits.flatten(2).sigmoid() < 0.5
    return forbidden & ~forbidden.all(dim=-1, keepdim=True)


def _block_mask(arch: AttentionArch, groups: Mapping[str, Group], row: str, column: str) -> Tensor:
    """Returns the part (B, rows, columns) of the mask where group ``row`` looks at group ``column``."""
    above, beside = groups[row], groups[column]
    shape = (above.content.shape[0], above.content.shape[1], beside.content.shape[1])
    seen = torch.full(shape, column in arch.visible[row], dtype=torch.bool, device=above.content.device)
    if above.owner is not None and beside.owner is not None:
        seen = seen & (above.owner[:, :, None] == beside.owner[:, None])
    if above.valid is not None and row in arch.masked:
        seen = seen & above.valid[:, :, None]
    if beside.valid is not None and column in arch.masked:
        seen = seen & beside.valid[:, None]
    return ~seen
