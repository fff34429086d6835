"""Image encoder and panoptic head as one static graph: what is exported.

Letters in shapes: K categories without background, Q object queries, P width of the joint text space, H and W rows and
columns of the image.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from ..exportable import InferenceGraph
from .text.text_towers import TextEncoder


class FixedVocabulary(TextEncoder):
    """Stands in for the text encoder where the texts are embedded already: only the scale of the logits is left.

    Args:
        logit_scale: the text encoder's scalar.
    """

    def __init__(self, logit_scale: Tensor) -> None:
        super().__init__()
        self.structure = "fixed"
        self.logit_scale = nn.Parameter(logit_scale.detach().clone(), requires_grad=False)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Raises: there is no tower."""
        raise NotImplementedError("the texts of this model are fixed")


class PanopticGraph(InferenceGraph):
    """Normalisation, backbone, pixel decoder and object queries, with the class embeddings as constants.

    Args:
        backbone: images to maps.
        pixel_decoder: maps to mask features and multi-scale maps.
        predictor: SEEM's decoder; its text tower is left out.
        class_embeddings: (K + 1, P) unit length, the last one of "background".
        mean: per channel, RGB 0..255.
        std: per channel, RGB 0..255.
        divisibility: both sides of the image are multiples of this.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        pixel_decoder: nn.Module,
        predictor: nn.Module,
        class_embeddings: Tensor,
        mean: Tensor,
        std: Tensor,
        divisibility: int,
    ) -> None:
        super().__init__(divisibility)
        self.backbone = backbone
        self.pixel_decoder = pixel_decoder
        self.predictor = _without_text_tower(predictor)
        self.register_buffer("class_embeddings", class_embeddings.detach().clone())
        self.register_buffer("mean", mean.detach().clone())
        self.register_buffer("std", std.detach().clone())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Segments one image.

        Args:
            image: (1, 3, H, W) float32 RGB 0..255; H and W are multiples of ``divisibility``.

        Returns:
            Class probabilities (1, Q, K + 1), the last one of "no object", and mask logits (1, Q, H / 4, W / 4);
            both float32.
        """
        features = self.backbone((image - self.mean) / self.std)
        mask_features, _, maps = self.pixel_decoder(features)
        output = self.predictor(maps, mask_features, self.class_embeddings)
        return output.final.logits.float().softmax(dim=-1), output.masks().float()


def _without_text_tower(predictor: Any) -> nn.Module:
    """Returns the decoder with the same parameters, save those of the text tower."""
    bare = copy.copy(predictor)
    bare._modules = {**predictor._modules, "lang_encoder": FixedVocabulary(predictor.lang_encoder.logit_scale)}
    return bare
