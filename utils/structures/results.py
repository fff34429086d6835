"""What a network says about an image, and ground truth of the same form.

Letters in shapes: H and W pixels (rows, columns), N predicted instances, K categories. A *category index* is the
position of a category in the record's list, 0..K-1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Segment:
    """One segment of a panoptic map.

    Attributes:
        id: value in the id map, 1..16777215 (0 is VOID).
        category: category index, 0..K-1.
        isthing: copied from the category.
        iscrowd: the segment covers a group whose members are not told apart.
        area: pixels.
        score: confidence 0..1 of a prediction; None for ground truth.
    """

    id: int
    category: int
    isthing: bool
    iscrowd: bool = False
    area: int = 0
    score: float | None = None


@dataclass
class PanopticResult:
    """A panoptic map: ``ids`` (H, W) int32, 0 = VOID, and one entry of ``segments`` per id that occurs."""

    ids: np.ndarray
    segments: list[Segment]


@dataclass
class InstanceResult:
    """Scored instances of one image.

    Attributes:
        masks: (N, H, W) bool.
        categories: (N,) int64 category indices.
        scores: (N,) float32 in 0..1.
        boxes: (N, 4) float32 x0, y0, x1, y1 in pixels, or None: evaluators and writers derive boxes from the masks.
    """

    masks: np.ndarray
    categories: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray | None = None


@dataclass
class ReferResult:
    """What texts name in one image.

    Attributes:
        texts: T phrases.
        masks: (T, H, W) bool.
        scores: (T,) float32 in 0..1.
    """

    texts: list[str]
    masks: np.ndarray
    scores: np.ndarray


@dataclass
class ForegroundResult:
    """Foreground (cables, say) against background in one image.

    Attributes:
        mask: (H, W) bool, True on the foreground, whatever polarity the network was trained with.
        probability: (H, W) float32 in 0..1 of being foreground.
        loss: the training loss of this image, where its ground truth was at hand.
    """

    mask: np.ndarray
    probability: np.ndarray
    loss: float | None = None


@dataclass
class Prediction:
    """What a model says about one image, at ``Sample.output_size``; a part is None when it was not asked for.

    Attributes:
        semantic: (H, W) int64 category index per pixel.
        panoptic: panoptic map.
        instances: scored instances.
        phrases: (T, H, W) bool, the mask of each text of the request.
        click_ious: (N, R) float64, overlap 0..1 of each prompted object after each round of simulated clicks.
        foreground: foreground against background.
        everything: masks that were found without prompts and categories, best first: records with the keys of
            ``SamAutomaticMaskGenerator``, ``segmentation`` as COCO run-length code.
        extra: further results by name: of a task that has no field here, or of an architecture.
    """

    semantic: np.ndarray | None = None
    panoptic: PanopticResult | None = None
    instances: InstanceResult | None = None
    phrases: np.ndarray | None = None
    click_ious: np.ndarray | None = None
    foreground: ForegroundResult | None = None
    everything: list[dict[str, Any]] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
