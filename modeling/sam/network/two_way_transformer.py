"""The two-way transformer of Segment Anything's mask decoder (arXiv 2304.02643, appendix A).

A few tokens and the cells of the image embedding attend to each other in turn. Parameters have the published names.

Letters in shapes: P prompts, T tokens of a prompt, N cells of the image embedding, C channels, E channels inside an
attention, h heads, d = E / h; G is P, or 1 where all prompts are about one image and the cells are still the same.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layers.linear import Linear, linear

Memory = tuple[Tensor, Tensor]


class Projections(NamedTuple):
    """The cells of an image in the spaces of a block's two attentions between tokens and image.

    Attributes:
        memory: keys and values for the tokens, (G, h, N, d) each.
        queries: to the tokens, (G, h, N, d).
    """

    memory: Memory
    queries: Tensor


class Attention(nn.Module):
    """Multi-head attention with projections of their own, possibly to fewer channels.

    Args:
        embedding_dim: channels C of inputs and output.
        num_heads: heads h.
        downsample_rate: C / E.
    """

    def __init__(self, embedding_dim: int, num_heads: int, downsample_rate: int = 1) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.internal_dim = embedding_dim // downsample_rate
        if self.internal_dim % num_heads:
            raise ValueError(f"{self.internal_dim} channels cannot be divided among {num_heads} heads")
        self.q_proj = Linear(embedding_dim, self.internal_dim)
        self.k_proj = Linear(embedding_dim, self.internal_dim)
        self.v_proj = Linear(embedding_dim, self.internal_dim)
        self.out_proj = Linear(self.internal_dim, embedding_dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attends from queries (P, Q, C) to keys and values (G, S, C); returns (P, Q, C)."""
        return self.attend(query, self.project_memory(key, value))

    def project_memory(self, key: Tensor, value: Tensor) -> Memory:
        """Projects keys and values (G, S, C) for :meth:`attend`; returns (G, h, S, d) each."""
        return self._split(self.k_proj(key)), self._split(self.v_proj(value))

    def attend(self, query: Tensor, memory: Memory) -> Tensor:
        """Attends from queries (P, Q, C) to what :meth:`project_memory` returned; returns (P, Q, C)."""
        keys, values = memory
        shared = len(keys) == 1
        # Queries do not see each other: those of several prompts to one memory are one long list.
        queries = self._split(self.q_proj(query.flatten(0, 1)[None] if shared else query))
        attended = F.scaled_dot_product_attention(queries, keys, values)
        return self.out_proj(attended.transpose(1, 2).flatten(2)).view(query.shape)

    def project_cells(self, cells: Tensor) -> Tensor:
        """Projects many queries (G, N, C) for :meth:`spread`; returns (G, h, N, d)."""
        return self._split(self.q_proj(cells))

    def spread(self, queries: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attends from many cells to few tokens: the other direction of :meth:`attend`.

        Args:
            queries: what :meth:`project_cells` returned, (G, h, N, d).
            key: (P, T, C).
            value: (P, T, C).

        Returns:
            (P, N, C).
        """
        keys, values = self.project_memory(key, value)
        count, heads, tokens, width = keys.shape
        if tokens > width:
            attended = F.scaled_dot_product_attention(queries.expand(count, -1, -1, -1), keys, values)
            return self.out_proj(attended.transpose(1, 2).flatten(2))
        # Fewer tokens than channels of a head: the tokens' values go through the output projection, each in its own
        # head's place, instead of the cells' mixtures of them. Softmax runs along the cells' memory, not across it.
        scores = (keys * width**-0.5) @ queries.transpose(2, 3)
        weights = scores.softmax(2).flatten(1, 2).transpose(1, 2)  # (P, N, h T)
        places = torch.eye(heads, dtype=values.dtype, device=values.device)[:, None, :, None]
        rows = self.out_proj((values[:, :, :, None] * places).reshape(count, heads * tokens, -1)) - self.out_proj.bias
        return _products(weights, rows, self.out_proj.bias)

    def _split(self, x: Tensor) -> Tensor:
        """Maps (A, S, E) to (A, h, S, d)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def _products(x: Tensor, matrices: Tensor, bias: Tensor) -> Tensor:
    """Returns ``x @ matrices + bias``, batch by batch: (P, N, D) and (P, D, C) to (P, N, C)."""
    if x.device.type == "cpu":  # one by one, for the sake of modeling/layers/linear.py
        pairs = zip(x, matrices, strict=True)
        return torch.stack([linear(one.contiguous(), matrix.t(), bias) for one, matrix in pairs])
    return x @ matrices + bias


class TokenPerceptron(nn.Module):
    """Linear, ReLU, Linear; parameters ``lin1.*`` and ``lin2.*``."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.lin1 = Linear(dim, hidden_dim)
        self.lin2 = Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., C) to (..., C)."""
        return self.lin2(F.relu(self.lin1(x)))


class TwoWayAttentionBlock(nn.Module):
    """Self-attention of tokens, tokens to image, perceptron, image to tokens; a norm after each.

    Args:
        embedding_dim: channels C.
        num_heads: attention heads.
        mlp_dim: hidden channels of the perceptron.
        attention_downsample_rate: C / E of the attention between tokens and image.
        first: whether the block is the first one, whose self-attention has neither positions nor a residual.
    """

    def __init__(
        self, embedding_dim: int, num_heads: int, mlp_dim: int, attention_downsample_rate: int, first: bool
    ) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(embedding_dim, num_heads)
        self.norm1 = nn.LayerNorm(embedding_dim)
        self.cross_attn_token_to_image = Attention(embedding_dim, num_heads, attention_downsample_rate)
        self.norm2 = nn.LayerNorm(embedding_dim)
        self.mlp = TokenPerceptron(embedding_dim, mlp_dim)
        self.norm3 = nn.LayerNorm(embedding_dim)
        self.norm4 = nn.LayerNorm(embedding_dim)
        self.cross_attn_image_to_token = Attention(embedding_dim, num_heads, attention_downsample_rate)

    def project(self, image: Tensor, image_pe: Tensor) -> Projections:
        """Projects cells (G, N, C) with position code (1, N, C): what the block does with them before tokens come."""
        placed = image + image_pe
        return Projections(
            self.cross_attn_token_to_image.project_memory(placed, image),
            self.cross_attn_image_to_token.project_cells(placed),
        )

    def forward(
        self, tokens: Tensor, token_pe: Tensor, image: Tensor, projections: Projections
    ) -> tuple[Tensor, Tensor]:
        """Updates both sides.

        Args:
            tokens: (P, T, C).
            token_pe: position code of the tokens, (P, T, C).
            image: (G, N, C).
            projections: what :meth:`project` returned for ``image``.

        Returns:
            Tokens (P, T, C) and image (P, N, C).
        """
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + token_pe
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        tokens = self.norm2(tokens + self.cross_attn_token_to_image.attend(tokens + token_pe, projections.memory))
        tokens = self.norm3(tokens + self.mlp(tokens))
        spread = self.cross_attn_image_to_token.spread(projections.queries, tokens + token_pe, tokens)
        return tokens, self.norm4(image + spread)


class TwoWayTransformer(nn.Module):
    """Blocks of :class:`TwoWayAttentionBlock` and a last attention of the tokens to the image.

    Args:
        depth: number of blocks.
        embedding_dim: channels C.
        num_heads: attention heads.
        mlp_dim: hidden channels of the perceptrons.
        attention_downsample_rate: C / E of the attention between tokens and image.
    """

    def __init__(
        self, depth: int, embedding_dim: int, num_heads: int, mlp_dim: int, attention_downsample_rate: int = 2
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayAttentionBlock(embedding_dim, num_heads, mlp_dim, attention_downsample_rate, first=i == 0)
            for i in range(depth)
        )
        self.final_attn_token_to_image = Attention(embedding_dim, num_heads, attention_downsample_rate)
        self.norm_final_attn = nn.LayerNorm(embedding_dim)

    def project(self, image: Tensor, image_pe: Tensor) -> Projections:
        """Returns the first block's projections of an image, which are the same whatever is asked about it."""
        return cast(TwoWayAttentionBlock, self.layers[0]).project(image, image_pe)

    def forward(
        self, image: Tensor, image_pe: Tensor, tokens: Tensor, projections: Projections | None = None
    ) -> tuple[Tensor, Tensor]:
        """Lets tokens and image attend to each other.

        Args:
            image: image embedding plus what a mask prompt adds, (G, N, C).
            image_pe: position code of the cells, (1, N, C).
            tokens: output and prompt tokens, (P, T, C); they are their own position code.
            projections: what :meth:`project` returned for this image; None: computed here.

        Returns:
            Tokens (P, T, C) and image (P, N, C).
        """
        token_pe = tokens
        for layer in cast(list[TwoWayAttentionBlock], self.layers):
            tokens, image = layer(tokens, token_pe, image, projections or layer.project(image, image_pe))
            projections = None
        attended = self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.norm_final_attn(tokens + attended), image
