"""Which mask belongs to which image, where both folders must agree: by relative path without suffix, or by patterns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from .listing import Listing


@dataclass(frozen=True)
class Pairs:
    """Two folders compared.

    Attributes:
        pairs: (image, mask) files, in the order of the images.
        lone_images: names of images without mask, relative to their folder.
        lone_masks: names of masks without image.
        ambiguous: groups of files of one folder that no name tells apart, as texts ``a.jpg, a.png``.
    """

    pairs: list[tuple[Path, Path]]
    lone_images: list[str]
    lone_masks: list[str]
    ambiguous: list[str]


def pair(images: Listing, masks: Listing, names: Collection[str] | None = None) -> Pairs:
    """Pairs images with masks; a mask's suffix may differ from its image's.

    Args:
        images: folder of images.
        masks: folder of masks.
        names: images that count; the masks of others are no lone ones. None: all.
    """
    key = _key(images, masks)
    by_image, by_mask = _grouped(images.names, lambda n: key(images, n)), _grouped(masks.names, lambda n: key(masks, n))
    chosen = None if names is None else set(names)
    pairs, lone, twice = [], [], []
    for group in by_mask.values():
        if len(group) > 1:
            twice.append(", ".join(str(masks.folder / name) for name in group))
    for name, group in by_image.items():
        kept = [n for n in group if chosen is None or n in chosen]
        if not kept:
            continue
        if len(kept) > 1:
            twice.append(", ".join(str(images.folder / n) for n in kept))
        found = by_mask.get(name, [])
        if not found:
            lone += kept
        else:
            pairs.append((images.folder / kept[0], masks.folder / found[0]))
    extra = [] if chosen is not None else [n for name, group in by_mask.items() if name not in by_image for n in group]
    return Pairs(pairs, lone, extra, twice)


def _key(images: Listing, masks: Listing) -> Callable[[Listing, str], tuple[str, ...]]:
    """Returns what files are compared by: as many texts of its pattern as both have, from the right."""
    count = min(len(listing.key(listing.names[0])) for listing in (images, masks))
    return lambda listing, name: listing.key(name)[-count:]


def _grouped(names: Sequence[str], key: Callable[[str], tuple[str, ...]]) -> dict[tuple[str, ...], list[str]]:
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups
