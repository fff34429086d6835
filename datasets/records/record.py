"""The data set record: one YAML file that says where images and annotations lie and what the categories are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ...utils.errors import DataError, did_you_mean
from ...utils.files import atomic_write_text
from ...utils.palette import distinct_color
from ...utils.structures.category import Category
from ..formats.yaml_file import read_yaml
from ..tasks.registry import evaluator_names, offered_evaluators
from .fields import check_mapping, one_of, text, whole_number
from .split import Split, find_path, parse_splits

RESIZES = ("bilinear", "bicubic")
_RECORD_KEYS = (
    "name", "root", "categories", "ignore_color", "splits", "evaluators", "aliases", "min_size_test", "max_size_test",
    "resize_test",
)  # fmt: skip
FOREGROUND = Category(1, "foreground", True, (220, 20, 60))
"""The one category of a data set that has foreground masks only."""
_CATEGORY_KEYS = ("id", "name", "color", "isthing", "supercategory")


@dataclass(frozen=True)
class Record:
    """A data set.

    Attributes:
        name: short name; result files carry it.
        path: the YAML file (or ``detectron2:<name>``).
        root: folder that the record's paths start from.
        categories: in index order; a category's index is its place here.
        ignore_color: colour of unlabelled pixels in colour-coded masks, RGB 0..255, or None.
        splits: by name.
        evaluators: kinds the record asks for, or None: see :meth:`evaluators_for`.
        min_size_test: short side of evaluation images in pixels, or None (the configuration decides).
        max_size_test: upper limit of their long side in pixels, or None.
        resize_test: how they are resized, "bilinear" or "bicubic", both antialiased.
        aliases: other names the record answers to, with the split each stands for (None: the caller's default).
    """

    name: str
    path: Path
    root: Path
    categories: tuple[Category, ...]
    ignore_color: tuple[int, int, int] | None
    splits: dict[str, Split]
    evaluators: tuple[str, ...] | None = None
    min_size_test: int | None = None
    max_size_test: int | None = None
    resize_test: str = "bilinear"
    aliases: dict[str, str | None] = field(default_factory=dict)

    @property
    def index_of(self) -> dict[int, int]:
        """The data set's category id -> category index."""
        return {category.id: index for index, category in enumerate(self.categories)}

    def evaluators_for(self, split: Split) -> tuple[str, ...]:
        """Returns the record's evaluators, or else what the tasks offer for the split's annotations."""
        return offered_evaluators(split, self.categories) if self.evaluators is None else self.evaluators


def read_record(path: str | Path, *, root_base: Path | None = None) -> Record:
    """Reads a record file.

    Args:
        path: the YAML file.
        root_base: folder that a relative ``root`` starts from; default: the file's own folder.

    Raises:
        DataError: unknown key (names the closest), wrong type, duplicate or missing name, id or colour.
    """
    path = Path(path).absolute()
    data = read_yaml(path)
    check_mapping(data, _RECORD_KEYS, str(path), required=("splits",))
    root = find_path(root_base or path.parent, data.get("root", "."), f"{path}: root")
    categories = (FOREGROUND,) if data.get("categories") is None else _categories(data, path)
    index_of = {category.id: index for index, category in enumerate(categories)}
    splits = parse_splits(data["splits"], root, index_of, f"{path}: splits")
    if data.get("categories") is None and not all(split.masks_only for split in splits.values()):
        raise DataError(
            f"{path}: the key `categories` is missing (only splits with nothing but `foreground` have none)"
        )
    return Record(
        name=text(data.get("name", path.stem), f"{path}: name"),
        path=path,
        root=root,
        categories=categories,
        ignore_color=None
        if data.get("ignore_color") is None
        else parse_color(data["ignore_color"], f"{path}: ignore_color"),
        splits=splits,
        evaluators=_parse_evaluators(data.get("evaluators"), f"{path}: evaluators"),
        min_size_test=_pixels(data, "min_size_test", path),
        max_size_test=_pixels(data, "max_size_test", path),
        resize_test=one_of(data.get("resize_test", "bilinear"), RESIZES, f"{path}: resize_test"),
        aliases=_parse_aliases(data.get("aliases"), splits, f"{path}: aliases"),
    )


def _categories(data: Mapping[str, Any], path: Path) -> tuple[Category, ...]:
    """Reads a record's categories: its own list, or that of the record it names."""
    if isinstance(data["categories"], str):
        other = path.parent / text(data["categories"], f"{path}: categories")
        listed = read_yaml(other)
        if not isinstance(listed, dict) or not isinstance(listed.get("categories"), list):
            raise DataError(f"{path}: categories: {other} is no record with a list of categories")
        return parse_categories(listed["categories"], f"{other}: categories", listed.get("ignore_color"))
    return parse_categories(data["categories"], f"{path}: categories", data.get("ignore_color"))


def write_record(path: str | Path, data: Mapping[str, Any]) -> None:
    """Writes a record's (or colour table's) mapping as YAML in the order given, one line per category."""
    lines = []
    for name, value in data.items():
        if name == "categories":
            lines += ["categories:\n", *(f"  - {_yaml(dict(entry), flow=True)}" for entry in value)]
        else:
            lines.append(_yaml({name: value}, flow=None if isinstance(value, (list, dict)) else False))
    atomic_write_text(path, "".join(lines))


def _yaml(value: Any, flow: bool | None) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=10_000)


