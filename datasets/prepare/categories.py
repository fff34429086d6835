"""Categories for the converters: from a file, or from the annotations themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...utils.errors import DataError
from ...utils.structures.category import Category
from ..formats.yaml_file import read_yaml
from ..records.record import category_mapping, parse_categories

_KEYS = ("id", "name", "isthing", "color", "supercategory")


def read_categories(path: str | Path) -> tuple[Category, ...]:
    """Reads categories from a JSON or YAML list, or from the ``categories`` of a record or COCO JSON.

    Raises:
        DataError: none there, or faulty ones.
    """
    data = read_yaml(path)
    values = data.get("categories") if isinstance(data, Mapping) else data
    if not isinstance(values, list) or not values:
        raise DataError(f"{path}: no list of categories; expected [{{id, name, isthing, color}}, ...]")
    return coco_categories(values, f"{path}: categories", isthing=None)


def coco_categories(values: Iterable[Mapping[str, Any]], where: str, isthing: bool | None) -> tuple[Category, ...]:
    """Reads a COCO ``categories`` list; further keys (keypoints, skeleton, ...) are passed over.

    Args:
        values: the list.
        where: prefix of errors.
        isthing: assumed where an entry does not say; None: it must say.
    """
    entries = []
    for value in values:
        if not isinstance(value, Mapping):
            raise DataError(f"{where}: {value!r} is no mapping {{id, name, isthing, color}}")
        entry = {k: value[k] for k in _KEYS if value.get(k) is not None}
        entries.append(entry if isthing is None else {"isthing": isthing} | entry)
    return parse_categories(entries, where)


def coco_entry(category: Category) -> dict[str, Any]:
    """Returns a category as COCO JSON files hold it (``isthing`` 0 or 1)."""
    return category_mapping(category) | {"isthing": int(category.isthing)}
