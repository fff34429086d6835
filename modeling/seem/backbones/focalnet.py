"""FocalNet backbone (Focal Modulation Networks, arXiv 2203.11926), channels last throughout.

Letters in shapes: B batch, H and W rows and columns, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ...layers.adapters import spatial_adapter
from ..config import SeemConfig
from .focal_modulation import DepthwiseFocalBlock, FocalBlock, FocalModulation, channels_last
from .focalnet_weights import fit_focal_weights, published_tensors


class FocalPatchEmbed(nn.Module):
    """Strided convolution with an optional norm; pads right and bottom to a multiple of the stride.

    Args:
        in_channels: channels of the input.
        dim: channels of the output.
        kernel_size: side of the kernel.
        stride: stride, also the multiple that sizes are padded to.
        padding: zero padding of the convolution itself.
        norm: whether a LayerNorm follows.
    """

    def __init__(
        self, in_channels: int, dim: int, *, kernel_size: int, stride: int, padding: int, norm: bool = True
    ) -> None:
        super().__init__()
        self.stride = stride
        self.proj = nn.Conv2d(in_channels, dim, kernel_size, stride=stride, padding=padding)
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, in_channels) to (B, ceil(H / stride), ceil(W / stride), dim)."""
        bottom, right = -x.shape[1] % self.stride, -x.shape[2] % self.stride
        if bottom or right:
            x = F.pad(x, (0, 0, 0, right, 0, bottom))
        return self.norm(channels_last(self.proj, x))


