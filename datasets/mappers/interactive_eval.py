"""Evaluation samples with prompts: objects to click on, and phrases with their masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...utils.class_names.text_templates import TEMPLATES, training_prompt
from ...utils.errors import DataError
from ...utils.structures.samples import ObjectTruth, PhraseTruth, Sample
from ..records.image_item import ImageItem
from ..records.record import Record
from ..strokes.base import StrokeSampler
from .click_objects import first_strokes, panoptic_objects, read_objects, resize_labels
from .panoptic import PanopticEvalMapper
from .phrase_masks import phrase_pixels, phrase_truth

_BARE = TEMPLATES.index("{}.")  # nothing but the name and a full stop


@dataclass(frozen=True)
class ClickOptions:
    """How objects are prompted.

    Attributes:
        start: draws the first prompt.
        things_only: of panoptic data, no stuff.
        texts_key: configuration key that asks for each object's phrase or category name along; empty: none.
    """

    start: StrokeSampler
    things_only: bool = False
    texts_key: str = ""


@dataclass(frozen=True)
class PhraseOptions:
    """How phrases are asked for.

    Attributes:
        sentences: "first" of each object, or "all".
        start: draws a prompt that is given along for each object, or None: texts alone.
    """

    sentences: str = "first"
    start: StrokeSampler | None = None


@dataclass(frozen=True)
class InteractiveEvalMapper:
    """Adds objects and phrases to the samples of the panoptic mapper.

    Attributes:
        base: makes the image and the panoptic and semantic ground truth.
        record: the data set.
        clicks: make ``Sample.objects``, or None.
        phrases: make ``Sample.phrases``, or None.
    """

    base: PanopticEvalMapper
    record: Record
    clicks: ClickOptions | None = None
    phrases: PhraseOptions | None = None

    def input_size(self, item: ImageItem) -> tuple[int, int]:
        """Returns (height, width) of the resized image."""
        return self.base.input_size(item)

    def __call__(self, item: ImageItem, index: int) -> Sample:
        """Makes an evaluation sample.

        Raises:
            DataError: a file is unreadable or sizes differ; names the file.
        """
        sample = self.base(item, index)
        if self.clicks is not None:
            sample.objects = self._objects(item, sample, self.clicks)
        if self.phrases is not None:
            sample.phrases = self._phrases(item, sample, self.phrases)
        return sample

    def _objects(self, item: ImageItem, sample: Sample, options: ClickOptions) -> ObjectTruth:
        if item.objects is not None:
            labels, categories = read_objects(item, sample, self.base.max_pixels)
        else:
            labels, categories = panoptic_objects(item, sample, options.things_only)
        count = int(labels.max(initial=0))
        input_labels = resize_labels(labels, _size(sample), count)
        return ObjectTruth(
            labels,
            input_labels,
            first_strokes(input_labels, count, options.start, [sample.index]),
            self._names(item, sample, labels, categories, options) if options.texts_key else [],
        )

    def _names(
        self,
        item: ImageItem,
        sample: Sample,
        labels: np.ndarray,
        categories: Sequence[int | None],
        options: ClickOptions,
    ) -> list[str]:
        """Returns a phrase of each object where the data set has one, else the bare sentence of its category."""
        names = [None if c is None else training_prompt(self.record.categories[c].name, _BARE) for c in categories]
        ids = None if sample.panoptic is None else sample.panoptic.ids
        columns = labels.T.ravel()
        for phrase in item.phrases:
            inside = columns[phrase_pixels(phrase, item, sample.output_size, ids)]
            inside = inside[inside > 0]
            if inside.size:
                names[int(np.bincount(inside).argmax()) - 1] = phrase.texts[0]
        if None in names:
            raise DataError(
                f"{item.objects}: object {names.index(None) + 1} has neither a phrase nor a category, which "
                f"{options.texts_key} needs"
            )
        return [str(name) for name in names]

    def _phrases(self, item: ImageItem, sample: Sample, options: PhraseOptions) -> PhraseTruth:
        ids = None if sample.panoptic is None else sample.panoptic.ids
        truth = phrase_truth(item, sample.output_size, ids, options.sentences)
        if options.start is not None:
            for number, mask in enumerate(truth.masks):
                small = resize_labels(mask.astype(np.int16), _size(sample), int(mask.any()))
                truth.strokes += first_strokes(small, 1, options.start, [sample.index, number])
        return truth


def _size(sample: Sample) -> tuple[int, int]:
    return sample.image.shape[0], sample.image.shape[1]
