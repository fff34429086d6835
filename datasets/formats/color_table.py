"""The table that says which colour of a colour-coded mask is which category.

YAML or JSON: ``categories: [{name, color, isthing, ...}]`` with ``ignore_color``, or the list alone. CSV: a header
with ``name``, ``color`` (or ``r``, ``g``, ``b``) and ``kind`` (thing, stuff, ignore).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import DataError, did_you_mean
from ...utils.structures.category import Category
from ..records.record import parse_categories, parse_color
from .panoptic import rgb_to_id
from .yaml_file import parse_yaml

INSTANCE_RULES = ("component", "color")
VOID_INDEX = -1
UNKNOWN = -2

_KEYS = ("id", "name", "color", "isthing", "kind", "supercategory", "shades", "range", "instances", "r", "g", "b")
_KINDS = {"thing": True, "stuff": False, "1": True, "0": False, "true": True, "false": False}

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Coding:
    """How one category is coloured.

    Attributes:
        shades: all single colours that mean the category; the first is its own colour.
        range: lowest and highest R, G, B (inclusive) of a box of colours that mean it too, or None.
        instances: rule that splits it, one of INSTANCE_RULES, or None: the caller's default. Stuff is never split.
    """

    shades: tuple[Color, ...]
    range: tuple[Color, Color] | None = None
    instances: str | None = None


@dataclass(frozen=True)
class ColorTable:
    """Categories with their colours in masks; ``codings[i]`` belongs to ``categories[i]``."""

    categories: tuple[Category, ...]
    codings: tuple[Coding, ...]
    ignore_colors: tuple[Color, ...] = ()

    def assign(self, colors: np.ndarray, tolerance: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Says what each colour means.

        Args:
            colors: (N, 3) uint8.
            tolerance: a colour of no category counts as the nearest listed one when no channel differs by more.

        Returns:
            Category index (N,) int64, VOID_INDEX for ignored, UNKNOWN for others; and the listed colour it was taken
            for, (N,) int32 as R + 256 G + 65536 B (its own value where it matched a range or nothing).
        """
        meaning = np.full(len(colors), UNKNOWN, np.int64)
        packed = rgb_to_id(colors)
        listed = [(color, i) for i, coding in enumerate(self.codings) for color in coding.shades]
        listed += [(color, VOID_INDEX) for color in self.ignore_colors]
        shades = np.array([color for color, _ in listed], np.uint8)
        owners = np.array([owner for _, owner in listed], np.int64)
        keys = rgb_to_id(shades)
        order = np.argsort(keys)
        place = order[np.searchsorted(keys, packed, sorter=order).clip(max=len(keys) - 1)]
        exact = keys[place] == packed
        meaning[exact] = owners[place[exact]]
        for index, coding in enumerate(self.codings):
            if coding.range is not None:
                low, high = coding.range
                inside = (meaning == UNKNOWN) & ((colors >= low) & (colors <= high)).all(axis=1)
                meaning[inside] = index
        for number in np.flatnonzero(meaning == UNKNOWN) if tolerance > 0 else ():
            distance = np.abs(shades.astype(np.int16) - colors[number].astype(np.int16)).max(axis=1)
            if distance.min() <= tolerance:
                meaning[number] = owners[distance.argmin()]
                packed[number] = keys[distance.argmin()]
        return meaning, packed

    def nearest(self, color: Color) -> str:
        """Returns the listed category whose colour is closest, as ``name [r, g, b]``."""
        listed = [
            (shade, c.name) for c, coding in zip(self.categories, self.codings, strict=True) for shade in coding.shades
        ]
        listed += [(shade, "ignored") for shade in self.ignore_colors]
        shade, name = min(listed, key=lambda entry: sum((a - b) ** 2 for a, b in zip(entry[0], color, strict=True)))
        return f"{name} {list(shade)}"


def read_color_table(path: str | Path) -> ColorTable:
    """Reads a colour table; the suffix decides the syntax (.csv, else YAML, of which JSON is a part).

    Raises:
        DataError: unknown key, missing name or colour, a colour, name or id given twice, colours that two categories
            share through a range.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such colour table") from error
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(
            f"{path}: not a readable text file ({error}); expected a YAML, JSON or CSV colour table"
        ) from error
    return parse_color_table(
        _csv_rows(text, path) if path.suffix.lower() == ".csv" else parse_yaml(text, path), str(path)
    )


def parse_color_table(data: Any, where: str) -> ColorTable:
    """Checks a colour table's data, see :func:`read_color_table`; ``where`` prefixes errors."""
    ignore: list[Color] = []
    if isinstance(data, Mapping):
        for name in data:
            if name not in ("categories", "ignore_color"):
                hint = did_you_mean(str(name), ("categories", "ignore_color"))
                raise DataError(f"{where}: unknown key {name!r}{hint} Known: categories, ignore_color.")
        ignore += _color_list(data.get("ignore_color"), f"{where}: ignore_color")
        data = data.get("categories")
    if not isinstance(data, list) or not data:
        raise DataError(f"{where}: expected a list of categories {{name: cup, color: [220, 20, 60], isthing: true}}")
    entries: list[dict[str, Any]] = []
    codings: list[Coding] = []
    for number, row in enumerate(data):
        place = f"{where}: categories[{number}]"
        if not isinstance(row, Mapping):
            raise DataError(f"{place}: expected a mapping {{name, color, isthing}}, found {row!r}")
        for name in row:
            if name not in _KEYS:
                raise DataError(
                    f"{place}: unknown key {name!r}{did_you_mean(str(name), _KEYS) or '.'} Known: {', '.join(_KEYS)}."
                )
        color = _row_color(row, place)
        if row.get("kind") == "ignore":
            ignore.append(color)
            continue
        entries.append(_category_entry(row, color, len(entries) + 1, place))
        codings.append(_coding(row, color, place))
    categories = parse_categories(entries, f"{where}: categories")
    table = ColorTable(categories, tuple(codings), tuple(dict.fromkeys(ignore)))
    _check_distinct(table, where)
    return table


