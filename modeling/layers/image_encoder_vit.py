"""The Vision Transformer of Segment Anything's image encoder (arXiv 2304.02643, appendix A; ViTDet, arXiv 2203.16527).

Most blocks attend inside windows, a few over the whole image; all add decomposed relative positions (MViTv2, arXiv
2112.01526, section 4.1). Parameters have the published names, so that the ``image_encoder.*`` tensors of SAM's files
load strictly.

Letters in shapes: B images, H and W rows and columns of tokens (image size / patch size), C channels, h heads,
d channels of a head, q and k numbers of queries and keys along one axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from segfoundry.modeling.layers.linear import Linear

EPS = 1e-6  # of every LayerNorm of the encoder


@dataclass(frozen=True)
class VitSize:
    """Width and depth of a published encoder.

    Attributes:
        embed_dim: channels C.
        depth: number of blocks.
        num_heads: attention heads.
        global_attn_indexes: blocks that attend over the whole image.
    """

    embed_dim: int
    depth: int
    num_heads: int
    global_attn_indexes: tuple[int, ...]


SIZES = {
    "base": VitSize(768, 12, 12, (2, 5, 8, 11)),
    "large": VitSize(1024, 24, 16, (5, 11, 17, 23)),
    "huge": VitSize(1280, 32, 16, (7, 15, 23, 31)),
}


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeck(nn.Sequential):
    """SAM's neck: 1x1 and 3x3 convolution, each followed by a norm; (B, C, H, W) to (B, out_channels, H, W).

    Args:
        embed_dim: channels C.
        out_channels: channels of the image embedding.
    """

    def __init__(self, embed_dim: int, out_channels: int = 256) -> None:
        super().__init__(
            nn.Conv2d(embed_dim, out_channels, 1, bias=False),
            LayerNorm2d(out_channels, eps=EPS),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels, eps=EPS),
        )


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens."""

    def __init__(self, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, 3, H p, W p) to tokens (B, H, W, C)."""
        return self.proj(images).permute(0, 2, 3, 1)


class RelativePositionAttention(nn.Module):
    """Self-attention over a grid of tokens; the query also scores the row and column distance of each key.

    Args:
        dim: channels C, a multiple of ``num_heads``.
        num_heads: attention heads.
        grid_size: rows and columns that the tables are made for; other grids interpolate them.
    """

    def __init__(self, dim: int, num_heads: int, grid_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid_size - 1, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid_size - 1, dim // num_heads))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, C) to the same shape."""
        height, width = x.shape[1:3]
        qkv = self.qkv(x).flatten(1, 2).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, h, H W, d)
        bias = position_scores(query, self.rel_pos_h, self.rel_pos_w, (height, width))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(attended.transpose(1, 2).flatten(2).unflatten(1, (height, width)))


class FeedForward(nn.Module):
    """Linear, exact GELU, Linear; parameters ``lin1.*`` and ``lin2.*``."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.lin1 = Linear(dim, hidden_dim)
        self.lin2 = Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., C) to (..., C)."""
        return self.lin2(F.gelu(self.lin1(x)))


class Block(nn.Module):
    """Pre-norm transformer block.

    Args:
        dim: channels C.
        num_heads: attention heads.
        mlp_ratio: hidden over outer channels of the perceptron.
        window_size: side of the attention windows in tokens; 0: attention over the whole grid.
        grid_size: side of the whole grid, for the tables of global attention.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, window_size: int, grid_size: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = RelativePositionAttention(dim, num_heads, window_size or grid_size)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = FeedForward(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, C) to the same shape."""
        normed = self.norm1(x)
        if self.window_size:
            # Zero tokens fill the last windows after the norm and take part in the attention, as published.
            windows, padded_size = split_windows(normed, self.window_size)
            attended = join_windows(self.attn(windows), self.window_size, padded_size, x.shape[1:3])
        else:
            attended = self.attn(normed)
        x = x + attended
        return x + self.mlp(self.norm2(x))


