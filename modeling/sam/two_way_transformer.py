"""The two-way transformer of Segment Anything's mask decoder (arXiv 2304.02643, appendix A).

A few tokens and the cells of the image embedding attend to each other in turn. Parameters have the published names.

Letters in shapes: P prompts, T tokens of a prompt, N cells of the image embedding, C channels, E channels inside an
attention, h heads, d = E / h; G is P, or 1 where all prompts are about one image and the cells are still the same.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from segfoundry.modeling.layers.linear import Linear


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
        """Attends.

        Args:
            query: (A, Q, C); A and B are equal, or one of them is 1 and its tensors serve all of the other's.
            key: (B, S, C).
            value: (B, S, C).

        Returns:
            (max(A, B), Q, C).
        """
        queries, keys, values = (
            self._split(self.q_proj(query)),
            self._split(self.k_proj(key)),
            self._split(self.v_proj(value)),
        )
        batch = max(len(queries), len(keys))
        queries, keys, values = (x.expand(batch, -1, -1, -1) for x in (queries, keys, values))
        attended = F.scaled_dot_product_attention(queries, keys, values)
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """Maps (A, S, E) to (A, h, S, d)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


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

    def forward(self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor) -> tuple[Tensor, Tensor]:
        """Updates both sides.

        Args:
            tokens: (P, T, C).
            image: (G, N, C).
            token_pe: position code of the tokens, (P, T, C).
            image_pe: position code of the cells, (1, N, C).

        Returns:
            Tokens (P, T, C) and image (P, N, C).
        """
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + token_pe
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        placed_image = image + image_pe
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_pe, placed_image, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(placed_image, tokens + token_pe, tokens))
        return tokens, image


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

    def forward(self, image: Tensor, image_pe: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Lets tokens and image attend to each other.

        Args:
            image: image embedding plus what a mask prompt adds, (G, N, C).
            image_pe: position code of the cells, (1, N, C).
            tokens: output and prompt tokens, (P, T, C); they are their own position code.

        Returns:
            Tokens (P, T, C) and image (P, N, C).
        """
        token_pe = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe)
        attended = self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.norm_final_attn(tokens + attended), image
