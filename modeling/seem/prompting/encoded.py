"""Images that went through backbone and pixel decoder, for any number of requests and rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..decoder.image_levels import DecoderFeatures


@dataclass
class EncodedGroup:
    """Images of one padded size.

    Attributes:
        places: where each stands among all encoded images.
        features: what the decoder reads.
        padded_size: (height, width) of the network's input.
        image_sizes: (height, width) of each image without padding.
        output_sizes: (height, width) of each original image.
    """

    places: list[int]
    features: DecoderFeatures
    padded_size: tuple[int, int]
    image_sizes: list[tuple[int, int]]
    output_sizes: list[tuple[int, int]]

    def select(self, rows: Sequence[int], places: Sequence[int]) -> EncodedGroup:
        """Returns the images of some rows, which may repeat, at new places."""
        everything = list(rows) == list(range(len(self.places)))
        return EncodedGroup(
            list(places),
            self.features if everything else self.features.select(rows),
            self.padded_size,
            [self.image_sizes[row] for row in rows],
            [self.output_sizes[row] for row in rows],
        )


@dataclass
class Encoded:
    """A batch of encoded images, by padded size: what is computed for an image does not depend on the others."""

    groups: list[EncodedGroup]

    def __len__(self) -> int:
        return sum(len(group.places) for group in self.groups)

    def locate(self) -> list[tuple[int, int]]:
        """Returns the (group, row) of each image."""
        found = {p: (g, row) for g, group in enumerate(self.groups) for row, p in enumerate(group.places)}
        return [found[place] for place in range(len(found))]

    def select(self, places: Sequence[int]) -> Encoded:
        """Returns some of the images, in this order; one may be taken several times."""
        where = self.locate()
        groups = []
        for number, group in enumerate(self.groups):
            chosen = [(where[place][1], new) for new, place in enumerate(places) if where[place][0] == number]
            if chosen:
                groups.append(group.select([row for row, _ in chosen], [new for _, new in chosen]))
        return Encoded(groups)
