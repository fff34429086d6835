"""Training samples with prompts: simulated strokes on some objects, and sentences that name some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...utils.class_names.text_templates import TEMPLATES, training_prompt
from ...utils.image_io import MAX_PIXELS
from ...utils.structures.samples import Sample, SpatialTargets, TextTargets
from ..formats.label_maps import read_object_map
from ..records.image_item import ImageItem
from ..strokes.base import StrokeSampler
from ..transforms.geometry import Geometry
from .finer_masks import refine_masks
from .panoptic import PanopticTrainMapper, Placed, check_size
from .phrase_masks import phrase_mask

MIN_PIXELS = 10
"""Objects with fewer pixels get no stroke."""


@dataclass(frozen=True)
class StrokeOptions:
    """Which objects get a stroke.

    Attributes:
        sampler: draws the stroke of one object.
        objects: most objects of an image.
    """

    sampler: StrokeSampler
    objects: int = 1


@dataclass(frozen=True)
class InteractiveTrainMapper:
    """Adds prompts to the samples of the panoptic mapper, whose random numbers and results stay the same.

    Objects come from the panoptic map, else from the object PNG, else they are the classes of the semantic PNG, else
    the phrases.

    Attributes:
        base: makes image, masks and labels.
        names: category names, in index order.
        strokes: make ``Targets.spatial``, or None.
        texts: most sentences of an image (``Targets.texts``), or None.
        refine: replace masks of things by instances with a box overlap above this, or None.
    """

    base: PanopticTrainMapper
    names: Sequence[str]
    strokes: StrokeOptions | None = None
    texts: int | None = None
    refine: float | None = None

    def __call__(self, item: ImageItem, index: int, rng: np.random.Generator) -> Sample:
        """Makes a training sample.

        Raises:
            DataError: a file is unreadable, sizes differ, or an annotation is faulty; names the file.
        """
        phrases = PhraseMasks(item)
        # An image of phrases alone teaches nothing when the crop shows none of them.
        needs_phrase = item.panoptic is None and item.semantic is None and item.objects is None and len(item.phrases)
        placed = self.base.place(item, index, rng, phrases.shown if needs_phrase else None)
        targets = placed.sample.targets
        assert targets is not None
        if self.refine is not None and item.panoptic is not None:
            refine_masks(placed, item, self.refine)
        # Sources of their own: one task's draws do not depend on whether the other is switched on.
        stroke_seed, text_seed = rng.integers(2**63, size=2)
        if self.strokes is not None:
            objects = object_masks(item, placed, phrases, self.base.max_pixels)
            targets.spatial = draw_strokes(objects, self.strokes, np.random.default_rng(stroke_seed))
        if self.texts is not None:
            targets.texts = self._draw_texts(placed, phrases, np.random.default_rng(text_seed))
        return placed.sample

    def _draw_texts(self, placed: Placed, phrases: PhraseMasks, rng: np.random.Generator) -> TextTargets:
        """Draws phrases of the image, or class names of its masks where it has (or the crop shows) none."""
        targets = placed.sample.targets
        assert self.texts is not None and targets is not None
        drawn = [texts[rng.integers(len(texts))].lower() for texts in phrases.texts]
        texts, masks = pick_texts(drawn, lambda place: phrases.mask(place, placed), self.texts, rng)
        kind = "text"
        if not texts and len(targets.masks):
            sentences = {
                k: training_prompt(self.names[k], int(rng.integers(len(TEMPLATES)))) for k in np.unique(targets.labels)
            }
            texts, masks = pick_texts(
                [sentences[k] for k in targets.labels], lambda row: targets.masks[row], self.texts, rng
            )
            kind = "class"
        return TextTargets(texts, np.stack(masks) if masks else np.zeros((0, *targets.masks.shape[1:]), bool), kind)


def object_masks(item: ImageItem, placed: Placed, phrases: PhraseMasks, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Returns the masks (M, h, w) bool of the objects that can be prompted; see :class:`InteractiveTrainMapper`.

    Args:
        item: image and annotations.
        placed: its training sample.
        phrases: its phrases.
        max_pixels: larger object PNGs are refused.
    """
    targets = placed.sample.targets
    assert targets is not None
    if item.panoptic is None and item.objects is not None:
        values = read_object_map(item.objects, item.object_coding, max_pixels)
        check_size(item.objects, values, item.image, placed.numbers)
        labels = placed.geometry.labels(values)
        return labels == np.unique(labels[labels > 0])[:, None, None]
    return targets.masks if targets.labelled else phrases.visible(placed)


