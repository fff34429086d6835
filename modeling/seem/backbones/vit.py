"""Backbone ``vit``: SAM's image encoder with a feature pyramid in place of its neck.

Letters in shapes: B images, H and W rows and columns of the image, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ...layers.image_encoder_vit import SIZES, ImageEncoderViT, fit_positions
from ..config import SeemConfig
from ..config_backbone import LEVELS

# Channels of res2..res5 for every size of the encoder.
PYRAMID_CHANNELS = (128, 256, 512, 1024)
SAM_PREFIX = "image_encoder."


class SimpleFeaturePyramid(nn.Module):
    """Four maps from the one map of a plain ViT (ViTDet, arXiv 2203.16527, section 3), in X-Decoder's form.

    Args:
        in_channels: channels C of the ViT.
        out_channels: channels of the maps at strides 4, 8, 16, 32.
    """

    def __init__(self, in_channels: int, out_channels: Sequence[int] = PYRAMID_CHANNELS) -> None:
        super().__init__()
        quarter = max(2 * out_channels[0], in_channels // 2)
        eighth = max(out_channels[1], in_channels // 2)
        coarse = max(out_channels[3], 2 * in_channels)
        self.down_4 = nn.Sequential(
            *_resize(nn.ConvTranspose2d(in_channels, quarter, 2, stride=2)),
            nn.GELU(),
            *_resize(nn.ConvTranspose2d(quarter, quarter // 2, 2, stride=2)),
            *_project(quarter // 2, out_channels[0]),
        )
        self.down_8 = nn.Sequential(
            *_resize(nn.ConvTranspose2d(in_channels, eighth, 2, stride=2)), *_project(eighth, out_channels[1])
        )
        self.down_16 = nn.Sequential(*_project(in_channels, out_channels[2]))
        self.down_32 = nn.Sequential(
            *_resize(nn.Conv2d(in_channels, coarse, 2, stride=2)), *_project(coarse, out_channels[3])
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps (B, C, H / 16, W / 16) to "res2".."res5" with strides 4, 8, 16, 32."""
        stages = (self.down_4, self.down_8, self.down_16, self.down_32)
        return {name: stage(x) for name, stage in zip(LEVELS, stages, strict=True)}


class ViTBackbone(ImageEncoderViT):
    """SAM's image encoder as a backbone of SEEM.

    Args:
        size: "base", "large" or "huge".
        img_size: image side in pixels that the position tables are made for.
        out_features: maps that are returned.
        use_checkpoint: recompute the blocks' activations in the backward pass.

    Attributes:
        output_channels: name of each returned map -> its channels.
    """

    def __init__(
        self, size: str, *, img_size: int = 1024, out_features: Sequence[str] = LEVELS, use_checkpoint: bool = False
    ) -> None:
        c = SIZES[size]
        super().__init__(
            embed_dim=c.embed_dim,
            depth=c.depth,
            num_heads=c.num_heads,
            global_attn_indexes=c.global_attn_indexes,
            neck=SimpleFeaturePyramid(c.embed_dim),
            img_size=img_size,
            use_checkpoint=use_checkpoint,
        )
        channels = dict(zip(LEVELS, PYRAMID_CHANNELS, strict=True))
        self.output_channels: dict[str, int] = {name: channels[name] for name in out_features}

    @classmethod
    def from_config(cls, cfg: SeemConfig) -> ViTBackbone:
        """Builds the backbone from ``MODEL.BACKBONE.VIT``."""
        c = cfg.MODEL.BACKBONE.VIT
        return cls(c.SIZE, img_size=c.IMAGE_SIZE, out_features=c.OUT_FEATURES, use_checkpoint=c.USE_CHECKPOINT)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps normalised images (B, 3, H, W), sides multiples of 32, to "res2".."res5" at strides 4, 8, 16, 32."""
        features = super().forward(images)
        return {name: features[name] for name in self.output_channels}

    def fit_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Takes the image encoder out of a SAM file and fits its positions; SAM's neck has no place here."""
        encoder = {n.removeprefix(SAM_PREFIX): t for n, t in state.items() if n.startswith(SAM_PREFIX)}
        if encoder:
            encoder = {name: tensor for name, tensor in encoder.items() if not name.startswith("neck.")}
        return fit_positions(encoder or state, self.state_dict())


def _resize(conv: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, nn.Module]:
    """Returns a strided convolution and its norm."""
    return conv, nn.GroupNorm(1, conv.out_channels)


def _project(in_channels: int, out_channels: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Returns a 1x1 convolution, its norm and the activation."""
    return nn.Conv2d(in_channels, out_channels, 1), nn.GroupNorm(1, out_channels), nn.GELU()
