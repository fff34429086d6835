"""Backbone ``davit``: timm's DaViT (Dual Attention Vision Transformers, arXiv 2204.03645) in X-Decoder's form.

Letters in shapes: B images, H and W rows and columns of the image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from timm.models.davit import DaVit
from torch import Tensor, nn

from ...layers.drop_path import DropPath
from ..config import SeemConfig
from .focalnet import drop_path_rates

# What follows the block in the two published layouts -> timm's name.
_INNER = {
    "conv1.fn.dw": "cpe1.proj",
    "conv2.fn.dw": "cpe2.proj",
    "window_attn.norm": "norm1",
    "channel_attn.norm": "norm1",
    "window_attn.fn": "attn",
    "channel_attn.fn": "attn",
    "ffn.norm": "norm2",
    "ffn.fn.net": "mlp",
    "cpe.0.proj": "cpe1.proj",
    "cpe.1.proj": "cpe2.proj",
}
_KINDS = {"0": "spatial_block", "1": "channel_block"}


class DaViTBackbone(nn.Module):
    """DaViT with channel attention scaled by the number of tokens, as X-Decoder and Florence use it.

    Args:
        embed_dims: channels of the four stages.
        depths: pairs of a spatial (window) and a channel block per stage.
        num_heads: heads of the window attention, and groups of the channel attention, per stage.
        down_kernel_size: kernel of the convolutions between the stages: 2 (d3) or 3 (d5).
        window_size: side of the attention windows in tokens.
        drop_path_rate: stochastic depth rate of the last block; grows linearly from 0 over all blocks.
        out_indices: stages that are returned.
        use_checkpoint: recompute the blocks' activations in the backward pass.

    Attributes:
        output_channels: name of each returned map -> its channels.
    """

    def __init__(
        self,
        *,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        num_heads: Sequence[int],
        down_kernel_size: int = 2,
        window_size: int = 7,
        drop_path_rate: float = 0.3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.body = DaVit(
            depths=tuple(depths),
            embed_dims=tuple(embed_dims),
            num_heads=tuple(num_heads),
            window_size=window_size,
            down_kernel_size=down_kernel_size,
            channel_attn_v2=True,
            named_blocks=True,
            num_classes=0,
        )
        self.body.reset_classifier(0, "", reset_other=True)  # drops the classifier's norm, too
        self.body.set_grad_checkpointing(use_checkpoint)
        self._set_drop_path(drop_path_rate)
        self.out_indices = tuple(out_indices)
        self.output_channels: dict[str, int] = {f"res{i + 2}": embed_dims[i] for i in self.out_indices}

    @classmethod
    def from_config(cls, cfg: SeemConfig) -> DaViTBackbone:
        """Builds the backbone from ``MODEL.BACKBONE.DAVIT``."""
        c = cfg.MODEL.BACKBONE.DAVIT
        return cls(
            embed_dims=c.DIM_EMBED,
            depths=c.DEPTHS,
            num_heads=c.NUM_HEADS,
            down_kernel_size=c.PATCH_SIZE[1],
            drop_path_rate=c.DROP_PATH_RATE,
            out_indices=c.OUT_INDICES,
            use_checkpoint=c.ENABLE_CHECKPOINT,
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps normalised images (B, 3, H, W), sides multiples of 32, to "res2".."res5" at strides 4, 8, 16, 32."""
        maps = self.body.forward_intermediates(images, indices=list(self.out_indices), intermediates_only=True)
        return dict(zip(self.output_channels, cast(list[Tensor], maps), strict=True))

    def key_map(self, name: str) -> str:
        """Translates a name of the published layouts (``convs``/``blocks`` and ``conv_embeds``/``main_blocks``)."""
        name = name.removeprefix("image_encoder.")
        if match := re.fullmatch(r"(?:convs|conv_embeds)\.(\d+)\.(proj|norm)\.(\w+)", name):
            place = "stem" if match[1] == "0" else f"stages.{match[1]}.downsample"
            return f"body.{place}.{'conv' if match[2] == 'proj' else 'norm'}.{match[3]}"
        if match := re.fullmatch(r"(?:blocks|main_blocks)\.(\d+)\.(\d+)\.(\w+)\.(.+)\.(\w+)", name):
            stage, block, kind, inner, leaf = match.groups()
            for published, ours in _INNER.items():
                if inner == published or inner.startswith(f"{published}."):
                    inner = ours + inner.removeprefix(published)
                    break
            return f"body.stages.{stage}.blocks.{block}.{_KINDS.get(kind, kind)}.{inner}.{leaf}"
        return name

    def _set_drop_path(self, last: float) -> None:
        """Gives every block the published rate; timm's own schedule has one rate for both blocks of a pair."""
        stages: Any = self.body.stages
        blocks = [block for stage in stages for pair in stage.blocks for block in pair]
        for block, rate in zip(blocks, drop_path_rates(last, len(blocks)), strict=True):
            block.drop_path1, block.drop_path2 = DropPath(rate), DropPath(rate)
