"""Points, boxes and masks as embeddings: the prompt encoder of Segment Anything (arXiv 2304.02643, appendix A).

Letters in shapes: P prompts, K points of a prompt, T tokens, C channels, g rows and columns of the image embedding,
S side of the padded input in pixels.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from ...layers.full_precision import full_precision
from ...layers.image_encoder_vit import EPS, LayerNorm2d

IGNORED = -1  # label of a point that stands for no point
BOX_CORNER = 2  # label of a box's first corner; its second corner has the next one


class PositionEmbeddingRandom(nn.Module):
    """Random Fourier features of places (Tancik et al., arXiv 2006.10739); always in float32.

    Args:
        num_pos_feats: C / 2: sines first, then as many cosines.
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, num_pos_feats: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, num_pos_feats))

    def forward(self, places: Tensor) -> Tensor:
        """Maps places (..., 2) as (x, y) in 0..1 to (..., C) float32."""
        with full_precision(places.device.type):
            matrix = self.positional_encoding_gaussian_matrix.float()
            angle = (2 * math.pi) * ((2 * places.float() - 1) @ matrix)
            return torch.cat((angle.sin(), angle.cos()), dim=-1)


class PromptEncoder(nn.Module):
    """Embeds prompts; parameters have the published names.

    Args:
        embed_dim: channels C, even.
        image_embedding_size: side g of the image embedding.
        input_image_size: side S of the padded input in pixels.
        mask_in_chans: channels inside the embedding of mask prompts.
    """

    def __init__(
        self, embed_dim: int, image_embedding_size: int, input_image_size: int, mask_in_chans: int = 16
    ) -> None:
        super().__init__()
        self.image_embedding_size = image_embedding_size
        self.input_image_size = input_image_size
        self.pe_layer = PositionEmbeddingRandom(embed_dim // 2)
        # Background point, foreground point, first and second corner of a box: the labels 0 to 3.
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, embed_dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, embed_dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_in_chans // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_in_chans // 4, eps=EPS),
            nn.GELU(),
            nn.Conv2d(mask_in_chans // 4, mask_in_chans, kernel_size=2, stride=2),
            LayerNorm2d(mask_in_chans, eps=EPS),
            nn.GELU(),
            nn.Conv2d(mask_in_chans, embed_dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, embed_dim)

    @property
    def mask_input_size(self) -> int:
        """Side of mask prompts and of the decoder's masks: 4 g."""
        return 4 * self.image_embedding_size

    def forward(
        self,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor]:
        """Embeds the prompts of a batch; each kind is there for all P prompts or for none.

        Args:
            points: (P, K, 2) as (x, y) in pixels of the padded input; 0 is the centre of the first pixel.
            labels: (P, K): 1 foreground, 0 background, -1 no point (fills up prompts with fewer points), 2 and 3 the
                top left and bottom right corner of a box. Without ``boxes`` one point of label -1 is appended, as in
                training.
            boxes: (P, 4) as x0, y0, x1, y1 in the same pixels.
            masks: logits of a mask, (P, 1, 4 g, 4 g).

        Returns:
            Sparse embeddings (P, T, C), or None where there are neither points nor boxes; dense embeddings
            (P, C, g, g), or (1, C, 1, 1) where there are no masks.

        Raises:
            ValueError: if points and labels do not belong together, or masks have another size.
        """
        if (None if points is None else points.shape[:2]) != (None if labels is None else labels.shape):
            raise ValueError("points and labels come together: one label for each point")
        if masks is not None and masks.shape[1:] != (1, self.mask_input_size, self.mask_input_size):
            side = self.mask_input_size
            raise ValueError(f"mask prompts have the shape {tuple(masks.shape)}, expected (P, 1, {side}, {side})")
        sparse = []
        if points is not None and labels is not None:
            sparse.append(self._embed_points(points, labels, pad=boxes is None))
        if boxes is not None:
            corners = boxes.reshape(-1, 2, 2)
            labels = torch.tensor([BOX_CORNER, BOX_CORNER + 1], device=boxes.device).expand(len(boxes), 2)
            sparse.append(self._embed_points(corners, labels, pad=False))
        dense = self.mask_downscaling(masks) if masks is not None else self.no_mask_embed.weight[:, :, None, None]
        return (torch.cat(sparse, dim=1) if sparse else None), dense

    def dense_pe(self) -> Tensor:
        """Returns the position code of the image embedding's cells, (1, C, g, g) float32."""
        size = self.image_embedding_size
        centres = (torch.arange(size, device=self.no_mask_embed.weight.device, dtype=torch.float32) + 0.5) / size
        places = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)
        return self.pe_layer(places).permute(2, 0, 1)[None]

    def _embed_points(self, points: Tensor, labels: Tensor, pad: bool) -> Tensor:
        """Maps (P, K, 2) and (P, K) to (P, K, C), one more with ``pad``."""
        if pad:
            points = torch.cat((points, points.new_zeros(len(points), 1, 2)), dim=1)
            labels = torch.cat((labels, labels.new_full((len(labels), 1), IGNORED)), dim=1)
        codes = self.pe_layer((points.float() + 0.5) / self.input_image_size)
        codes = codes * (labels != IGNORED)[..., None]
        embeddings = cast(list[nn.Embedding], [self.not_a_point_embed, *self.point_embeddings])
        kinds = torch.cat([embedding.weight for embedding in embeddings])
        return codes + kinds[labels.long() - IGNORED]
