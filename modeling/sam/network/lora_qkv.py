"""Low-rank updates of the attention of SAM's encoders, whose query, key and value are one matrix (arXiv 2106.09685).

The rows of that matrix lie as [q | k | v] in the plain Vision Transformer, and head by head as q, k, v in MobileSAM's
TinyViT: as (G, 3, d) with one group G = 1, or one per head. Letters in shapes: C channels, d = C / G, U updates.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...layers.linear import Linear
from ...layers.lora import LoraUpdate

PROJECTIONS = ("q", "k", "v")


class LoraQkv(LoraUpdate, Linear):
    """A fused projection with an update of some of query, key and value."""

    lora_parts: tuple[int, ...]
    lora_groups: int

    def forward(self, input: Tensor) -> Tensor:
        """Maps (..., C) to (..., 3 C)."""
        projected = super().forward(input)
        rows = projected.unflatten(-1, (self.lora_groups, len(PROJECTIONS), -1))
        updates = [self.update(input, number) for number in range(len(self.lora_parts))]
        for part, update in zip(self.lora_parts, updates, strict=True):
            # In place: the projection is fresh, and no gradient needs its value.
            rows[..., part, :] += update.unflatten(-1, (self.lora_groups, -1))
        return projected

    def delta(self) -> Tensor:
        """Returns the updates as a matrix (3 C, C), zero in the rows that have none."""
        updates = (self.lora_up @ self.lora_down) * self.lora_scale  # (U, C, C)
        rows = self.weight.new_zeros(self.lora_groups, len(PROJECTIONS), *self.rows_shape())
        rows[:, list(self.lora_parts)] = updates.unflatten(1, (self.lora_groups, -1)).transpose(0, 1)
        return rows.flatten(0, 2)

    def rows_shape(self) -> tuple[int, int]:
        """Returns (d, C): rows of one projection in one group, and columns."""
        return self.out_features // (len(PROJECTIONS) * self.lora_groups), self.in_features


def add_qkv_lora(
    layer: Linear, projections: Sequence[str], *, groups: int, rank: int, alpha: float, dropout: float = 0.0
) -> None:
    """Turns a fused projection into one with updates, in place; the function is unchanged until they train.

    Args:
        layer: maps C to 3 C channels.
        projections: which of q, k and v get an update.
        groups: 1 where all rows of q lie together, the number of heads where each head's q, k and v do.
        rank: rank of an update.
        alpha: updates are scaled by alpha / rank.
        dropout: dropout on the input of the updates.
    """
    base_class = type(layer)
    layer.__class__ = LoraQkv
    assert isinstance(layer, LoraQkv)
    layer.lora_parts = tuple(number for number, name in enumerate(PROJECTIONS) if name in projections)
    layer.lora_groups = groups
    shape = (len(layer.lora_parts), layer.in_features, layer.out_features // len(PROJECTIONS))
    layer.init_lora(base_class, shape, rank, alpha, dropout)
