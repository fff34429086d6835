"""From image and prompt embeddings to masks: the mask decoder of Segment Anything (arXiv 2304.02643, appendix A).

Letters in shapes: P prompts, G = P or 1 image embeddings, T prompt tokens, C channels, g rows and columns of the image
embedding, M masks.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layers.image_encoder_vit import EPS, LayerNorm2d
from ...layers.linear import linear
from ...layers.mlp import MLP
from .two_way_transformer import TwoWayTransformer

# Numbers of image cells that are worked on at once on a CPU: one prompt of the published networks.
CACHED_VALUES = 2**20


class MaskDecoder(nn.Module):
    """Predicts masks and their IoU; parameters have the published names.

    Args:
        transformer_dim: channels C, a multiple of 8.
        transformer: lets tokens and image attend to each other.
        num_multimask_outputs: masks of an ambiguous prompt; one more is predicted for clear ones, as the first.
        iou_head_depth: layers of the IoU head.
        iou_head_hidden_dim: its hidden channels.
    """

    def __init__(
        self,
        transformer_dim: int,
        transformer: TwoWayTransformer,
        num_multimask_outputs: int = 3,
        iou_head_depth: int = 3,
        iou_head_hidden_dim: int = 256,
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.num_mask_tokens = num_multimask_outputs + 1
        self.iou_token = nn.Embedding(1, transformer_dim)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, transformer_dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(transformer_dim, transformer_dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(transformer_dim // 4, eps=EPS),
            nn.GELU(),
            nn.ConvTranspose2d(transformer_dim // 4, transformer_dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(transformer_dim, transformer_dim, transformer_dim // 8, 3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = MLP(transformer_dim, iou_head_hidden_dim, self.num_mask_tokens, iou_head_depth)

    def forward(
        self, image: Tensor, image_pe: Tensor, sparse: Tensor | None, dense: Tensor, multimask: bool | None
    ) -> tuple[Tensor, Tensor]:
        """Predicts masks.

        Args:
            image: image embeddings (G, C, g, g).
            image_pe: position code of their cells, (1, C, g, g).
            sparse: embeddings of points and boxes, (P, T, C); None: there are none, P is that of ``image`` and
                ``dense``.
            dense: embeddings of mask prompts, (P, C, g, g) or anything that broadcasts to it.
            multimask: True: the masks of an ambiguous prompt; False: the one of a clear prompt; None: all, this first.

        Returns:
            Logits (P, M, 4 g, 4 g) and predicted IoUs (P, M).
        """
        source = (image + dense).flatten(2).transpose(1, 2).contiguous()
        place = image_pe.flatten(2).transpose(1, 2).to(source.dtype)
        output = torch.cat((self.iou_token.weight, self.mask_tokens.weight))
        tokens = output.expand(len(source) if sparse is None else len(sparse), -1, -1)
        if sparse is not None:
            tokens = torch.cat((tokens, sparse.to(tokens.dtype)), dim=1)
        numbers = self._numbers(multimask)
        if not len(tokens):
            iou = source.new_zeros(0, len(numbers))
            return iou[..., None, None].expand(-1, -1, 4 * image.shape[2], 4 * image.shape[3]), iou
        # What the first block makes of a shared image is computed once; prompts go on one by one on a CPU.
        projections = self.transformer.project(source, place) if len(source) == 1 else None
        parts = []
        for start in range(0, len(tokens), step := _prompts_at_once(source, len(tokens))):
            some = slice(start, start + step)
            cells = source if len(source) == 1 else source[some]
            answers, cells = self.transformer(cells, place, tokens[some], projections)
            parts.append(self._answer(answers, cells, (image.shape[2], image.shape[3]), numbers))
        masks, iou = (x[0] if len(x) == 1 else torch.cat(x) for x in zip(*parts, strict=True))
        return masks, iou

    def _numbers(self, multimask: bool | None) -> range:
        """Returns which masks are wanted."""
        return range(self.num_mask_tokens)[{True: slice(1, None), False: slice(0, 1), None: slice(None)}[multimask]]

    def _answer(self, tokens: Tensor, cells: Tensor, size: tuple[int, int], numbers: range) -> tuple[Tensor, Tensor]:
        """Reads logits (P, M, 4 g, 4 g) and IoUs (P, M) from the transformer's tokens and cells."""
        iou = self.iou_prediction_head(tokens[:, 0])[:, numbers.start : numbers.stop]
        filters = [self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in numbers]
        return self._masks(cells, torch.stack(filters, dim=1), size), iou

    def _masks(self, source: Tensor, filters: Tensor, size: tuple[int, int]) -> Tensor:
        """Upscales the cells (P, g g, C) and multiplies them with the filters (P, M, C / 8) of each mask.

        A transposed convolution with kernel and stride 2 maps a cell to four without looking at others: it is a matrix
        product. The four stay beside each other in memory until the masks, with few channels, are put in order.
        """
        first, second = (cast(nn.ConvTranspose2d, self.output_upscaling[i]) for i in (0, 3))
        norm = cast(LayerNorm2d, self.output_upscaling[1])
        quarter = _upscale(source, first.weight, first.bias)  # (P, g g, 4, C / 4)
        quarter = F.gelu(nn.LayerNorm.forward(norm, quarter))  # the channels are last here
        eighth = F.gelu(_upscale(quarter, second.weight, second.bias))  # (P, g g, 4, 4, C / 8)
        masks = filters @ eighth.flatten(1, 3).transpose(1, 2)  # (P, M, g g 16)
        masks = masks.unflatten(-1, (*size, 2, 2, 2, 2))  # rows, columns; row and column in a cell, in its quarter
        return masks.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(*masks.shape[:2], 4 * size[0], 4 * size[1])


def _prompts_at_once(source: Tensor, prompts: int) -> int:
    """Returns how many prompts to answer together: on a CPU, without gradients, as many as the caches hold."""
    if source.device.type != "cpu" or torch.is_grad_enabled():
        return max(prompts, 1)
    return max(CACHED_VALUES // source[0].numel(), 1)


def _upscale(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Applies a transposed convolution of kernel and stride 2 to single cells.

    Args:
        x: (..., C).
        weight: (C, D, 2, 2).
        bias: (D,).

    Returns:
        (..., 4, D): the cell's four parts, row by row.
    """
    matrix = weight.permute(2, 3, 1, 0).flatten(0, 2)
    return linear(x, matrix, None if bias is None else bias.repeat(4)).unflatten(-1, (4, -1))