def category_mapping(category: Category) -> dict[str, Any]:
    """Returns a category as a record or COCO ``categories`` entry holds it (``isthing`` as bool)."""
    entry: dict[str, Any] = {
        "id": category.id,
        "name": category.name,
        "isthing": category.isthing,
        "color": list(category.color),
    }
    return entry | ({"supercategory": category.supercategory} if category.supercategory else {})


def parse_categories(values: Any, where: str, ignore_color: Any = None) -> tuple[Category, ...]:
    """Checks a list of category mappings; colours left out are filled with distinct ones.

    Args:
        values: list of {id, name, isthing, color, supercategory}; only ``id``, ``name`` and ``isthing`` are required.
        where: prefix of errors.
        ignore_color: a colour that no category may have.

    Raises:
        DataError: see :func:`read_record`.
    """
    if not isinstance(values, list) or not values:
        raise DataError(
            f"{where} must be a list with at least one entry {{id: 1, name: cup, isthing: true, color: [220, 20, 60]}}"
        )
    taken: dict[str, dict[Any, str]] = {"id": {}, "name": {}, "color": {}}
    if ignore_color is not None:
        taken["color"][parse_color(ignore_color, where)] = "ignore_color"
    given = [_parse_category(value, f"{where}[{number}]", taken) for number, value in enumerate(values)]
    categories = []
    for number, (entry, color) in enumerate(given):
        step = number
        while color is None or (entry["color"] is None and color in taken["color"]):
            color, step = distinct_color(step), step + len(given)
        taken["color"].setdefault(color, f"{where}[{number}]")
        categories.append(Category(entry["id"], entry["name"], entry["isthing"], color, entry["supercategory"]))
    return tuple(categories)


def parse_color(value: Any, where: str) -> tuple[int, int, int]:
    """Returns (R, G, B), 0..255, from ``[r, g, b]`` or ``"#rrggbb"``.

    Raises:
        DataError: for anything else.
    """
    if isinstance(value, str) and len(value.strip()) == 7 and value.strip().startswith("#"):
        try:
            return tuple(bytes.fromhex(value.strip()[1:]))  # type: ignore[return-value]
        except ValueError:
            pass
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3:
        if all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= 255 for v in value):
            return tuple(value)  # type: ignore[return-value]
    raise DataError(f'{where}: {value!r} is no colour; expected [r, g, b] with whole numbers 0..255, or "#rrggbb"')


def _parse_category(
    value: Any, where: str, taken: dict[str, dict[Any, str]]
) -> tuple[dict[str, Any], tuple[int, int, int] | None]:
    check_mapping(value, _CATEGORY_KEYS, where, required=("id", "name", "isthing"))
    whole_number(value["id"], f"{where}.id")
    if value["isthing"] not in (True, False, 0, 1):
        raise DataError(f"{where}.isthing: {value['isthing']!r}, expected true (countable) or false (stuff)")
    color = None if value.get("color") is None else parse_color(value["color"], f"{where}.color")
    name = text(value["name"], f"{where}.name")
    for kind, found in (("id", value["id"]), ("name", name), ("color", color)):
        if found is None:
            continue
        if found in taken[kind]:
            shown = repr(list(found) if isinstance(found, tuple) else found)
            raise DataError(
                f"{where}.{kind}: {shown} is already the {kind} of {taken[kind][found]}; each must be unique"
            )
        taken[kind][found] = f"{where} ({name})"
    supercategory = value.get("supercategory", "")
    if not isinstance(supercategory, str):
        raise DataError(f"{where}.supercategory: {supercategory!r}, expected text")
    entry = {
        "id": value["id"],
        "name": name,
        "isthing": bool(value["isthing"]),
        "color": color,
        "supercategory": supercategory,
    }
    return entry, color


def _parse_evaluators(value: Any, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    known = evaluator_names()
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: {value!r}, expected a list of {', '.join(known)}")
    return tuple(dict.fromkeys(one_of(kind, known, where) for kind in value))


def _parse_aliases(value: Any, splits: Mapping[str, Split], where: str) -> dict[str, str | None]:
    if value is None:
        return {}
    if isinstance(value, list):
        value = dict.fromkeys(value)
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise DataError(f"{where}: expected a mapping from name to split, or a list of names")
    for name, split in value.items():
        if split is not None and (not isinstance(split, str) or split not in splits):
            raise DataError(
                f"{where}.{name}: no split {split!r}{did_you_mean(str(split), splits) or '.'} "
                f"Splits: {', '.join(splits)}."
            )
    return value


def _pixels(data: Mapping[str, Any], key: str, path: Path) -> int | None:
    return None if data.get(key) is None else whole_number(data[key], f"{path}: {key}", 1, " of pixels")
