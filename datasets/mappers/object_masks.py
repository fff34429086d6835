"""Training samples for networks that segment what a prompt points at: images with the masks of their objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...utils.structures.samples import Sample, Targets
from ..records.image_item import ImageItem
from ..transforms.geometry import Geometry
from ..transforms.resize import FixedResize
from .foreground import ForegroundPictures
from .interactive import PhraseMasks, object_masks
from .panoptic import PanopticTrainMapper


@dataclass(frozen=True)
class LongSideFlip:
    """A fixed resize and a random horizontal flip; nothing is cut off or padded.

    Attributes:
        resize: decides the size.
        flip_p: probability of the flip.
    """

    resize: FixedResize
    flip_p: float = 0.5

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Geometry:
        """Draws the geometry for an image of that size; takes one number from ``rng``."""
        size = self.resize.output_size(height, width)
        return Geometry(size, 0, 0, size, size, flip_horizontal=bool(rng.random() < self.flip_p))


@dataclass(frozen=True)
class PromptableTrainMapper:
    """Cuts annotations of any kind into masks of objects.

    A foreground mask is one object, on the background that its data set asks for. Otherwise objects are the segments of
    the panoptic map, else those of the object PNG, else the classes of the semantic PNG, else the regions of phrases.

    Attributes:
        base: places image and panoptic or semantic annotations.
        pictures: makes images with foreground masks.
        variants: number of fixed random variants of each image; 0: a new one in each epoch.
    """

    base: PanopticTrainMapper
    pictures: ForegroundPictures
    variants: int = 0

    def __call__(self, item: ImageItem, index: int, rng: np.random.Generator) -> Sample:
        """Makes a training sample whose targets are the objects that the image shows.

        Raises:
            DataError: a file is unreadable, sizes differ, or an annotation is faulty; names the file.
        """
        if item.foreground is not None:
            return self._foreground(item, index, rng)
        placed = self.base.place(item, index, rng)
        targets = placed.sample.targets
        assert targets is not None
        masks = object_masks(item, placed, PhraseMasks(item), self.base.max_pixels)
        labels = targets.labels if masks is targets.masks else np.zeros(len(masks), np.int64)
        placed.sample.targets = Targets(masks, labels, labelled=targets.labelled)
        return placed.sample

    def _foreground(self, item: ImageItem, index: int, rng: np.random.Generator) -> Sample:
        image, mask = self.pictures.make(*self.pictures.read(item), item.composite, rng)
        geometry = self.base.jitter.draw(mask.shape[0], mask.shape[1], rng)
        masks = geometry.labels(mask.view(np.uint8)).view(bool)[None]
        masks = masks[masks.any(axis=(1, 2))]
        return Sample(
            image=geometry.image(image),
            index=index,
            image_id=item.image_id,
            file_name=str(item.image),
            output_size=(mask.shape[0], mask.shape[1]),
            targets=Targets(masks, np.zeros(len(masks), np.int64), labelled=False),
        )
