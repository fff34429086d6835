"""What a task shows in the report of a run: figures, their course over the training, curves, meanings of colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Colors = Mapping[str, tuple[int, int, int]]
"""Meaning of a colour -> RGB, 0..255."""


@dataclass(frozen=True)
class Curve:
    """Figures of one evaluation that are drawn as a line.

    Attributes:
        entry: name in metrics.json of a mapping from places on the x axis to values.
        title: of the chart.
        xlabel: of its x axis.
    """

    entry: str
    title: str
    xlabel: str


@dataclass(frozen=True)
class Figures:
    """What the page shows of one kind of evaluation.

    Attributes:
        headline: metric shown first -> rank; the lowest of all kinds stands first.
        progress: title of a chart -> metrics whose course over the training it shows, as patterns ("noc@*").
        curves: what is drawn of one evaluation.
        error_colors: meaning of the colours in comparison pictures; empty: there are none.
    """

    headline: Mapping[str, int] = field(default_factory=dict)
    progress: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    curves: tuple[Curve, ...] = ()
    error_colors: Colors = field(default_factory=dict)
