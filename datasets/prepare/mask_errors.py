"""Texts for masks that do not fit: what was found, where, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..formats.color_table import Color, ColorTable
from .color_masks import UnknownColor

_SHOWN = 5
_SMOOTH = 32  # more colours than this in one mask do not come from forgotten categories
_HIGHEST_FIRST = 10  # the lowest class number of a mask is hardly higher


def size_mismatch(image: Path, image_size: tuple[int, ...], mask: Path, mask_size: tuple[int, ...]) -> str:
    """Describes a mask whose (height, width) is not its image's."""
    text = f"{mask}: {mask_size[1]} x {mask_size[0]} pixels, but {image} has {image_size[1]} x {image_size[0]}"
    if tuple(mask_size) == tuple(image_size)[::-1]:
        return text + " (the photograph carries an EXIF rotation, or the mask is turned: rotate one of them)"
    return text + " (export the mask at the image's size; resizing needs nearest-neighbour interpolation)"


def describe_unknown(found: Sequence[tuple[Path, list[UnknownColor]]], table: ColorTable) -> str:
    """Describes colours that are not in the table: total, the first places, and the probable cause.

    Args:
        found: masks with their unknown colours; empty: the text is empty.
        table: names the closest listed colours.
    """
    if not found:
        return ""
    pixels = sum(u.pixels for _, unknown in found for u in unknown)
    colors = {u.color for _, unknown in found for u in unknown}
    lines = [
        f"{pixels} pixels in {len(found)} masks have {len(colors)} colours that are not in the table. First places:"
    ]
    places = [(mask, entry) for mask, unknown in found for entry in unknown[:3]]
    for mask, entry in places[:_SHOWN]:
        x, y = entry.first
        near = table.nearest(entry.color)
        lines.append(f"{mask}: {list(entry.color)} at x {x}, y {y} ({entry.pixels} pixels; closest is {near})")
    lines.append(_cause(found, table))
    return "\n  ".join(lines)


def _class_numbers(colors: set[Color], table: ColorTable) -> str:
    """Returns what to do about masks whose pixels are class numbers, or nothing where the colours are colours."""
    numbers = sorted({red for red, green, blue in colors if red == green == blue})
    if len(numbers) < len(colors) or len(numbers) > _SMOOTH or numbers[0] > _HIGHEST_FIRST:
        return ""
    shown = ", ".join(map(str, numbers[:_SHOWN])) + (", ..." if len(numbers) > _SHOWN else "")
    number, name = numbers[0], table.categories[0].name
    return (
        f"All are grey: the masks seem to hold class numbers ({shown}) instead of colours. Give each category its "
        f"number three times as colour, e.g. {{name: {name}, color: [{number}, {number}, {number}]}}, and that of "
        "unlabelled pixels as ignore_color."
    )


def _cause(found: Sequence[tuple[Path, list[UnknownColor]]], table: ColorTable) -> str:
    if any(mask.suffix.lower() in (".jpg", ".jpeg", ".webp") for mask, _ in found):
        return "JPEG changes colours: export the masks as PNG, or accept small differences with --tolerance N."
    if numbers := _class_numbers({u.color for _, unknown in found for u in unknown}, table):
        return numbers
    if max(len(unknown) for _, unknown in found) > _SMOOTH:
        return (
            "So many colours come from smoothed (anti-aliased) edges or from resizing: export without smoothing, with "
            "nearest-neighbour interpolation, or accept small differences with --tolerance N."
        )
    return "Add them to the table (as a category, a shade, or ignore_color), or correct the masks."
