"""Images with foreground masks -> training and evaluation samples, before their own or another background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...utils.errors import DataError
from ...utils.image_files.bit_depth import AUTO
from ...utils.image_io import MAX_PIXELS, image_size, read_image
from ...utils.structures.category import Category
from ...utils.structures.samples import Sample, Targets
from ..formats.foreground import read_foreground, same_aspect
from ..formats.label_maps import read_object_map
from ..formats.panoptic import read_panoptic_png
from ..records.image_item import Composite, ImageItem
from ..stream.samplers import evaluation_rng
from ..transforms.composite import (
    ForegroundChanges,
    compose,
    fit_background,
    fit_mask,
    random_background,
    zoom,
)
from ..transforms.crop import RandomCrop
from ..transforms.resize import FixedResize, ResizeStandard
from .panoptic import check_size, read_semantic


@dataclass(frozen=True)
class ForegroundPictures:
    """Makes image and mask of an item at the working size.

    Attributes:
        standard: from a file's size to the working size.
        nearest: masks are resized by the nearest pixel; else every pixel that foreground contributes to is foreground.
        changes: random changes of items that ask for them.
        feather: standard deviation in pixels of the blur of the seam between foreground and background.
        categories: of data sets whose foreground is that of their things.
        max_pixels: larger images are refused.
        bit_depth: INPUT.BIT_DEPTH.
    """

    standard: ResizeStandard
    nearest: bool
    changes: ForegroundChanges
    feather: float
    categories: Sequence[Category]
    max_pixels: int = MAX_PIXELS
    bit_depth: str = AUTO

    def read(self, item: ImageItem) -> tuple[np.ndarray, np.ndarray]:
        """Reads image (H, W, 3) uint8 and mask (h, w) bool of an item, as they are in their files.

        Raises:
            DataError: a file is unreadable, or the mask has another aspect ratio than the image.
        """
        image = read_image(item.image, self.max_pixels, self.bit_depth)
        mask = foreground_of(item, self.categories, self.max_pixels)
        if item.foreground is None or not same_aspect(image.shape[:2], mask.shape[:2]):
            check_size(item.foreground or item.panoptic or item.semantic or item.objects, mask, item.image, image)
        return image, mask

    def make(
        self, image: np.ndarray, mask: np.ndarray, composite: Composite | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns image (S, T, 3) uint8 and mask (S, T) bool at the working size, put together and changed.

        Args:
            image: (H, W, 3) uint8.
            mask: (h, w) bool, of the same aspect.
            composite: what is asked for; None: nothing.
            rng: source of every draw.

        Raises:
            DataError: the background drawn is unreadable; names the file.
        """
        size = self.standard.output_size(*image.shape[:2])
        image, mask = self.standard(image), fit_mask(mask, size, self.nearest)
        if composite is None:
            return image, mask
        changes, replaced = self.changes, bool(composite.backgrounds)
        if composite.augment:
            jitter, p = (changes.jitter, changes.jitter_p) if replaced else (changes.image_jitter, changes.image_p)
            if rng.random() < p:
                image = jitter(image, rng)
            if composite.crop_foreground and rng.random() < changes.zoom_p:
                image, mask = zoom(image, mask, changes.zoom, self.nearest, rng)
        if replaced:
            image = compose(image, self._background(composite, size, rng), mask, self.feather)
        if composite.augment and rng.random() < changes.flip_p:
            image, mask = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
        return image, mask

    def _background(self, composite: Composite, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        file = composite.backgrounds[int(rng.integers(len(composite.backgrounds)))]
        background = read_image(file, self.max_pixels, self.bit_depth)
        if not composite.augment:
            return fit_background(background, size, self.standard.keep_aspect)
        low, high = self.changes.background_crop.ratio
        # An image that keeps its aspect is not as wide as the standard size; the ratio follows, so nothing is squeezed.
        wider = size[1] / size[0] / (self.standard.size[1] / self.standard.size[0])
        crop = RandomCrop(self.changes.background_crop.scale, (low * wider, high * wider))
        return random_background(background, size, crop, self.changes, rng)


@dataclass(frozen=True)
class ForegroundTrainMapper:
    """Training samples whose target is the foreground at the working size.

    Attributes:
        pictures: makes image and mask.
        resize: from the working size to the network's.
        variants: number of fixed random variants of each image; 0: a new one in each epoch.
    """

    pictures: ForegroundPictures
    resize: FixedResize
    variants: int = 0

    def __call__(self, item: ImageItem, index: int, rng: np.random.Generator) -> Sample:
        """Makes a training sample: image at the network's size, ``targets.foreground`` (1, S, T) bool.

        Raises:
            DataError: a file is unreadable, or sizes do not fit; names the file.
        """
        original, mask = self.pictures.read(item)
        image, mask = self.pictures.make(original, mask, item.composite, rng)
        image = self.resize(image)
        none = np.zeros((0, *image.shape[:2]), bool)
        return Sample(
            image=image,
            index=index,
            image_id=item.image_id,
            file_name=str(item.image),
            output_size=(mask.shape[0], mask.shape[1]),
            targets=Targets(none, np.zeros(0, np.int64), labelled=False, foreground=mask[None]),
        )


@dataclass(frozen=True)
class ForegroundEvalMapper:
    """Evaluation samples with the foreground at the working size, or at the file's own.

    Attributes:
        pictures: makes image and mask.
        resize: from the working size to the network's.
        seed: decides backgrounds and random changes: those of an image are the same at every evaluation.
        original_size: ground truth at the file's own size. Images that change at random are measured at the working
            size all the same.
    """

    pictures: ForegroundPictures
    resize: FixedResize
    seed: int
    original_size: bool = False

    def input_size(self, item: ImageItem) -> tuple[int, int]:
        """Returns (height, width) of the resized image; reads the file's header when the item lacks its size."""
        size = (
            (item.height, item.width)
            if item.height and item.width
            else image_size(item.image, self.pictures.max_pixels)
        )
        return self.resize.output_size(*self.pictures.standard.output_size(*size))

    def __call__(self, item: ImageItem, index: int) -> Sample:
        """Makes an evaluation sample.

        Raises:
            DataError: a file is unreadable, or sizes do not fit; names the file.
        """
        original, full = self.pictures.read(item)
        image, mask = self.pictures.make(original, full, item.composite, evaluation_rng(self.seed, index))
        if self.original_size and not (item.composite and item.composite.augment):
            mask = fit_mask(full, (original.shape[0], original.shape[1]), nearest=True)
        return Sample(
            image=self.resize(image),
            index=index,
            image_id=item.image_id,
            file_name=str(item.image),
            output_size=(mask.shape[0], mask.shape[1]),
            foreground=mask,
        )


def foreground_of(item: ImageItem, categories: Sequence[Category], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Returns the foreground (H, W) bool of an item: its mask, else all of its objects, else all of its things.

    Raises:
        DataError: the item has none of these, or a file is unreadable.
    """
    if item.foreground is not None:
        return read_foreground(item.foreground, max_pixels)
    if item.objects is not None:
        return read_object_map(item.objects, item.object_coding, max_pixels) > 0
    if item.panoptic is not None:
        things = [segment.id for segment in item.segments if segment.isthing]
        return np.isin(read_panoptic_png(item.panoptic, max_pixels), things)
    if item.semantic is not None:
        things = [index for index, category in enumerate(categories) if category.isthing]
        return np.isin(read_semantic(item, len(categories), max_pixels), things)
    raise DataError(
        f"{item.image}: nothing says what its foreground is; its record names no `foreground` (folder of masks), no "
        "objects, panoptic or semantic annotations"
    )