class ImageEncoderViT(nn.Module):
    """Patches, positions, blocks and a neck.

    Images may have any size that is a multiple of ``patch_size``: positions are interpolated to it.

    Args:
        embed_dim: channels C.
        depth: number of blocks.
        num_heads: attention heads.
        global_attn_indexes: blocks that attend over the whole image; the others use windows.
        neck: what follows the blocks: a module on (B, C, H, W), e.g. :class:`ConvNeck` or a feature pyramid.
        img_size: image side in pixels that the position tables are made for.
        patch_size: side of a patch in pixels.
        mlp_ratio: hidden over outer channels of the perceptrons.
        window_size: side of the windows in tokens.
        use_checkpoint: recompute the blocks' activations in the backward pass.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        depth: int,
        num_heads: int,
        global_attn_indexes: Sequence[int],
        neck: nn.Module,
        img_size: int = 1024,
        patch_size: int = 16,
        mlp_ratio: float = 4.0,
        window_size: int = 14,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        grid = img_size // patch_size
        self.use_checkpoint = use_checkpoint
        self.patch_embed = PatchEmbed(patch_size, embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(
            Block(embed_dim, num_heads, mlp_ratio, 0 if i in global_attn_indexes else window_size, grid)
            for i in range(depth)
        )
        self.neck = neck

    def forward(self, images: Tensor) -> Any:
        """Encodes normalised images (B, 3, H p, W p); returns what the neck makes of the tokens."""
        return self.neck(self.tokens(images).permute(0, 3, 1, 2))

    def tokens(self, images: Tensor) -> Tensor:
        """Returns the tokens before the neck, (B, H, W, C)."""
        x = self.patch_embed(images)
        x = x + resized_grid(self.pos_embed, (x.shape[1], x.shape[2]))
        for block in self.blocks:
            if self.use_checkpoint and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x


def position_scores(query: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns what the relative positions add to the attention logits (MViTv2, equation 4).

    Args:
        query: (B, h, H W, d), not scaled.
        rel_pos_h: table of row distances, (2 S - 1, d).
        rel_pos_w: table of column distances, (2 S - 1, d).
        size: H, W.

    Returns:
        (B, h, H W, H W).
    """
    height, width = size
    grid = query.unflatten(2, size)
    rows = torch.einsum("bnyxc,ykc->bnyxk", grid, relative_positions(height, height, rel_pos_h).to(query.dtype))
    columns = torch.einsum("bnyxc,xkc->bnyxk", grid, relative_positions(width, width, rel_pos_w).to(query.dtype))
    scores = rows[..., :, None] + columns[..., None, :]  # (B, h, H, W, H, W)
    return scores.flatten(4, 5).flatten(2, 3)


def relative_positions(query_size: int, key_size: int, table: Tensor) -> Tensor:
    """Looks up the vectors of all distances along one axis.

    Args:
        query_size: number of queries q.
        key_size: number of keys k; where it differs, the coordinates of the shorter axis are stretched.
        table: (L, d), from the most negative to the most positive distance; interpolated linearly unless
            L = 2 max(q, k) - 1.

    Returns:
        (q, k, d).
    """
    table = resized_table(table, 2 * max(query_size, key_size) - 1)
    query_stretch, key_stretch = max(key_size / query_size, 1.0), max(query_size / key_size, 1.0)
    queries = torch.arange(query_size, device=table.device)[:, None] * query_stretch
    keys = torch.arange(key_size, device=table.device)[None, :] * key_stretch
    return table[(queries - keys + (key_size - 1) * key_stretch).long()]


def resized_table(table: Tensor, length: int) -> Tensor:
    """Interpolates a table (L, d) linearly to (length, d)."""
    if table.shape[0] == length:
        return table
    return F.interpolate(table.t()[None], size=length, mode="linear", align_corners=False)[0].t()


def resized_grid(grid: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolates absolute positions (1, H, W, C) bilinearly to (1, *size, C)."""
    if tuple(grid.shape[1:3]) == tuple(size):
        return grid
    resized = F.interpolate(grid.permute(0, 3, 1, 2), size=size, mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1)


def fit_positions(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Interpolates the position tables of a file to those of an encoder for another image size.

    Args:
        state: the file's tensors, under the encoder's names.
        own: the encoder's tensors.

    Returns:
        ``state`` with ``pos_embed`` and the tables of global attention in the encoder's sizes; all else as it is.
    """
    fitted = dict(state)
    for name, tensor in state.items():
        target = own.get(name)
        if target is None or target.shape == tensor.shape:
            continue
        if name.endswith("pos_embed") and tensor.dim() == 4 and tensor.shape[-1] == target.shape[-1]:
            fitted[name] = resized_grid(tensor, (target.shape[1], target.shape[2]))
        elif name.endswith(("rel_pos_h", "rel_pos_w")) and tensor.shape[1:] == target.shape[1:]:
            fitted[name] = resized_table(tensor, target.shape[0])
    return fitted


def split_windows(x: Tensor, window_size: int) -> tuple[Tensor, tuple[int, int]]:
    """Cuts a grid into windows, padding with zeros at the bottom and right.

    Args:
        x: (B, H, W, C).
        window_size: side w of a window.

    Returns:
        Windows (B n, w, w, C), row by row; the padded H and W.
    """
    batch, height, width, channels = x.shape
    x = F.pad(x, (0, 0, 0, -width % window_size, 0, -height % window_size))
    padded_size = (x.shape[1], x.shape[2])
    x = x.unflatten(2, (-1, window_size)).unflatten(1, (-1, window_size)).transpose(2, 3)
    return x.reshape(-1, window_size, window_size, channels), padded_size


def join_windows(windows: Tensor, window_size: int, padded_size: Sequence[int], size: Sequence[int]) -> Tensor:
    """Undoes :func:`split_windows` and drops the padding.

    Args:
        windows: (B n, w, w, C).
        window_size: side w.
        padded_size: padded H and W.
        size: H and W to keep.

    Returns:
        (B, H, W, C).
    """
    rows, columns = padded_size[0] // window_size, padded_size[1] // window_size
    x = windows.unflatten(0, (-1, rows, columns)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return x[:, : size[0], : size[1]]
