"""How a configuration key is declared: one dataclass field with type, default and explanation.

A section is a dataclass; the field's name, as written, is the key. Config modules import nothing heavier than this
file, so that a mistyped key is answered before torch is loaded.
"""

from __future__ import annotations

import copy
from dataclasses import field
from typing import Any


def key(default: Any, text: str, *, choices: tuple[Any, ...] | None = None, no_effect: str | None = None) -> Any:
    """Declares a configuration key as a dataclass field.

    Args:
        default: value when nothing sets the key; lists and mappings are copied for each section object.
        text: what the key means, with its unit and the meaning of special values.
        choices: the allowed values, when the set is closed.
        no_effect: the key exists so that published configurations and job scripts run unchanged, but nothing reads it;
            this text says why, or which key has the effect. It is reported once when a user sets the key.
    """
    metadata = {"text": text, "choices": choices, "no_effect": no_effect}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def section(cls: type, text: str = "") -> Any:
    """Declares a nested section whose type is the dataclass ``cls``."""
    return field(default_factory=cls, metadata={"text": text, "choices": None, "no_effect": None})
