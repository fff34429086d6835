"""A category of a data set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Category:
    """One category of a data set record.

    Attributes:
        id: the data set's own id (any non-negative integer); files use it.
        name: text shown to people and given to the text encoder.
        isthing: countable (instances) or not (stuff).
        color: RGB, 0..255.
        supercategory: COCO's group name, or an empty string.
    """

    id: int
    name: str
    isthing: bool
    color: tuple[int, int, int]
    supercategory: str = ""
