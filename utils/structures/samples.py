"""Images with their ground truth, as data sets give them and networks take them, alone and in batches.

Letters in shapes: B images, H and W pixels (rows, columns), M ground-truth masks of one image, N objects, T texts. A
*category index* is the position of a category in the record's list, 0..K-1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .results import PanopticResult

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class SpatialTargets:
    """Objects of one training image that are prompted by strokes, at the size of the training image.

    Attributes:
        masks: (N, H, W) bool array or tensor; an object too small for a prompt has an empty mask and no stroke.
        strokes: (N, H, W) bool, the first positive stroke of each object.
    """

    masks: Any
    strokes: Any


@dataclass
class TextTargets:
    """Texts of one training image and the masks they name, at the size of the training image.

    Attributes:
        texts: M sentences; equal ones mean the same.
        masks: (M, H, W) bool array or tensor; none is empty.
        kind: "text" for sentences of the data set, "class" for class names that stand in for them.
    """

    texts: list[str]
    masks: Any
    kind: str = "text"


@dataclass
class Targets:
    """Ground truth of one training image, at the size of the (cropped, padded) training image.

    Attributes:
        masks: (M, H, W) bool array or tensor; crowd segments and VOID are left out; no mask is empty.
        labels: (M,) int64 category indices.
        spatial: objects prompted by strokes, or None when the data set's mapper makes none.
        texts: sentences and their masks, or None when the mapper makes none.
        foreground: (1, S, T) bool, foreground of the image at the size where the loss is taken, which need not be the
            image's; or None. It is never padded.
        extra: further named arrays or tensors of an architecture; never padded.
        labelled: False when nobody said which categories the image shows (it has phrases only), so the empty ``masks``
            do not mean that there is nothing; the image does not count among the object queries' targets.
    """

    masks: Any
    labels: Any
    spatial: SpatialTargets | None = None
    texts: TextTargets | None = None
    labelled: bool = True
    foreground: Any = None
    extra: dict[str, Any] = field(default_factory=dict)

    def map(self, change: Callable[[Any], Any]) -> Targets:
        """Returns the targets with every array or tensor replaced by ``change`` of it."""
        spatial, texts = self.spatial, self.texts
        return Targets(
            change(self.masks),
            change(self.labels),
            spatial and SpatialTargets(change(spatial.masks), change(spatial.strokes)),
            texts and TextTargets(texts.texts, change(texts.masks), texts.kind),
            self.labelled,
            None if self.foreground is None else change(self.foreground),
            {name: change(value) for name, value in self.extra.items()},
        )


@dataclass
class ObjectTruth:
    """Objects of one evaluation image that are segmented by simulated clicks.

    They are kept as maps, not as one mask each: an image may have hundreds.

    Attributes:
        labels: (H, W) int16 at the original size: 1..N = objects, 0 = none, -1 = counts neither way.
        input_labels: (h, w) int16, the same at the size of ``Sample.image``; every object has a pixel.
        strokes: N arrays (P,) int64, positions in the flattened (h, w) image: the first prompt of each object.
        texts: N phrases or names, one for each object, or empty.
    """

    labels: np.ndarray
    input_labels: np.ndarray
    strokes: list[np.ndarray]
    texts: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.strokes)


@dataclass
class PhraseTruth:
    """Texts of one evaluation image and the masks they name.

    Attributes:
        texts: T sentences.
        masks: (M, H, W) bool at the original size; an empty one: the text names nothing in the image.
        owner: (T,) int64, which mask each text names.
        strokes: M arrays (P,) int64, positions in the flattened image ``Sample.image``: a prompt of each mask, where
            texts are asked for together with strokes; else empty.
    """

    texts: list[str]
    masks: np.ndarray
    owner: np.ndarray
    strokes: list[np.ndarray] = field(default_factory=list)


@dataclass
class Sample:
    """One image, with ground truth as far as it exists.

    Attributes:
        image: (H, W, 3) uint8 RGB, after the mapper's transforms.
        index: position in the data stream (training: epoch * length + place in the epoch's permutation) or in the
            data set (evaluation).
        image_id: the data set's id of the image.
        file_name: path of the image file.
        output_size: (height, width) of the original image: predictions are given at this size.
        targets: training targets, or None.
        panoptic: ground truth at the original size for evaluation, or None.
        semantic: (H, W) uint8/int64 category indices with 255 = ignored at the original size, or None.
        objects: objects to segment by simulated clicks, for evaluation, or None.
        phrases: texts and their masks for evaluation, or None.
        foreground: (H, W) bool, ground truth at ``output_size`` for evaluation, or None.
        original: (H, W, 3) uint8 RGB, the whole image at ``output_size``, where a task is predicted that needs it
            (``ResultTask.needs_original``); stays on the host. Else None.
        extra: further facts by name: the ground truth of a task that has no field here, or an architecture's own.
    """

    image: np.ndarray
    index: int
    image_id: int | str
    file_name: str
    output_size: tuple[int, int]
    targets: Targets | None = None
    panoptic: PanopticResult | None = None
    semantic: np.ndarray | None = None
    objects: ObjectTruth | None = None
    phrases: PhraseTruth | None = None
    foreground: np.ndarray | None = None
    original: np.ndarray | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Batch:
    """A collated micro-batch; ``images`` and ``targets`` are torch tensors, the rest stays on the host.

    Attributes:
        images: (B, 3, H, W) uint8 RGB 0..255, zero-padded right and bottom to the largest image of the batch.
        image_sizes: (height, width) of each image without padding.
        samples: the samples, image arrays dropped (``image`` is an empty array).
        targets: per image, tensors: masks (M, H, W) bool padded like ``images``, labels (M,) int64, and those of the
            prompted objects and texts; None when there is no ground truth.
        positions: position of each image within the optimizer step's whole batch, 0..BATCH_SIZE_TOTAL *
            GRADIENT_ACCUMULATE_STEP - 1: the key of this sample's random draws, whichever process holds it.
        totals: loss normalisers of the whole step (all micro-batches, all processes): the sum of the shares, or their
            largest where the name starts with "max_"; None: this batch alone.
    """

    images: Tensor
    image_sizes: list[tuple[int, int]]
    samples: list[Sample]
    targets: list[Targets] | None = None
    positions: list[int] = field(default_factory=list)
    totals: dict[str, float] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        """Returns the batch with its tensors on ``device``; host-side fields are shared."""
        move = lambda t: t.to(device, non_blocking=non_blocking)  # noqa: E731
        targets = None if self.targets is None else [t.map(move) for t in self.targets]
        return Batch(move(self.images), self.image_sizes, self.samples, targets, self.positions, self.totals)

    def pin_memory(self) -> Batch:
        """Returns the batch with its tensors in page-locked memory; the data loader calls it."""
        targets = None if self.targets is None else [t.map(lambda tensor: tensor.pin_memory()) for t in self.targets]
        return Batch(self.images.pin_memory(), self.image_sizes, self.samples, targets, self.positions, self.totals)
