"""Names of results: of a data set's folder, and of its figures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def dataset_label(taken: Iterable[str], name: str, split: str) -> str:
    """Returns the name of a data set's result folder; the split is added when two parts of one set are evaluated."""
    return f"{name}_{split}" if name in taken else name


def scalars(dataset: str, summary: dict[str, Any]) -> dict[str, float]:
    """Returns ``DATASET/KIND/METRIC`` -> value for the figures that are single numbers."""
    return {
        f"{dataset}/{kind}/{name}": float(value)
        for kind, metrics in summary.items()
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and name != "images"
    }
