"""Sentences that describe segments: the user's own ones, and templates where there are none.

The grounding JSON is ``{images, categories, annotations: [{id, image_id, category_id, segment_id, area, bbox,
segmentation (RLE), sentences: [{sent_id, raw}]}]}``, one annotation per segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import DataError, did_you_mean
from ...utils.structures.category import Category
from .yaml_file import read_yaml

_THING_TEMPLATES = (
    "the {name}",
    "{a} {name}",
    "{a} {name} in the picture",
    "find the {name}",
    "the {name} in this photo",
)
_STUFF_TEMPLATES = ("the {name}", "all of the {name}", "the area of {name}", "where the {name} is", "{name}")


@dataclass(frozen=True)
class OwnSentences:
    """Sentences a user wrote.

    Attributes:
        categories: category name -> sentences for each of its segments.
        images: image name -> entries ``{point: [x, y] or category: name, sentences: [...]}``.
    """

    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    images: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


def read_sentences(path: str | Path, categories: Sequence[Category]) -> OwnSentences:
    """Reads a sentence file (YAML or JSON).

    Form: ``categories: {cup: ["a cup of coffee"]}`` and
    ``images: {kitchen.jpg: [{point: [120, 80], sentences: ["the left cup"]}]}``; a point is a pixel (x, y) inside the
    segment, ``category: NAME`` in its place means each segment of that category in the image.

    Raises:
        DataError: unknown key or category, or an entry of another form.
    """
    data = read_yaml(path)
    known = ("categories", "images")
    if not isinstance(data, dict) or not set(data) <= set(known):
        raise DataError(f"{path}: expected a mapping with the keys {' and '.join(known)}")
    names = [category.name for category in categories]
    by_category, by_image = ({} if data.get(key) is None else data[key] for key in known)
    for key, entries in zip(known, (by_category, by_image), strict=True):
        if not isinstance(entries, dict):
            raise DataError(f"{path}: {key}: expected a mapping from names, found {entries!r}")
    by_category = {str(k): _sentences(v, f"{path}: categories.{k}") for k, v in by_category.items()}
    for image, entries in by_image.items():
        if not isinstance(entries, list):
            raise DataError(f"{path}: images.{image}: expected a list of {{point or category, sentences}}")
        for number, entry in enumerate(entries):
            _check_entry(entry, f"{path}: images.{image}[{number}]")
    used = [*by_category, *(e["category"] for entries in by_image.values() for e in entries if "category" in e)]
    for name in used:
        if name not in names:
            raise DataError(
                f"{path}: no category {name!r}{did_you_mean(name, names) or '.'} Categories: {', '.join(names)}."
            )
    return OwnSentences(by_category, {str(image): entries for image, entries in by_image.items()})


def own_segment_sentences(
    entries: Sequence[Mapping[str, Any]], ids: np.ndarray, names: Mapping[int, str], image: str
) -> dict[int, list[str]]:
    """Finds which segment each of a user's entries for one image means.

    Args:
        entries: from :class:`OwnSentences`.
        ids: (H, W) id map of the image.
        names: segment id -> category name.
        image: named in errors.

    Returns:
        Segment id -> sentences.

    Raises:
        DataError: a point outside the image or on VOID, a category that the image does not show.
    """
    found: dict[int, list[str]] = {}
    for entry in entries:
        if "point" in entry:
            x, y = entry["point"]
            if not (0 <= x < ids.shape[1] and 0 <= y < ids.shape[0]):
                raise DataError(
                    f"sentences for {image}: the point [{x}, {y}] is outside the {ids.shape[1]} x {ids.shape[0]} image"
                )
            if int(ids[y, x]) not in names:
                raise DataError(f"sentences for {image}: no segment at the point [{x}, {y}] (unlabelled there)")
            targets = [int(ids[y, x])]
        else:
            targets = [segment for segment, name in names.items() if name == entry["category"]]
            if not targets:
                raise DataError(f"sentences for {image}: the image shows no {entry['category']!r}")
        for segment in targets:
            found.setdefault(segment, []).extend(entry["sentences"])
    return found


def template_sentences(category: Category, place: str, rng: np.random.Generator, count: int = 2) -> list[str]:
    """Writes sentences for a segment that has none.

    Args:
        category: of the segment.
        place: which of the category's segments in the image is meant (:func:`outermost_places`); one more sentence
            says it, unless it is empty.
        rng: draws the templates.
        count: how many plain sentences.
    """
    templates = _THING_TEMPLATES if category.isthing else _STUFF_TEMPLATES
    name = category.name.replace("-merged", "").replace("-", " ").replace("_", " ").lower()
    article = "an" if name[0] in "aeiou" else "a"
    chosen = rng.permutation(len(templates))[:count]
    sentences = [templates[i].format(name=name, a=article) for i in chosen]
    return [f"the {name} {place}", *sentences] if place else sentences


def outermost_places(boxes: Sequence[Sequence[int]]) -> list[str]:
    """Says of each box where it lies if its centre is the outermost one in a direction; empty where it is not.

    Args:
        boxes: x, y, width, height of all segments of a category in an image; a single one needs no place.
    """
    places = [""] * len(boxes)
    if len(boxes) < 2:
        return places
    corners = np.array(boxes, float)
    centers = corners[:, :2] + corners[:, 2:] / 2
    directions = (("on the left", "on the right"), ("at the top", "at the bottom"))
    for axis in (1, 0):  # left and right are said before top and bottom
        ranked = np.argsort(centers[:, axis], kind="stable")
        values = centers[ranked, axis]
        if values[-1] > values[-2]:
            places[ranked[-1]] = directions[axis][1]
        if values[0] < values[1]:
            places[ranked[0]] = directions[axis][0]
    return places


def _check_entry(entry: Any, where: str) -> None:
    if not isinstance(entry, dict) or not set(entry) <= {"point", "category", "sentences"}:
        raise DataError(
            f"{where}: expected {{point: [x, y], sentences: [...]}} or {{category: NAME, sentences: [...]}}"
        )
    if ("point" in entry) == ("category" in entry):
        raise DataError(f"{where}: give either `point` or `category`")
    if not isinstance(entry.get("category", ""), str):
        raise DataError(f"{where}.category: {entry['category']!r}, expected the name of a category")
    point = entry.get("point", [0, 0])
    whole = isinstance(point, list) and all(isinstance(v, int) and not isinstance(v, bool) for v in point)
    if not whole or len(point) != 2:
        raise DataError(f"{where}.point: {point!r}, expected [x, y] in whole pixels")
    entry["sentences"] = _sentences(entry.get("sentences"), f"{where}.sentences")


def _sentences(value: Any, where: str) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(v, str) and v.strip() for v in values):
        raise DataError(f"{where}: expected one sentence or a list of sentences, found {value!r}")
    return [v.strip() for v in values]