def _csv_rows(text: str, path: Path) -> list[dict[str, Any]]:
    sample = text.splitlines()[0] if text.strip() else ""
    delimiter = max(",;\t", key=sample.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    rows: list[dict[str, Any]] = []
    for values in _parsed(reader, path):
        if None in values or None in values.values():
            raise DataError(f"{path}: line {reader.line_num} has not as many columns as the header")
        row: dict[str, Any] = {k.strip().lower(): v.strip() for k, v in values.items() if v.strip()}
        for name in ("id", "r", "g", "b"):
            if name in row:
                row[name] = _number(row[name])
        if "color" in row and not row["color"].startswith("#"):
            parts = row["color"].strip("[]()").replace(",", " ").split()
            row["color"] = [_number(part) for part in parts]
        if row:
            rows.append(row)
    return rows


def _parsed(reader: csv.DictReader[str], path: Path) -> Iterator[dict[Any, Any]]:
    try:
        yield from reader
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num + 1} is no CSV ({error})") from error


def _number(word: str) -> int | str:
    """Returns a whole number; a word that is none, or one of more digits than any id or colour, as it is."""
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 10 else word


def _row_color(row: Mapping[str, Any], where: str) -> Color:
    if "color" not in row and all(channel in row for channel in "rgb"):
        return parse_color([row["r"], row["g"], row["b"]], f"{where}.r, g, b")
    if row.get("color") is None:
        raise DataError(f"{where} ({row.get('name', 'no name')}): the key `color` is missing")
    return parse_color(row["color"], f"{where}.color")


def _category_entry(row: Mapping[str, Any], color: Color, number: int, where: str) -> dict[str, Any]:
    kind = row.get("kind", row.get("isthing"))
    isthing = _KINDS.get(str(kind).lower())
    if isthing is None:
        raise DataError(
            f"{where} ({row.get('name', 'no name')}): `kind` or `isthing` is {kind!r}; expected thing (countable, "
            "isthing: true), stuff (isthing: false)" + (" or ignore" if "kind" in row else "")
        )
    entry = {"id": row.get("id", number), "name": row.get("name"), "isthing": isthing, "color": list(color)}
    return entry | ({"supercategory": row["supercategory"]} if "supercategory" in row else {})


def _coding(row: Mapping[str, Any], color: Color, where: str) -> Coding:
    rule = row.get("instances")
    if rule is not None and rule not in INSTANCE_RULES:
        raise DataError(
            f"{where}.instances: {rule!r}{did_you_mean(str(rule), INSTANCE_RULES) or '.'} "
            f"Known: {', '.join(INSTANCE_RULES)}."
        )
    shades = tuple(dict.fromkeys([color, *_color_list(row.get("shades"), f"{where}.shades")]))
    box = None
    if row.get("range") is not None:
        if not isinstance(row["range"], list) or len(row["range"]) != 2:
            raise DataError(f"{where}.range: expected two colours, the lowest and the highest value of each channel")
        low, high = (parse_color(corner, f"{where}.range") for corner in row["range"])
        if any(a > b for a, b in zip(low, high, strict=True)):
            raise DataError(f"{where}.range: {list(low)} is above {list(high)} in a channel; give lowest, then highest")
        box = (low, high)
    return Coding(shades, box, rule)


def _color_list(value: Any, where: str) -> list[Color]:
    if value is None:
        return []
    if isinstance(value, list) and value and isinstance(value[0], (list, str)):
        return [parse_color(entry, where) for entry in value]
    return [parse_color(value, where)]


def _check_distinct(table: ColorTable, where: str) -> None:
    """Refuses a colour that would mean two things."""
    owners: dict[Color, str] = dict.fromkeys(table.ignore_colors, "ignore_color")
    boxes = [(c.name, coding.range) for c, coding in zip(table.categories, table.codings, strict=True) if coding.range]
    for category, coding in zip(table.categories, table.codings, strict=True):
        for shade in coding.shades:
            if shade in owners:
                raise DataError(f"{where}: the colour {list(shade)} means both {owners[shade]!r} and {category.name!r}")
            owners[shade] = category.name
    for number, (name, box) in enumerate(boxes):
        for shade, owner in owners.items():
            if owner != name and all(lo <= v <= hi for lo, v, hi in zip(box[0], shade, box[1], strict=True)):
                raise DataError(f"{where}: the range of {name!r} holds the colour {list(shade)} of {owner!r}")
        for other, second in boxes[number + 1 :]:
            if all(max(a, c) <= min(b, d) for a, b, c, d in zip(*box, *second, strict=True)):
                raise DataError(f"{where}: the ranges of {name!r} and {other!r} overlap")