class FocalStage(nn.Module):
    """Blocks of one resolution and the downsampling that follows them (None in the last stage)."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: FocalPatchEmbed | None, use_checkpoint: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample
        self.use_checkpoint = use_checkpoint

    def forward(self, x: Tensor) -> Tensor:
        """Applies the blocks to (B, H, W, C); the caller applies ``downsample``."""
        for block in self.blocks:
            if self.use_checkpoint and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x


class FocalNet(nn.Module):
    """Four stages of focal blocks; ``focal`` (Focal-L) and, with ``depthwise``, ``focal_dw`` (Focal-T).

    Args:
        embed_dim: channels of the first stage, doubled by each further one.
        depths: blocks per stage.
        focal_levels: depthwise levels per stage.
        focal_windows: first kernel side per stage.
        patch_size: stride of the stem.
        mlp_ratio: hidden over outer channels of the perceptrons.
        drop_rate: dropout of the perceptrons and the modulation.
        drop_path_rate: stochastic depth rate of the last block; grows linearly from 0.
        patch_norm: whether the stem has a norm.
        use_conv_embed: overlapping convolutions in the stem (7x7) and between the stages (3x3).
        scaling_modulator: divide the modulator by the number of levels.
        use_postln: norms after the branches instead of before.
        use_postln_in_modulation: norm inside the modulation.
        use_layerscale: learned factor per channel on the branches.
        use_checkpoint: recompute the blocks' activations in the backward pass.
        out_indices: stages that are returned.
        depthwise: blocks of ``focal_dw``.
        adapter: "light" or "dense": an adapter after the modulation of each block; None: none.
        adapter_init: "neutral" or "reference".
        adapter_ratio: outer over inner channels of a light adapter.

    Attributes:
        output_channels: name of each returned map -> its channels.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        depths: Sequence[int],
        focal_levels: Sequence[int],
        focal_windows: Sequence[int],
        patch_size: int = 4,
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.3,
        patch_norm: bool = True,
        use_conv_embed: bool = True,
        scaling_modulator: bool = True,
        use_postln: bool = True,
        use_postln_in_modulation: bool = False,
        use_layerscale: bool = True,
        use_checkpoint: bool = False,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        depthwise: bool = False,
        adapter: str | None = None,
        adapter_init: str = "neutral",
        adapter_ratio: int = 4,
    ) -> None:
        super().__init__()
        dims = [embed_dim * 2**stage for stage in range(len(depths))]
        kernel, padding = (7, 3 if depthwise else 2) if use_conv_embed else (patch_size, 0)
        self.patch_embed = FocalPatchEmbed(
            3, embed_dim, kernel_size=kernel, stride=patch_size, padding=padding, norm=patch_norm
        )
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        block_class = DepthwiseFocalBlock if depthwise else FocalBlock

        def block(stage: int) -> FocalBlock:
            modulation = FocalModulation(
                dims[stage],
                focal_windows[stage],
                focal_levels[stage],
                proj_drop=drop_rate,
                use_postln=use_postln_in_modulation,
                scaling_modulator=scaling_modulator,
            )
            inserted = None if adapter is None else spatial_adapter(dims[stage], adapter, adapter_init, adapter_ratio)
            return block_class(
                dims[stage],
                modulation,
                mlp_ratio=mlp_ratio,
                drop=drop_rate,
                drop_path=next(rates),
                use_postln=use_postln,
                use_layerscale=use_layerscale,
                adapter=inserted,
            )

        self.layers = nn.ModuleList()
        for stage, depth in enumerate(depths):
            downsample = None
            if stage < len(depths) - 1:
                kernel, padding = (3, 1) if use_conv_embed else (2, 0)
                downsample = FocalPatchEmbed(
                    dims[stage], dims[stage + 1], kernel_size=kernel, stride=2, padding=padding
                )
            self.layers.append(FocalStage([block(stage) for _ in range(depth)], downsample, use_checkpoint))
        self.out_indices = tuple(out_indices)
        for index in self.out_indices:
            self.add_module(f"norm{index}", nn.LayerNorm(dims[index]))
        self.output_channels: dict[str, int] = {f"res{index + 2}": dims[index] for index in self.out_indices}

    @classmethod
    def from_config(cls, cfg: SeemConfig) -> FocalNet:
        """Builds the backbone named by ``MODEL.BACKBONE.NAME`` ("focal" or "focal_dw")."""
        c = cfg.MODEL.BACKBONE.FOCAL
        return cls(
            embed_dim=c.EMBED_DIM,
            depths=c.DEPTHS,
            focal_levels=c.FOCAL_LEVELS,
            focal_windows=c.FOCAL_WINDOWS,
            patch_size=c.PATCH_SIZE,
            mlp_ratio=c.MLP_RATIO,
            drop_rate=c.DROP_RATE,
            drop_path_rate=c.DROP_PATH_RATE,
            patch_norm=c.PATCH_NORM,
            use_conv_embed=c.USE_CONV_EMBED,
            scaling_modulator=c.SCALING_MODULATOR,
            use_postln=c.USE_POSTLN,
            use_postln_in_modulation=c.USE_POSTLN_IN_MODULATION,
            use_layerscale=c.USE_LAYERSCALE,
            use_checkpoint=c.USE_CHECKPOINT,
            out_indices=c.OUT_INDICES,
            depthwise=cfg.MODEL.BACKBONE.NAME == "focal_dw",
            adapter=c.ADAPTER if c.FINE_TUNE else None,
            adapter_init=c.ADAPTER_INIT,
            adapter_ratio=c.ADAPTER_RATIO,
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Extracts features.

        Args:
            images: (B, 3, H, W) normalised images.

        Returns:
            "res2".."res5": (B, C, H / stride, W / stride) with strides 4, 8, 16, 32, sizes rounded up.
        """
        x = self.patch_embed(images.permute(0, 2, 3, 1).contiguous())
        features = {}
        for index, stage in enumerate(self.layers):
            x = stage(x)
            if index in self.out_indices:
                features[f"res{index + 2}"] = getattr(self, f"norm{index}")(x).permute(0, 3, 1, 2)
            downsample = cast(FocalStage, stage).downsample
            if downsample is not None:
                x = downsample(x)
        return features

    def fit_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Translates weights in transformers' layout, and fits focal kernels of other sizes."""
        return fit_focal_weights(published_tensors(state), self.state_dict())


def drop_path_rates(last: float, count: int) -> list[float]:
    """Returns ``count`` rates growing linearly from 0 to ``last``."""
    return [last * i / max(count - 1, 1) for i in range(count)]
