"""Sub-layers of SEEM's decoder: each is attention or a feed-forward net with its residual and norm.

Letters in shapes: B images, N variables, T tokens, S keys, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layers.attention import MultiheadAttention
from ...layers.linear import Linear


class CrossAttentionLayer(nn.Module):
    """Variables read image features.

    Args:
        dim: channels C.
        heads: attention heads.
        dropout: on attention weights and on the branch.
        pre_norm: normalise the branch's input instead of the sum.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0, pre_norm: bool = False) -> None:
        super().__init__()
        self.multihead_attn = MultiheadAttention(dim, heads, dropout)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.pre_norm = pre_norm

    def project(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Projects image features for ``forward``.

        Args:
            keys: (B, S, C) image features with their positions added.
            values: (B, S, C) image features.
        """
        return self.multihead_attn.project_memory(keys, values)

    def forward(self, x: Tensor, position: Tensor, memory: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """Maps variables (B, N, C) to (B, N, C).

        Args:
            x: (B, N, C) content.
            position: (B, N, C) added to the queries.
            memory: what ``project`` made of the image features.
            mask: (B, N, S) bool, True = forbidden.
        """
        if self.pre_norm:
            return x + self.dropout(self.multihead_attn.attend(self.norm(x) + position, memory, mask))
        return self.norm(x + self.dropout(self.multihead_attn.attend(x + position, memory, mask)))


class SelfAttentionLayer(nn.Module):
    """Variables read each other. Arguments as in :class:`CrossAttentionLayer`."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.0, pre_norm: bool = False) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(dim, heads, dropout)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.pre_norm = pre_norm

    def forward(
        self, x: Tensor, position: Tensor, mask: Tensor | None, tokens: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Maps variables (B, N, C) to (B, N, C).

        Args:
            x: (B, N, C) content.
            position: (B, N, C) added to queries and keys.
            mask: (B, N, N + T) bool, True = forbidden.
            tokens: content and position (B, T, C) of further variables that are read, but not updated.
        """
        values = self.norm(x) if self.pre_norm else x
        queries = keys = values + position
        if tokens is not None:
            content = self.norm(tokens[0]) if self.pre_norm else tokens[0]
            values, keys = torch.cat([values, content], dim=1), torch.cat([keys, content + tokens[1]], dim=1)
        x = x + self.dropout(self.self_attn(queries, keys, values, mask))
        return x if self.pre_norm else self.norm(x)


class FFNLayer(nn.Module):
    """Two linear layers with ReLU between.

    Args:
        dim: channels C.
        hidden: channels between.
        dropout: after the activation and on the branch.
        pre_norm: normalise the branch's input instead of the sum.
    """

    def __init__(self, dim: int, hidden: int, dropout: float = 0.0, pre_norm: bool = False) -> None:
        super().__init__()
        self.linear1 = Linear(dim, hidden)
        self.linear2 = Linear(hidden, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.pre_norm = pre_norm
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, N, C) to (B, N, C)."""
        inner = self.norm(x) if self.pre_norm else x
        x = x + self.dropout(self.linear2(self.dropout(F.relu(self.linear1(inner)))))
        return x if self.pre_norm else self.norm(x)
