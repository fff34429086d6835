"""Pixel decoder ``transformer_encoder_deform``: deformable attention over three levels, one pyramid level on top.

Mask2Former (arXiv 2112.01527), section 3.2.1. Letters in shapes: B batch, h and w rows and columns of a map, S cells
of all levels, L levels, d = ``conv_dim``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layers.conv import ConvNorm, init_conv
from ...layers.full_precision import full_precision
from ...layers.linear import Linear
from ...layers.ms_deform_attn import MSDeformAttn
from ...layers.position import sine_position_encoding

# Fixed in the published models: DECODER.DIM_FEEDFORWARD does not reach this transformer.
FEEDFORWARD_DIM = 1024


class DeformableEncoderLayer(nn.Module):
    """Deformable self-attention and a ReLU perceptron, post-norm.

    Args:
        dim: channels d.
        num_heads: attention heads.
        num_levels: feature levels.
        num_points: sampled points per query, head and level.
        feedforward_dim: hidden channels of the perceptron.
        dropout: dropout of both branches and the hidden layer.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        num_levels: int,
        num_points: int = 4,
        feedforward_dim: int = FEEDFORWARD_DIM,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.self_attn = MSDeformAttn(dim, num_heads, num_levels, num_points)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = Linear(dim, feedforward_dim)
        self.linear2 = Linear(feedforward_dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(
        self,
        x: Tensor,
        pos: Tensor,
        reference_points: Tensor,
        sizes: Sequence[tuple[int, int]],
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Maps tokens (B, S, d) to (B, S, d).

        Args:
            x: (B, S, d).
            pos: (1 or B, S, d), added to the queries.
            reference_points: (B, S, L, 2), x and y in 0..1.
            sizes: (h, w) of each level.
            padding_mask: (B, S) bool, True = padding.
        """
        attended = self.self_attn(x + pos, reference_points, x, sizes, padding_mask)
        x = self.norm1(x + self.dropout(attended))
        hidden = self.dropout(F.relu(self.linear1(x)))
        return self.norm2(x + self.dropout(self.linear2(hidden)))


class DeformableTransformer(nn.Module):
    """Deformable encoder over levels; parameters ``level_embed`` and ``encoder.layers.{i}.*``."""

    def __init__(self, dim: int, num_heads: int, num_layers: int, num_levels: int, dropout: float) -> None:
        super().__init__()
        layers = nn.ModuleList(
            DeformableEncoderLayer(dim=dim, num_heads=num_heads, num_levels=num_levels, dropout=dropout)
            for _ in range(num_layers)
        )
        self.encoder = nn.ModuleDict({"layers": layers})
        self.level_embed = nn.Parameter(torch.randn(num_levels, dim))

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Maps L maps (B, d, h, w) to maps of the same sizes."""
        sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
        dim, device = levels[0].shape[1], levels[0].device
        x = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
        codes = [sine_position_encoding(size, dim, device=device).flatten(2).transpose(1, 2) for size in sizes]
        pos = torch.cat([code + embed for code, embed in zip(codes, self.level_embed, strict=True)], dim=1)
        centres = torch.cat([pixel_centres(size, device) for size in sizes])
        reference_points = centres[None, :, None].expand(x.shape[0], -1, len(sizes), -1)
        for layer in cast(nn.ModuleList, self.encoder["layers"]):
            x = layer(x, pos, reference_points, sizes)
        parts = x.split([height * width for height, width in sizes], dim=1)
        return [part.transpose(1, 2).unflatten(2, size) for part, size in zip(parts, sizes, strict=True)]


class DeformablePixelDecoder(nn.Module):
    """Deformable encoder on res5..res3 and a pyramid level for res2. Runs in float32, also under autocast.

    Args:
        input_channels: name of each backbone map -> channels, fine to coarse.
        conv_dim: channels d of all inner maps.
        mask_dim: channels of the mask features.
        norm: "GN" or "", of the pyramid level.
        num_layers: transformer layers.
        num_heads: attention heads.
        feedforward_dim: not used (see ``FEEDFORWARD_DIM``); for the common signature of pixel decoders.
        dropout: dropout of the transformer.
        pre_norm: not used; for the common signature.
        transformer_features: names of the maps that enter the transformer, fine to coarse.
    """

    def __init__(
        self,
        *,
        input_channels: Mapping[str, int],
        conv_dim: int,
        mask_dim: int,
        norm: str = "GN",
        num_layers: int = 6,
        num_heads: int = 8,
        feedforward_dim: int = FEEDFORWARD_DIM,
        dropout: float = 0.0,
        pre_norm: bool = False,
        transformer_features: Sequence[str] = ("res3", "res4", "res5"),
    ) -> None:
        super().__init__()
        del feedforward_dim, pre_norm
        self.finest = next(iter(input_channels))
        self.transformer_features = tuple(reversed(transformer_features))
        self.input_proj = nn.ModuleList()
        for name in self.transformer_features:
            projection = nn.Conv2d(input_channels[name], conv_dim, 1)
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(cast(Tensor, projection.bias))
            self.input_proj.append(nn.Sequential(projection, nn.GroupNorm(32, conv_dim)))
        self.transformer = DeformableTransformer(
            conv_dim, num_heads, num_layers, len(self.transformer_features), dropout
        )
        self.adapter_1 = ConvNorm(input_channels[self.finest], conv_dim, 1, norm)
        self.layer_1 = ConvNorm(conv_dim, conv_dim, 3, norm, F.relu)
        self.mask_features = nn.Conv2d(conv_dim, mask_dim, 1)
        init_conv(self.mask_features)

    def forward(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Decodes the backbone's maps.

        Args:
            features: "res2".."res5", each (B, C, h, w).

        Returns:
            Mask features (B, mask_dim, h, w) at stride 4; the coarsest transformer map (B, d, h, w); the transformer
            maps (B, d, h, w), coarse to fine. All float32.
        """
        device_type = features[self.finest].device.type
        with full_precision(device_type):
            inputs = [features[name].float() for name in self.transformer_features]
            levels = self.transformer([proj(x) for proj, x in zip(self.input_proj, inputs, strict=True)])
            lateral = self.adapter_1(features[self.finest].float())
            upsampled = F.interpolate(levels[-1], size=lateral.shape[-2:], mode="bilinear", align_corners=False)
            return self.mask_features(self.layer_1(lateral + upsampled)), levels[0], levels


def pixel_centres(size: tuple[int, int], device: torch.device) -> Tensor:
    """Returns the centres of a grid's cells in row-major order, (h w, 2), x and y in 0..1."""
    height, width = size
    y = (torch.arange(height, dtype=torch.float32, device=device) + 0.5) / height
    x = (torch.arange(width, dtype=torch.float32, device=device) + 0.5) / width
    grid = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((grid[1].flatten(), grid[0].flatten()), dim=-1)
