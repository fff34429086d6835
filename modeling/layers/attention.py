"""Multi-head attention through torch's fused kernel, with the parameter names of ``nn.MultiheadAttention``.

Letters in shapes: B batch, Q queries, S keys, C channels, h heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .linear import Linear, linear


class MultiheadAttention(nn.Module):
    """Multi-head attention ("Attention Is All You Need", section 3.2.2), batch first.

    The projections of query, key and value are the rows of one matrix ``in_proj_weight`` (3C, C), in this order.

    Args:
        embed_dim: channels C, divisible by ``num_heads``.
        num_heads: number of heads h.
        dropout: probability of dropping an attention weight in training.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim {embed_dim} is not divisible by num_heads {num_heads}")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dim))
        self.out_proj = Linear(embed_dim, embed_dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attends.

        Args:
            query: (B, Q, C).
            key: (B, S, C).
            value: (B, S, C).
            mask: bool, True = forbidden, or float added to the logits; (Q, S), (B, Q, S) or anything that broadcasts
                to (B, h, Q, S). A query whose keys are all forbidden (or all at minus infinity) attends to nothing:
                its weights are 0.

        Returns:
            (B, Q, C).
        """
        queries, keys, values = (self._split_heads(x) for x in self._project(query, key, value))
        return self._attend(queries, keys, values, mask)

    def project_memory(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Projects keys and values (B, S, C) for ``attend``; returns (B, h, S, C / h) each."""
        return self._split_heads(self.project_rows(key, 1, 2)), self._split_heads(self.project_rows(value, 2, 3))

    def attend(self, query: Tensor, memory: tuple[Tensor, Tensor], mask: Tensor | None = None) -> Tensor:
        """Attends to what ``project_memory`` returned; otherwise as ``forward``."""
        return self._attend(self._split_heads(self.project_rows(query, 0, 1)), *memory, mask)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        mask, dead = self._prepare_mask(mask, queries.dtype)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)
        if dead is not None:
            attended = attended.masked_fill(dead, 0.0)
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def project_rows(self, x: Tensor, first: int, last: int) -> Tensor:
        """Applies the projections ``first``..``last`` - 1 (0 query, 1 key, 2 value) in one product."""
        rows = slice(first * self.embed_dim, last * self.embed_dim)
        return linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Projects the three inputs; inputs that are the same tensor share a product."""
        if query is key and key is value:
            q, k, v = self.project_rows(query, 0, 3).chunk(3, dim=-1)
        elif query is key:
            q, k = self.project_rows(query, 0, 2).chunk(2, dim=-1)
            v = self.project_rows(value, 2, 3)
        else:
            q, k, v = (self.project_rows(x, i, i + 1) for i, x in enumerate((query, key, value)))
        return q, k, v

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    @staticmethod
    def _prepare_mask(mask: Tensor | None, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
        """Returns the kernel's mask (True = allowed, or float) and the rows to be zeroed (kernels differ there)."""
        if mask is None:
            return None, None
        if mask.dim() == 3:
            mask = mask[:, None]
        if mask.dtype == torch.bool:
            dead = mask.all(dim=-1, keepdim=True)
            return ~mask | dead, dead
        dead = torch.isneginf(mask).all(dim=-1, keepdim=True)
        return mask.masked_fill(dead, 0.0).to(dtype), dead
