"""Text towers of SEEM: what all have in common, and UniCL's causal transformer.

Letters in shapes: N texts, L tokens, W width of the tower, P width of the joint space, Q queries, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ...layers.attention import MultiheadAttention
from ...layers.full_precision import full_precision
from ...layers.linear import Linear
from .prefix_tree import prefix_tree
from .tokenizer import lengths

LENGTH_EPS = 1e-7


class TextEncoder(nn.Module, ABC):
    """A text tower with its projection into the joint space of texts and queries.

    Attributes:
        lang_proj: (W, P) projection.
        logit_scale: scalar; class logits are cosines times its exponential.
        structure: what its function depends on beside names and shapes of its parameters.
    """

    lang_proj: nn.Parameter
    logit_scale: nn.Parameter
    structure: str

    @abstractmethod
    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes texts.

        Args:
            ids: (N, L) int64; the end token, which has the largest id of the vocabulary, also pads.

        Returns:
            Token embeddings (N, L, P), and text embeddings (N, P). Neither is normalised.
        """

    def embed(self, ids: Tensor) -> Tensor:
        """Returns the text embeddings (N, P) alone; texts that belong together cost less than with ``forward``."""
        return self(ids[:, : int(lengths(ids).max())])[1]

    def similarity(self, queries: Tensor, texts: Tensor) -> Tensor:
        """Returns class logits (B, Q, K) float32: scaled cosines of embeddings (B, Q, P) and unit texts (K, P)."""
        with full_precision(queries.device.type):
            return self.logit_scale.float().exp() * (normalize(queries.float()) @ texts.float().t())


class LanguageEncoder(TextEncoder):
    """Text encoder (UniCL, arXiv 2204.03610; X-Decoder, arXiv 2212.11270).

    Args:
        vocab_size: number of token ids.
        context_length: largest number of tokens.
        width: W, divisible by ``heads``.
        layers: transformer blocks.
        heads: attention heads.
        dim_proj: P.
        causal: tokens attend to themselves and earlier ones only; else padding is masked instead.
    """

    def __init__(
        self,
        vocab_size: int = 49408,
        context_length: int = 77,
        width: int = 512,
        layers: int = 12,
        heads: int = 8,
        dim_proj: int = 512,
        causal: bool = True,
    ) -> None:
        super().__init__()
        self.structure = f"unicl heads={heads} causal={causal}"
        self.lang_encoder = TextTransformer(vocab_size, context_length, width, layers, heads, causal)
        self.lang_proj = nn.Parameter(nn.init.trunc_normal_(torch.empty(width, dim_proj), std=0.02))
        self.logit_scale = nn.Parameter(torch.ones([]))

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes texts.

        Args:
            ids: (N, L) int64; the end token, which has the largest id of the vocabulary, also pads.

        Returns:
            Token embeddings (N, L, P), and text embeddings (N, P): those at each text's first end token. Neither is
            normalised.
        """
        end = ids.argmax(dim=1)
        tokens = self.lang_encoder(ids, end + 1) @ self.lang_proj
        return tokens, tokens[torch.arange(len(ids), device=ids.device), end]

    def embed(self, ids: Tensor) -> Tensor:
        """Returns the text embeddings (N, P); common beginnings of the texts are computed once."""
        if not self.lang_encoder.causal:
            return super().embed(ids)
        tree = prefix_tree(ids)
        features = self.lang_encoder.run(tree.tokens[None], tree.places, tree.forbidden)
        return features[0, tree.ends] @ self.lang_proj


class TextTransformer(nn.Module):
    """Pre-norm transformer over token ids, with learned positions.

    Args:
        vocab_size: number of token ids.
        context_length: largest number of tokens.
        width: W.
        layers: number of blocks.
        heads: attention heads.
        causal: see :class:`LanguageEncoder`.
    """

    def __init__(self, vocab_size: int, context_length: int, width: int, layers: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.resblocks = nn.ModuleList(TextBlock(width, heads) for _ in range(layers))
        self.ln_final = text_norm(width)
        nn.init.trunc_normal_(self.token_embedding.weight, std=0.02)
        nn.init.trunc_normal_(self.positional_embedding, std=0.02)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Maps ids (N, L), of which the first ``lengths`` (N,) are text, to features (N, L, W)."""
        place = torch.arange(ids.shape[1], device=ids.device)
        # True = forbidden.
        mask = place > place[:, None] if self.causal else (place >= lengths[:, None])[:, None]
        return self.run(ids, place, mask)

    def run(self, ids: Tensor, places: Tensor, mask: Tensor) -> Tensor:
        """Maps ids (N, L) at the given positions (L,) to features (N, L, W).

        Args:
            ids: token ids.
            places: row of the positional embedding that each token takes.
            mask: (L, L) or (N, 1, L), True = forbidden.
        """
        x = self.token_embedding(ids) + self.positional_embedding[places]
        for block in self.resblocks:
            x = block(x, mask)
        return self.ln_final(x)


class TextBlock(nn.Module):
    """Transformer block with CLIP's parameter names.

    Args:
        width: W.
        heads: attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = MultiheadAttention(width, heads)
        self.ln_1 = text_norm(width)
        self.mlp = QuickGELUFeedForward(width, 4 * width)
        self.ln_2 = text_norm(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Maps (N, L, W) to (N, L, W); mask (L, L) or (N, 1, L), True = forbidden."""
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, mask)
        return x + self.mlp(self.ln_2(x))


class QuickGELUFeedForward(nn.Module):
    """Two linear layers with CLIP's approximation of GELU between them: x * sigmoid(1.702 x).

    Args:
        width: channels of input and output.
        hidden: channels between.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.c_fc = Linear(width, hidden)
        self.c_proj = Linear(hidden, width)
        for layer in (self.c_fc, self.c_proj):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., W) to (..., W)."""
        hidden = self.c_fc(x)
        return self.c_proj(hidden * torch.sigmoid(1.702 * hidden))


def text_norm(width: int) -> nn.LayerNorm:
    """Returns the tower's layer normalisation; its epsilon is far smaller than the framework's default."""
    return nn.LayerNorm(width, eps=1e-12)


def normalize(x: Tensor) -> Tensor:
    """Scales vectors (..., P) to unit length; the epsilon is added to the length, as published weights expect."""
    return x / (x.norm(dim=-1, keepdim=True) + LENGTH_EPS)
