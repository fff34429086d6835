"""What an architecture that can be written as a graph for other programs offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn


class InferenceGraph(nn.Module):
    """A network from one image to masks and their classes, without control flow on data: what ``export`` writes.

    ``forward`` maps images (1, 3, H, W) float32 RGB 0..255 to class probabilities (1, Q, K + 1), the last one of "no
    object", and mask logits (1, Q, h, w), both float32.

    Args:
        divisibility: H and W are multiples of this.
    """

    def __init__(self, divisibility: int) -> None:
        super().__init__()
        self.divisibility = divisibility


class Exportable(ABC):
    """A meta-architecture with a graph of image encoder and panoptic head."""

    @abstractmethod
    def inference_graph(self) -> InferenceGraph:
        """Returns the network with its present vocabulary as one graph, sharing the parameters."""