def draw_strokes(masks: np.ndarray, options: StrokeOptions, rng: np.random.Generator) -> SpatialTargets:
    """Chooses random objects and draws a stroke for each.

    Args:
        masks: (M, H, W) bool.
        options: how many objects, and how they are prompted.
        rng: source of every draw.

    Returns:
        min(M, objects) targets; objects below ``MIN_PIXELS`` have an empty mask and no stroke.
    """
    chosen = masks[rng.permutation(len(masks))[: options.objects]]
    strokes = np.zeros_like(chosen)
    for mask, stroke in zip(chosen, strokes, strict=True):
        if np.count_nonzero(mask) < MIN_PIXELS:
            mask[:] = False
        else:
            stroke[:] = options.sampler.sample(mask, rng)
    return SpatialTargets(chosen, strokes)


def pick_texts(
    texts: Sequence[str], mask_of: Callable[[int], np.ndarray], most: int, rng: np.random.Generator
) -> tuple[list[str], list[np.ndarray]]:
    """Chooses uniformly 1 to ``most`` different texts, each with all masks that it names.

    Args:
        texts: of each mask; equal ones mean the same.
        mask_of: place in ``texts`` -> (H, W) bool; empty ones do not count.
        most: largest number of different texts.
        rng: source of every draw.

    Returns:
        A text per mask, and the masks.
    """
    places: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        places.setdefault(text, []).append(place)
    left = int(rng.integers(1, most + 1))
    different = list(places)
    kept: list[tuple[str, np.ndarray]] = []
    for number in rng.permutation(len(different)):
        text = different[number]
        masks = [mask for mask in map(mask_of, places[text]) if mask.any()]
        kept += [(text, mask) for mask in masks]
        left -= bool(masks)
        if not left:
            break
    return [text for text, _ in kept], [mask for _, mask in kept]


class PhraseMasks:
    """The masks of an item's phrases, decoded when they are asked for.

    Attributes:
        texts: sentences of each phrase.
    """

    def __init__(self, item: ImageItem) -> None:
        self.texts = [phrase.texts for phrase in item.phrases]
        self._item = item
        self._decoded: dict[int, np.ndarray] = {}

    def mask(self, place: int, placed: Placed) -> np.ndarray:
        """Returns the mask (h, w) bool of a phrase in the training image; empty where the crop shows nothing of it."""
        item, named, targets = self._item, self._item.phrases[place].mask, placed.sample.targets
        if isinstance(named, int) and item.panoptic is not None and targets is not None:
            segments = [s.id for s in item.segments if not s.iscrowd]
            rows = [row for row, number in enumerate(placed.present) if segments[number - 1] == named]
            return targets.masks[rows[0]] if rows else np.zeros(placed.geometry.canvas, bool)
        return placed.geometry.labels(self._original(place, placed.sample.output_size)).view(bool)

    def visible(self, placed: Placed) -> np.ndarray:
        """Returns the masks (N, h, w) bool that are not empty."""
        masks = [mask for place in range(len(self.texts)) if (mask := self.mask(place, placed)).any()]
        return np.stack(masks) if masks else np.zeros((0, *placed.geometry.canvas), bool)

    def shown(self, geometry: Geometry, size: tuple[int, int]) -> bool:
        """Tells whether a geometry of an image of ``size`` (height, width) shows a phrase."""
        return any(geometry.labels(self._original(place, size)).any() for place in range(len(self.texts)))

    def _original(self, place: int, size: tuple[int, int]) -> np.ndarray:
        """Returns the mask (H, W) uint8 of a phrase at the original size."""
        if place not in self._decoded:
            self._decoded[place] = phrase_mask(self._item.phrases[place], self._item, size, None).view(np.uint8)
        return self._decoded[place]
