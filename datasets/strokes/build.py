"""The samplers that STROKE_SAMPLER describes: the mixture of training, and the first prompt of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...utils.registry import Registry
from .base import StrokeSampler
from .box import TightBox
from .point import InnermostPoint, RandomPoints
from .polygon import ClosedCurve
from .scribble import BrushStrokes, weighted_choice

STROKES: Registry[Callable[[Any], StrokeSampler]] = Registry("stroke")
"""Shape of a training stroke -> builder from the section STROKE_SAMPLER."""

START_PROMPTS = ("Point", "Box", "Scribble", "Polygon", "Circle")
"""Shapes that an evaluation may start with."""


@STROKES.register("Point")
def _points(keys: Any) -> StrokeSampler:
    return RandomPoints(keys.POINT.NUM_POINTS)


@STROKES.register("Polygon")
def _polygon(keys: Any) -> StrokeSampler:
    return ClosedCurve(keys.POLYGON.MAX_POINTS)


@STROKES.register("Scribble")
def _scribble(keys: Any) -> StrokeSampler:
    return BrushStrokes(keys.SCRIBBLE.NUM_STROKES, keys.SCRIBBLE.STROKE_PRESET, keys.SCRIBBLE.STROKE_PROB)


@STROKES.register("Circle")
def _circle(keys: Any) -> StrokeSampler:
    return BrushStrokes(keys.CIRCLE.NUM_STROKES, keys.CIRCLE.STROKE_PRESET, keys.CIRCLE.STROKE_PROB)


@dataclass(frozen=True)
class MixedStrokes:
    """One of several samplers per object.

    Attributes:
        samplers: the choices.
        weights: their relative frequencies.
    """

    samplers: Sequence[StrokeSampler]
    weights: Sequence[float]

    def sample(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws a sampler, then its stroke; see :class:`~segfoundry.datasets.strokes.base.StrokeSampler`."""
        return self.samplers[weighted_choice(self.weights, rng)].sample(mask, rng)


def training_strokes(keys: Any) -> MixedStrokes:
    """Builds the mixture of training from the section STROKE_SAMPLER."""
    return MixedStrokes([STROKES.get(name)(keys) for name in keys.CANDIDATE_NAMES], list(keys.CANDIDATE_PROBS))


def start_prompt(name: str, keys: Any) -> StrokeSampler:
    """Builds the sampler of an evaluation's first prompt.

    Args:
        name: one of ``START_PROMPTS``; Point is one click on the innermost pixel, Scribble and Circle one stroke from
            there.
        keys: the section STROKE_SAMPLER.
    """
    if name == "Point":
        return InnermostPoint(keys.DILATION)
    if name == "Box":
        return TightBox()
    sampler = STROKES.get(name)(keys)
    return replace(sampler, from_middle=True) if isinstance(sampler, BrushStrokes) else sampler
