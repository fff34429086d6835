"""Images that went through SAM's image encoder, for any number of prompts.

Letters in shapes: B images, C channels, g rows and columns of the image embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Encoded:
    """B encoded images.

    Attributes:
        embeddings: (B, C, g, g) float32.
        input_sizes: (height, width) of each image in the network's input, without padding.
        output_sizes: (height, width) that its masks are wanted at.
        truths: (height, width) bool, the true foreground of each image at that size, or None.
    """

    embeddings: Tensor
    input_sizes: list[tuple[int, int]]
    output_sizes: list[tuple[int, int]]
    truths: list[np.ndarray | None]

    def __len__(self) -> int:
        return len(self.input_sizes)

    def select(self, places: Sequence[int]) -> Encoded:
        """Returns some of the images, in this order; one may be taken several times."""
        everything = list(places) == list(range(len(self)))
        return Encoded(
            self.embeddings if everything else self.embeddings[list(places)],
            [self.input_sizes[place] for place in places],
            [self.output_sizes[place] for place in places],
            [self.truths[place] for place in places],
        )
