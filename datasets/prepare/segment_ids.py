"""Segment ids whose colours look like their category: the rule of the COCO panoptic tools.

A stuff category always has the id of its own colour; the first instance of a thing in an image has its category's
colour, later ones a random colour within 30 of it per channel; 0 (VOID) is never given out. Ids are unique within an
image and depend only on (seed, image name, order of requests).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ...utils.structures.category import Category

_SPREAD = 30
_TRIES = 1000


class SegmentIds:
    """Gives out the ids of one image.

    Args:
        categories: of the data set; ids are asked for by category index.
        seed: of the data set.
        image: name of the image; another name, other random colours.
    """

    def __init__(self, categories: Sequence[Category], seed: int, image: str) -> None:
        self._categories = categories
        digest = hashlib.blake2b(f"{seed}/{image}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self._rng = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
        self._stuff = stuff_ids(categories)
        self._taken = {0, *self._stuff.values()}

    def take(self, index: int) -> int:
        """Returns an id for a segment of category ``index``; for stuff the same one each time."""
        if index in self._stuff:
            return self._stuff[index]
        base = self._categories[index].color
        segment_id, spread, tries = _id_of(base), _SPREAD, 0
        while segment_id in self._taken:
            drawn = self._rng.integers(-spread, spread + 1, size=3).tolist()
            segment_id = _id_of([min(max(b + d, 0), 255) for b, d in zip(base, drawn, strict=True)])
            tries += 1
            if tries % _TRIES == 0:  # a dark or bright colour has used up its neighbourhood
                spread = min(2 * spread, 255)
        self._taken.add(segment_id)
        return segment_id


def stuff_ids(categories: Sequence[Category]) -> dict[int, int]:
    """Returns the id of each stuff category by category index.

    A black category cannot have the id of its colour, 0: it gets the first free one above.
    """
    ids = {i: _id_of(c.color) for i, c in enumerate(categories) if not c.isthing}
    for index in (i for i, value in ids.items() if value == 0):
        used = set(ids.values())
        ids[index] = next(value for value in range(1, len(ids) + 2) if value not in used)
    return ids


def _id_of(color: Sequence[int]) -> int:
    red, green, blue = color
    return red + 256 * green + 65536 * blue
