"""Training samples with prompts: simulated strokes on some objects, and sentences that name some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from segfoundry.datasets.catalog import Item
from segfoundry.datasets.formats.label_maps import read_object_map
from segfoundry.datasets.mappers.finer_masks import refine_masks
from segfoundry.datasets.mappers.panoptic import PanopticTrainMapper, Placed, check_size
from segfoundry.datasets.mappers.phrases import phrase_mask
from segfoundry.datasets.strokes.base import StrokeSampler
from segfoundry.utils.structures import Sample, SpatialTargets, Targets, TextTargets
from segfoundry.utils.text_templates import TEMPLATES, training_prompt

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

    def __call__(self, item: Item, index: int, rng: np.random.Generator) -> Sample:
        """Makes a training sample.

        Raises:
            DataError: a file is unreadable, sizes differ, or an annotation is faulty; names the file.
        """
        placed = self.base.place(item, index, rng)
        targets = placed.sample.targets
        assert targets is not None
        if self.refine is not None and item.panoptic is not None:
            refine_masks(placed, item, self.refine)
        # Sources of their own: one task's draws do not depend on whether the other is switched on.
        stroke_seed, text_seed = rng.integers(2**63, size=2)
        phrases = _PhraseMasks(item, placed)
        if self.strokes is not None:
            objects = self._objects(item, placed, phrases)
            targets.spatial = draw_strokes(objects, self.strokes, np.random.default_rng(stroke_seed))
        if self.texts is not None:
            targets.texts = self._draw_texts(targets, phrases, np.random.default_rng(text_seed))
        return placed.sample

    def _objects(self, item: Item, placed: Placed, phrases: _PhraseMasks) -> np.ndarray:
        """Returns the masks (M, h, w) bool of the objects that may get a stroke."""
        targets = placed.sample.targets
        assert targets is not None
        if item.panoptic is None and item.objects is not None:
            values = read_object_map(item.objects, item.object_coding, self.base.max_pixels)
            check_size(item.objects, values, item.image, placed.numbers)
            labels = placed.geometry.labels(values)
            return labels == np.unique(labels[labels > 0])[:, None, None]
        return targets.masks if targets.labelled else phrases.visible()

    def _draw_texts(self, targets: Targets, phrases: _PhraseMasks, rng: np.random.Generator) -> TextTargets:
        """Draws phrases of the image, or class names of its masks where it has (or the crop shows) none."""
        assert self.texts is not None
        drawn = [texts[rng.integers(len(texts))].lower() for texts in phrases.texts]
        texts, masks = pick_texts(drawn, phrases.mask, self.texts, rng)
        kind = "text"
        if not texts and len(targets.masks):
            sentences = {
                k: training_prompt(self.names[k], rng.integers(len(TEMPLATES))) for k in np.unique(targets.labels)
            }
            texts, masks = pick_texts(
                [sentences[k] for k in targets.labels], lambda row: targets.masks[row], self.texts, rng
            )
            kind = "class"
        return TextTargets(texts, np.stack(masks) if masks else np.zeros((0, *targets.masks.shape[1:]), bool), kind)


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


class _PhraseMasks:
    """The masks of an item's phrases in the training image, decoded when they are asked for.

    Attributes:
        texts: sentences of each phrase.
    """

    def __init__(self, item: Item, placed: Placed) -> None:
        self.texts = [phrase.texts for phrase in item.phrases]
        self._item, self._placed = item, placed
        self._masks: dict[int, np.ndarray] = {}

    def mask(self, place: int) -> np.ndarray:
        """Returns the mask (h, w) bool of a phrase; empty where the crop shows nothing of it."""
        if place not in self._masks:
            self._masks[place] = self._decode(place)
        return self._masks[place]

    def visible(self) -> np.ndarray:
        """Returns the masks (N, h, w) bool that are not empty."""
        masks = [mask for mask in map(self.mask, range(len(self.texts))) if mask.any()]
        return np.stack(masks) if masks else np.zeros((0, *self._placed.geometry.canvas), bool)

    def _decode(self, place: int) -> np.ndarray:
        item, placed, phrase = self._item, self._placed, self._item.phrases[place]
        assert placed.sample.targets is not None
        if isinstance(phrase.mask, int) and item.panoptic is not None:
            segments = [s.id for s in item.segments if not s.iscrowd]
            shown = {segments[number - 1]: row for row, number in enumerate(placed.present)}
            row = shown.get(phrase.mask)
            return np.zeros(placed.geometry.canvas, bool) if row is None else placed.sample.targets.masks[row]
        mask = phrase_mask(phrase, item, placed.sample.output_size, None)
        return placed.geometry.labels(mask.view(np.uint8)).view(bool)
