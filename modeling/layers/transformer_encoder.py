"""Standard transformer encoder ("Attention Is All You Need", section 3.1) with positions added to queries and keys.

Letters in shapes: B batch, S tokens, C channels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .attention import MultiheadAttention
from .linear import Linear


class TransformerEncoderLayer(nn.Module):
    """Self-attention and a ReLU perceptron.

    Args:
        dim: channels C.
        num_heads: attention heads.
        feedforward_dim: hidden channels of the perceptron.
        dropout: dropout of attention weights, hidden layer and branches.
        pre_norm: norms before the branches instead of after the sums.
    """

    def __init__(
        self, dim: int, num_heads: int, feedforward_dim: int, dropout: float = 0.0, pre_norm: bool = False
    ) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.self_attn = MultiheadAttention(dim, num_heads, dropout)
        self.linear1 = Linear(dim, feedforward_dim)
        self.linear2 = Linear(feedforward_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, pos: Tensor) -> Tensor:
        """Maps tokens (B, S, C) with positions (1 or B, S, C) to (B, S, C)."""
        if self.pre_norm:
            x = x + self.dropout(self._attend(self.norm1(x), pos))
            return x + self.dropout(self._feed_forward(self.norm2(x)))
        x = self.norm1(x + self.dropout(self._attend(x, pos)))
        return self.norm2(x + self.dropout(self._feed_forward(x)))

    def _attend(self, x: Tensor, pos: Tensor) -> Tensor:
        placed = x + pos
        return self.self_attn(placed, placed, x)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(F.relu(self.linear1(x))))


class TransformerEncoder(nn.Module):
    """Layers one after the other; with pre-norm layers a final norm.

    Args:
        num_layers: number of layers.
        dim: channels C.
        num_heads: attention heads.
        feedforward_dim: hidden channels of the perceptrons.
        dropout: see :class:`TransformerEncoderLayer`.
        pre_norm: see :class:`TransformerEncoderLayer`.
    """

    def __init__(
        self, num_layers: int, dim: int, num_heads: int, feedforward_dim: int, dropout: float, pre_norm: bool
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TransformerEncoderLayer(dim, num_heads, feedforward_dim, dropout, pre_norm) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim) if pre_norm else nn.Identity()
        xavier_matrices(self)

    def forward(self, x: Tensor, pos: Tensor) -> Tensor:
        """Maps tokens (B, S, C) with positions (1 or B, S, C) to (B, S, C)."""
        for layer in self.layers:
            x = layer(x, pos)
        return self.norm(x)


def xavier_matrices(module: nn.Module) -> None:
    """Initialises every matrix of a module Xavier-uniform."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
