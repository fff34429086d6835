"""Training samples for promptable networks."""

import cv2
import numpy as np
import pytest

from segfoundry.datasets.formats.panoptic import write_panoptic_png
from segfoundry.datasets.pipelines.base import find_pipeline
from segfoundry.datasets.records.image_item import Composite, ImageItem, Phrase
from segfoundry.datasets.records.record import Record
from segfoundry.utils.config.architectures import architectures
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.image_io import write_png
from segfoundry.utils.masks import encode_masks
from segfoundry.utils.structures.category import Category
from segfoundry.utils.structures.results import Segment

SIZE = (32, 48)
CATEGORIES = (Category(1, "wall", False, (0, 0, 0)), Category(2, "cup", True, (9, 9, 9)))


def mapper(folder, **values):
    settings = architectures()["sam"].tiny() | {"SAM.PROMPTABLE.FLIP_P": 0.0}
    cfg = load_mapping(settings | {name.replace("__", "."): value for name, value in values.items()}).cfg
    return find_pipeline(cfg).train_mapper(Record("cups", folder, folder, CATEGORIES, None, {}))


def region(top, left, height, width):
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


LEFT, RIGHT = region(16, 4, 12, 10), region(18, 30, 10, 12)


@pytest.fixture
def folder(tmp_path):
    write_png(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    ids = np.zeros(SIZE, np.int32)
    ids[LEFT], ids[RIGHT], ids[:4] = 5, 6, 9
    write_panoptic_png(tmp_path / "panoptic.png", ids)
    write_png(tmp_path / "semantic.png", np.where(LEFT | RIGHT, 1, 0).astype(np.uint8))
    write_png(tmp_path / "objects.png", (LEFT + 2 * RIGHT).astype(np.uint8))
    write_png(tmp_path / "foreground.png", LEFT.astype(np.uint8) * 7)
    return tmp_path


SEGMENTS = [Segment(9, 1, True, iscrowd=True), Segment(5, 1, True), Segment(6, 1, True)]


def items(folder):
    def item(**values):
        return ImageItem("a", folder / "a.png", *SIZE, **values)

    return {
        "panoptic": (item(panoptic=folder / "panoptic.png", segments=SEGMENTS), [LEFT, RIGHT]),
        "semantic": (item(semantic=folder / "semantic.png"), [~(LEFT | RIGHT), LEFT | RIGHT]),
        "objects": (item(objects=folder / "objects.png"), [LEFT, RIGHT]),
        "phrases": (item(phrases=[Phrase(("the cup",), encode_masks(RIGHT[None])[0])]), [RIGHT]),
        "foreground": (item(foreground=folder / "foreground.png"), [LEFT]),
        "nothing": (item(), []),
    }


@pytest.mark.parametrize("kind", ["panoptic", "semantic", "objects", "phrases", "foreground", "nothing"])
def test_every_kind_of_annotation_gives_objects_at_the_size_of_the_network(folder, kind):
    item, expected = items(folder)[kind]
    # The working size of foreground masks is that of the file here, so that masks can be compared.
    sample = mapper(folder, SAM__IMAGE_SIZE=96, SAM__DLO__INPUT__STANDARD_SIZE=list(SIZE))(
        item, 3, np.random.default_rng(0)
    )
    assert sample.image.shape == (64, 96, 3) and sample.image.dtype == np.uint8
    assert sample.index == 3 and sample.output_size == SIZE
    assert sample.targets.masks.shape == (len(expected), 64, 96) and sample.targets.masks.dtype == bool
    assert len(sample.targets.labels) == len(expected)
    for mask, truth in zip(sample.targets.masks, expected, strict=True):
        assert np.array_equal(mask, cv2.resize(truth.view(np.uint8), (96, 64), interpolation=cv2.INTER_NEAREST) > 0)


def test_sizes_are_rounded_as_published(folder):
    # 48 x 32 to a long side of 80: 53.33 rows; to 96 x 64 exact halves do not occur, to 72: 48.
    item, _ = items(folder)["panoptic"]
    assert mapper(folder, SAM__IMAGE_SIZE=80)(item, 0, np.random.default_rng(0)).image.shape == (53, 80, 3)


def test_flips_move_image_and_masks_together(folder):
    item, _ = items(folder)["panoptic"]
    plain = mapper(folder)(item, 0, np.random.default_rng(0))
    flipped = mapper(folder, SAM__PROMPTABLE__FLIP_P=1.0)(item, 0, np.random.default_rng(0))
    assert np.array_equal(flipped.image, plain.image[:, ::-1])
    assert np.array_equal(flipped.targets.masks, plain.targets.masks[..., ::-1])


def test_foregrounds_get_the_background_that_their_data_set_asks_for(folder):
    write_png(folder / "green.png", np.full((*SIZE, 3), (0, 255, 0), np.uint8))
    item, _ = items(folder)["foreground"]
    item.composite = Composite((folder / "green.png",))
    sample = mapper(folder, SAM__IMAGE_SIZE=64)(item, 0, np.random.default_rng(0))
    (mask,) = sample.targets.masks
    far = cv2.dilate(mask.view(np.uint8), np.ones((5, 5), np.uint8)) == 0
    assert far.any() and (sample.image[far] == (0, 255, 0)).all()
