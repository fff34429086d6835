"""The Vision Transformer of Segment Anything's image encoder (arXiv 2304.02643, appendix A; ViTDet, arXiv 2203.16527).

Most blocks attend inside windows, a few over the whole image; all add decomposed relative positions (MViTv2, arXiv
2112.01526, section 4.1). Parameters have the published names, so that the ``image_encoder.*`` tensors of SAM's files
load strictly.

Letters in shapes: B images, H and W rows and columns of tokens (image size / patch size), C channels, h heads,
d channels of a head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .linear import Linear
from .relative_position import MODES, relative_attention, resized_table
from .windows import join_windows, split_windows

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
    """Self-attention over a grid of tokens, or inside its windows, with decomposed relative positions.

    Args:
        dim: channels C, a multiple of ``num_heads``.
        num_heads: attention heads.
        grid_size: rows and columns that the tables are made for; other grids interpolate them.
        window_size: side of the windows in tokens; 0: attention over the whole grid.
        mode: how the attention over the whole grid is computed (:func:`relative_attention`); windows are small enough
            for a dense bias, so that for them only "eager" is something else.
    """

    def __init__(self, dim: int, num_heads: int, grid_size: int, window_size: int = 0, mode: str = "auto") -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"attention must be one of {', '.join(MODES)}, not {mode!r}")
        self.num_heads = num_heads
        self.window_size = window_size
        self.mode = mode if mode == "eager" or not window_size else "bias"
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid_size - 1, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid_size - 1, dim // num_heads))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, C) to the same shape."""
        size = (x.shape[1], x.shape[2])
        if not self.window_size:
            return self.proj(self._attend(self.qkv(x)))
        # Zero tokens fill the last windows and take part in the attention, as published. Only the tokens of the grid
        # pass through the projections: what becomes of a zero token is the same everywhere.
        fill = self.qkv(x.new_zeros(1, x.shape[-1]))[0]
        windows, padded_size = split_windows(self.qkv(x), self.window_size, fill)
        return self.proj(join_windows(self._attend(windows), self.window_size, padded_size, size))

    def _attend(self, qkv: Tensor) -> Tensor:
        """Maps projected tokens (B, H, W, 3 C) to (B, H, W, C)."""
        size = (qkv.shape[1], qkv.shape[2])
        heads = qkv.flatten(1, 2).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, h, H W, d)
        attended = relative_attention(query, key, value, (self.rel_pos_h, self.rel_pos_w), size, self.mode)
        return attended.transpose(1, 2).flatten(2).unflatten(1, size)


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
        attention: how the attention is computed; see :class:`RelativePositionAttention`.
    """

    def __init__(
        self, dim: int, num_heads: int, mlp_ratio: float, window_size: int, grid_size: int, attention: str = "auto"
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = RelativePositionAttention(dim, num_heads, window_size or grid_size, window_size, attention)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = FeedForward(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, C) to the same shape."""
        x = x + self.attn(self.norm1(x))
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
        attention: how the attention is computed: auto, bias, concat or eager; the results agree up to rounding.
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
        attention: str = "auto",
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        grid = img_size // patch_size
        self.img_size = img_size  # users of the published class ask for it
        self.use_checkpoint = use_checkpoint
        self.patch_embed = PatchEmbed(patch_size, embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(
            Block(embed_dim, num_heads, mlp_ratio, 0 if i in global_attn_indexes else window_size, grid, attention)
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
