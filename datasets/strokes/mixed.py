"""Strokes of several shapes in training: one of them is drawn for each object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .base import StrokeSampler
from .scribble import weighted_choice


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
