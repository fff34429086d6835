"""From files to training targets and evaluation ground truth."""

import numpy as np
import pytest

from segfoundry.datasets.formats.panoptic import write_panoptic_png
from segfoundry.datasets.mappers.panoptic import PanopticEvalMapper, PanopticTrainMapper
from segfoundry.datasets.records.image_item import ImageItem
from segfoundry.datasets.transforms.jitter import LargeScaleJitter
from segfoundry.datasets.transforms.resize import ResizeLongest
from segfoundry.utils.errors import DataError
from segfoundry.utils.image_io import write_png
from segfoundry.utils.structures.results import Segment

PLAIN = LargeScaleJitter(32, 1.0, 1.0, "none")
CLASSES = 3


def rng():
    return np.random.default_rng(0)


@pytest.fixture
def item(tmp_path):
    """A 16 x 32 image: wall above, two cups below, one a crowd, a strip of VOID."""
    write_png(tmp_path / "a.png", rng().integers(0, 256, (16, 32, 3), dtype=np.uint8))
    ids = np.full((16, 32), 70000, np.int32)
    ids[8:, :16], ids[8:, 16:], ids[15] = 5, 0x050000, 0
    write_panoptic_png(tmp_path / "p.png", ids)
    labels = np.where(ids == 70000, 0, 2).astype(np.uint8)
    labels[15] = 255
    write_png(tmp_path / "s.png", labels)
    segments = [Segment(70000, 0, False), Segment(5, 2, True), Segment(0x050000, 2, True, iscrowd=True)]
    return ImageItem("a", tmp_path / "a.png", 16, 32, tmp_path / "p.png", segments, tmp_path / "s.png")


def test_masks_leave_out_crowd_void_and_padding(item):
    sample = PanopticTrainMapper(PLAIN, CLASSES)(item, 7, rng())
    assert sample.image.shape == (32, 32, 3) and (sample.image[16:] == 128).all()
    assert (sample.index, sample.image_id, sample.output_size) == (7, "a", (16, 32))
    masks, labels = sample.targets.masks, sample.targets.labels
    assert masks.dtype == bool and labels.dtype == np.int64 and labels.tolist() == [0, 2]
    assert masks.sum((1, 2)).tolist() == [8 * 32, 7 * 16] and not masks[:, 16:].any()


def test_semantic_data_gives_a_mask_per_class(item):
    item.panoptic, item.segments = None, []
    sample = PanopticTrainMapper(PLAIN, CLASSES)(item, 0, rng())
    assert sample.targets.labels.tolist() == [0, 2]
    assert sample.targets.masks.sum((1, 2)).tolist() == [8 * 32, 7 * 32]


def test_segments_that_the_crop_left_empty_are_dropped(item):
    mapper = PanopticTrainMapper(LargeScaleJitter(8, 4.0, 4.0, "none"), CLASSES)
    for seed in range(20):
        targets = mapper(item, 0, np.random.default_rng(seed)).targets
        assert targets.masks.shape == (len(targets.labels), 8, 8)
        assert targets.masks.any((1, 2)).all()


def test_an_image_of_void_alone_has_no_mask(item):
    write_panoptic_png(item.panoptic, np.zeros((16, 32), np.int32))
    targets = PanopticTrainMapper(PLAIN, CLASSES)(item, 0, rng()).targets
    assert targets.masks.shape == (0, 32, 32) and targets.labels.shape == (0,)


def test_more_than_255_segments_stay_apart(item):
    ids = np.arange(1, 16 * 32 + 1, dtype=np.int32).reshape(16, 32)
    write_panoptic_png(item.panoptic, ids)
    item.segments = [Segment(i, i % CLASSES, True) for i in ids.ravel().tolist()]
    targets = PanopticTrainMapper(PLAIN, CLASSES)(item, 0, rng()).targets
    assert len(targets.masks) == 512 and (targets.masks.sum((1, 2)) == 1).all()
    assert targets.labels[:4].tolist() == [1, 2, 0, 1]


def test_the_same_draws_give_the_same_sample_and_others_do_not(item):
    mapper = PanopticTrainMapper(LargeScaleJitter(32), CLASSES)
    one, two, other = (mapper(item, 0, np.random.default_rng(s)) for s in (1, 1, 2))
    assert (one.image == two.image).all() and (one.targets.masks == two.targets.masks).all()
    assert (one.image != other.image).any()


def test_evaluation_keeps_ground_truth_at_full_size(item):
    mapper = PanopticEvalMapper(ResizeLongest(8), CLASSES)
    sample = mapper(item, 3)
    assert sample.image.shape == (4, 8, 3) == (*mapper.input_size(item), 3)
    assert sample.panoptic.ids.shape == sample.semantic.shape == sample.output_size == (16, 32)
    assert sample.panoptic.segments == item.segments and set(np.unique(sample.semantic)) == {0, 2, 255}
    item.height = item.width = None
    assert mapper.input_size(item) == (4, 8)


def test_semantic_ground_truth_follows_from_panoptic(item):
    mapper = PanopticEvalMapper(ResizeLongest(8), CLASSES)
    given = mapper(item, 0).semantic
    item.semantic = None
    assert (mapper(item, 0).semantic == given).all()


@pytest.mark.parametrize("training", [True, False])
def test_wrong_files_are_named(item, training):
    mapper = PanopticTrainMapper(PLAIN, CLASSES) if training else PanopticEvalMapper(ResizeLongest(8), CLASSES)
    call = (lambda: mapper(item, 0, rng())) if training else (lambda: mapper(item, 0))
    write_panoptic_png(item.panoptic, np.full((16, 30), 70000, np.int32))
    with pytest.raises(DataError, match=r"p.png: 30 x 16 pixels, its image .*a.png has 32 x 16"):
        call()
    item.image.write_bytes(item.image.read_bytes()[:60])
    with pytest.raises(DataError, match="a.png"):
        call()


def test_ids_that_the_json_lacks_are_named(item):
    item.segments = item.segments[:1]
    with pytest.raises(DataError, match=r"p.png: 2 ids are missing in the panoptic JSON \(5, 327680\)"):
        PanopticTrainMapper(PLAIN, CLASSES)(item, 0, rng())


def test_semantic_values_that_are_no_class_are_named(item):
    item.panoptic = None
    with pytest.raises(DataError, match=r"s.png: values 2 are no category index \(expected 0..1"):
        PanopticTrainMapper(PLAIN, 2)(item, 0, rng())
    write_png(item.semantic, np.zeros((16, 32, 3), np.uint8))
    with pytest.raises(DataError, match="colour picture"):
        PanopticTrainMapper(PLAIN, 2)(item, 0, rng())


def test_many_categories_have_panoptic_but_no_semantic_maps(item):
    item.semantic = None
    sample = PanopticEvalMapper(ResizeLongest(8), 300)(item, 0)
    assert sample.semantic is None and sample.panoptic is not None
    item.semantic, item.panoptic = item.image, None
    with pytest.raises(DataError, match="at most 255 categories, the data set has 300"):
        PanopticTrainMapper(PLAIN, 300)(item, 0, rng())
