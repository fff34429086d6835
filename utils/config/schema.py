"""How a configuration key is declared: one dataclass field with type, default and explanation.

A section is a frozen dataclass; the field's name, as written, is the key. An architecture's configuration is a section,
too: it extends the shared one, and functions take the section they read, so that the type check finds a misspelt key.
Config modules import nothing heavier than this file, so that a mistyped key is answered before torch is loaded.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

_S = TypeVar("_S")


@dataclass(frozen=True)
class Leaf:
    """Declaration of one key.

    Attributes:
        name: dotted key, e.g. ``SOLVER.BASE_LR``.
        type: declared type: bool, int, float, str, ``list[...]`` of these, ``dict[str, ...]`` of these,
            ``dict[str, Any]`` (a nested mapping whose entries the schema does not know), or ``list[dict[str, Any]]``.
        default: value when nothing sets the key.
        text: meaning, unit, special values.
        choices: allowed values (of each element, for a list), or None.
        minimum: smallest allowed number (of each element), or None.
        maximum: largest allowed number (of each element), or None.
        no_effect: why nothing reads the key, or None.
        entries: entry -> type, where the entries of a mapping, or of each mapping in a list, are a closed set; or None.
    """

    name: str
    type: Any
    default: Any
    text: str = ""
    choices: tuple[Any, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    no_effect: str | None = None
    entries: Mapping[str, Any] | None = None

    @property
    def is_mapping(self) -> bool:
        """True for a free mapping: its entries are keys that the schema does not list."""
        return get_origin(self.type) is dict

    @property
    def is_list(self) -> bool:
        """True for a list."""
        return get_origin(self.type) is list

    @property
    def is_mapping_list(self) -> bool:
        """True for a list of mappings."""
        return self.is_list and get_origin(get_args(self.type)[0]) is dict


def key(
    default: Any,
    text: str | Callable[[], str],
    *,
    choices: tuple[Any, ...] | Callable[[], tuple[Any, ...]] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    no_effect: str | None = None,
    entries: Mapping[str, Any] | None = None,
) -> Any:
    """Declares a configuration key as a dataclass field.

    Args:
        default: value when nothing sets the key; lists and mappings are copied for each section object.
        text: what the key means, with its unit and the meaning of special values; or a function that says it when the
            schema is read.
        choices: the allowed values, when the set is closed; or a function that finds them when the schema is read.
        minimum: smallest allowed number; for a list, of each element.
        maximum: largest allowed number; for a list, of each element.
        no_effect: the key exists so that published configurations and job scripts run unchanged, but nothing reads it;
            this text says why, or which key has the effect. It is reported once when a user sets the key.
        entries: the allowed entries of a mapping, or of each mapping in a list, with their types.
    """
    metadata = {
        "text": text,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "no_effect": no_effect,
        "entries": entries,
    }
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def section(cls: type, text: str = "") -> Any:
    """Declares a nested section whose type is the dataclass ``cls``."""
    return field(default_factory=cls, metadata={"text": text})


_hints: Callable[[Any], dict[str, Any]] = functools.cache(get_type_hints)  # read for every configuration, and slow


def _is_section(hint: Any) -> bool:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def collect(cls: type, prefix: str = "") -> dict[str, Leaf]:
    """Returns the keys of a section and of the sections inside it: dotted key -> declaration, in written order."""
    found: dict[str, Leaf] = {}
    hints = _hints(cls)
    defaults = cls()
    for item in dataclasses.fields(cls):
        name, hint = prefix + item.name, hints[item.name]
        if _is_section(hint):
            found.update(collect(hint, name + "."))
        else:
            facts = {fact: value() if callable(value) else value for fact, value in item.metadata.items()}
            found[name] = Leaf(name, hint, getattr(defaults, item.name), **facts)
    return found


def typed_section(cls: type[_S], values: Mapping[str, Any]) -> _S:
    """Returns the section ``cls`` with the values of a tree; lists and free mappings are copied.

    Args:
        cls: dataclass of a section.
        values: field name -> value; nested sections as mappings.
    """
    hints = _hints(cls)
    found = {}
    for item in dataclasses.fields(cls):  # type: ignore[arg-type]  # every section is a dataclass
        hint, value = hints[item.name], values[item.name]
        found[item.name] = typed_section(hint, value) if _is_section(hint) else _copied(value)
    return cls(**found)


def value_at(config: Any, key: str) -> Any:
    """Returns the value of a dotted declared key of a typed configuration."""
    return functools.reduce(getattr, key.split("."), config)


def with_values(config: _S, values: Mapping[str, Any]) -> _S:
    """Returns a typed section with other values, itself unchanged.

    Args:
        config: the section.
        values: dotted key below it -> value.
    """
    changes: dict[str, Any] = {}
    for key, value in values.items():
        name, _, rest = key.partition(".")
        inner = changes.get(name, getattr(config, name))
        changes[name] = with_values(inner, {rest: value}) if rest else value
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]  # every section is a dataclass


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copied(inner) for name, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def with_choices(leaves: Mapping[str, Leaf], name: str, more: Iterable[str]) -> dict[str, Leaf]:
    """Returns declarations in which one key, whose values are a closed set, takes more values.

    Args:
        leaves: dotted key -> declaration.
        name: the key.
        more: the further values.
    """
    leaf = leaves[name]
    choices = (*(leaf.choices or ()), *more)
    return {**leaves, name: dataclasses.replace(leaf, choices=choices)}


def section_texts(cls: type, prefix: str = "") -> dict[str, str]:
    """Returns dotted section name -> its text (the field's, else the first line of the class's own docstring)."""
    found: dict[str, str] = {}
    for item in dataclasses.fields(cls):
        hint = _hints(cls)[item.name]
        if _is_section(hint):
            own = hint.__dict__.get("__doc__") or ""
            generated = own.startswith(f"{hint.__name__}(")
            found[prefix + item.name] = item.metadata.get("text") or ("" if generated else own.strip().split("\n")[0])
            found.update(section_texts(hint, prefix + item.name + "."))
    return found
