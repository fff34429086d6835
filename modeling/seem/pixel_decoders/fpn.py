"""Pixel decoder ``transformer_encoder_fpn``: a transformer on the coarsest map, then a feature pyramid.

MaskFormer (arXiv 2107.06278), section 4.1, with X-Decoder's transformer on top. Letters in shapes: B batch, h and w
rows and columns of a map, d = ``conv_dim``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ...layers.conv import ConvNorm, init_conv
from ...layers.position import sine_position_encoding
from ...layers.transformer_encoder import TransformerEncoder


class FPNPixelDecoder(nn.Module):
    """Transformer encoder on res5, top-down pyramid over res4..res2.

    Args:
        input_channels: name of each backbone map -> channels, fine to coarse.
        conv_dim: channels d of all inner maps.
        mask_dim: channels of the mask features.
        norm: "GN" or "".
        num_layers: transformer layers.
        num_heads: attention heads.
        feedforward_dim: hidden channels of the transformer's perceptrons.
        dropout: dropout of the transformer.
        pre_norm: pre-norm transformer layers with a final norm.
        transformer_features: not used; for the common signature of pixel decoders.
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
        feedforward_dim: int = 2048,
        dropout: float = 0.0,
        pre_norm: bool = False,
        transformer_features: Sequence[str] = (),
    ) -> None:
        super().__init__()
        del transformer_features
        self.in_features = tuple(input_channels)
        *lateral_channels, coarsest_channels = input_channels.values()
        for number, channels in enumerate(lateral_channels, start=1):
            self.add_module(f"adapter_{number}", ConvNorm(channels, conv_dim, 1, norm))
        for number in range(1, len(input_channels) + 1):
            self.add_module(f"layer_{number}", ConvNorm(conv_dim, conv_dim, 3, norm, F.relu))
        self.input_proj = nn.Conv2d(coarsest_channels, conv_dim, 1)
        encoder = TransformerEncoder(num_layers, conv_dim, num_heads, feedforward_dim, dropout, pre_norm)
        self.transformer = nn.ModuleDict({"encoder": encoder})
        self.mask_features = nn.Conv2d(conv_dim, mask_dim, 3, padding=1)
        init_conv(self.input_proj)
        init_conv(self.mask_features)

    def forward(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Decodes the backbone's maps.

        Args:
            features: "res2".."res5", each (B, C, h, w).

        Returns:
            Mask features (B, mask_dim, h, w) at stride 4; transformer features (B, d, h, w) at stride 32; three maps
            (B, d, h, w) at strides 32, 16, 8.
        """
        *finer, coarsest = self.in_features
        encoded = self._encode(features[coarsest])
        y = self.get_submodule(f"layer_{len(self.in_features)}")(encoded)
        pyramid = [y]
        for number, name in reversed(list(enumerate(finer, start=1))):
            lateral = self.get_submodule(f"adapter_{number}")(features[name])
            y = lateral + F.interpolate(y, size=lateral.shape[-2:], mode="nearest")
            y = self.get_submodule(f"layer_{number}")(y)
            pyramid.append(y)
        return self.mask_features(y), encoded, pyramid[:3]

    def _encode(self, x: Tensor) -> Tensor:
        """Runs the transformer over the cells of the coarsest map."""
        x = self.input_proj(x)
        batch, channels, height, width = x.shape
        pos = sine_position_encoding((height, width), channels, device=x.device).flatten(2).transpose(1, 2)
        tokens = self.transformer["encoder"](x.flatten(2).transpose(1, 2), pos)
        return tokens.transpose(1, 2).reshape(batch, channels, height, width)
