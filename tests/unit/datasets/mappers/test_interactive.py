"""Training samples with strokes and sentences."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfoundry.datasets.formats.panoptic import write_panoptic_png
from segfoundry.datasets.mappers.finer_masks import box_overlaps
from segfoundry.datasets.mappers.interactive import InteractiveTrainMapper, StrokeOptions, draw_strokes, pick_texts
from segfoundry.datasets.mappers.panoptic import PanopticTrainMapper
from segfoundry.datasets.records.image_item import ImageItem, InstanceAnnotation, Phrase
from segfoundry.datasets.strokes.point import RandomPoints
from segfoundry.datasets.transforms.jitter import LargeScaleJitter
from segfoundry.utils.errors import DataError
from segfoundry.utils.image_io import write_png
from segfoundry.utils.masks import encode_masks
from segfoundry.utils.structures.results import Segment

NAMES = ("wall-other", "cup")
SIZE = (32, 48)
PLAIN = LargeScaleJitter(48, 1.0, 1.0, "none")
WILD = LargeScaleJitter(40, 0.5, 3.0, "horizontal")
ALL = {"strokes": StrokeOptions(RandomPoints(), 3), "texts": 4, "refine": 0.7}


def rng(seed=0):
    return np.random.default_rng(seed)


def rle(mask):
    return encode_masks(mask[None])[0]


def region(top, left, height, width):
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


LEFT, RIGHT = region(16, 4, 12, 10), region(18, 30, 10, 12)


@pytest.fixture
def item(tmp_path):
    """A wall, a cup on the left, a cup on the right and a crowd of cups."""
    write_png(tmp_path / "a.png", rng().integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    ids = np.full(SIZE, 70000, np.int32)
    ids[LEFT], ids[RIGHT], ids[:4] = 5, 6, 9
    write_panoptic_png(tmp_path / "p.png", ids)
    segments = [Segment(9, 1, True, iscrowd=True), Segment(70000, 0, False), Segment(5, 1, True), Segment(6, 1, True)]
    return ImageItem("a", tmp_path / "a.png", *SIZE, tmp_path / "p.png", segments)


def mapper(jitter=PLAIN, **options):
    return InteractiveTrainMapper(PanopticTrainMapper(jitter, 2), NAMES, **options)


def phrases_only(item, *phrases):
    item.panoptic, item.segments, item.phrases = None, [], phrases
    return item


def test_image_masks_and_labels_are_those_of_the_panoptic_mapper(item):
    for seed in range(5):
        plain = PanopticTrainMapper(WILD, 2)(item, 3, rng(seed))
        for options in ({}, ALL):
            sample = mapper(WILD, **options)(item, 3, rng(seed))
            assert (sample.image == plain.image).all() and (sample.targets.labels == plain.targets.labels).all()
            assert (sample.targets.masks == plain.targets.masks).all()
            assert (sample.targets.spatial is None) == (sample.targets.texts is None) == (not options)


def test_the_tasks_draw_independently(item):
    item.phrases = [Phrase(("the left cup", "a cup"), rle(LEFT)), Phrase(("the right cup",), rle(RIGHT))]
    both = mapper(WILD, **ALL)(item, 0, rng(4)).targets
    texts = mapper(WILD, texts=4)(item, 0, rng(4)).targets.texts
    spatial = mapper(WILD, strokes=ALL["strokes"])(item, 0, rng(4)).targets.spatial
    assert texts.texts == both.texts.texts and (texts.masks == both.texts.masks).all()
    assert (spatial.strokes == both.spatial.strokes).all() and (spatial.masks == both.spatial.masks).all()


def test_phrases_take_part_in_the_geometry(item):
    item.phrases = [Phrase(("The LEFT cup",), rle(LEFT)), Phrase(("Right",), 6)]
    polygon = [[30.0, 18.0, 42.0, 18.0, 42.0, 28.0, 30.0, 28.0]]
    for seed in range(12):
        targets = mapper(WILD, texts=1)(item, 0, rng(seed)).targets
        assert targets.texts.masks.shape == (len(targets.texts.texts), 40, 40) and targets.texts.masks.any((1, 2)).all()
        for text, mask in zip(targets.texts.texts, targets.texts.masks, strict=True):
            if targets.texts.kind == "text":
                assert text in ("the left cup", "right")
                # the sentences name segments: their masks are the segments' masks
                assert (targets.masks == mask).all((1, 2)).any()
    item.phrases = [Phrase(("right",), polygon)]
    targets = mapper(texts=1)(item, 0, rng()).targets
    assert targets.texts.texts == ["right"] and (targets.texts.masks[0, :32] == RIGHT).mean() > 0.99
    assert not targets.texts.masks[0, 32:].any()


def test_one_sentence_of_a_phrase_is_drawn_and_equal_ones_come_together(item):
    item.phrases = [Phrase(("a", "b"), rle(LEFT)), Phrase(("a", "b"), rle(RIGHT))]
    drawn = [mapper(texts=1)(item, 0, rng(seed)).targets.texts for seed in range(30)]
    assert {tuple(t.texts) for t in drawn} == {("a",), ("b",), ("a", "a"), ("b", "b")}
    assert all(t.kind == "text" and len(t.masks) == len(t.texts) for t in drawn)


def test_the_number_of_sentences_is_uniform():
    texts, mask = [str(i) for i in range(10)], np.ones((2, 2), bool)
    counts = np.bincount([len(pick_texts(texts, lambda _: mask, 4, draws)[0]) for draws in [rng()] for _ in range(800)])
    assert counts[0] == 0 and len(counts) == 5 and counts[1:].min() > 150


def test_class_names_stand_in_where_there_is_no_phrase(item):
    seen = set()
    for seed in range(30):
        texts = mapper(texts=4)(item, 0, rng(seed)).targets.texts
        assert texts.kind == "class" and 1 <= len(set(texts.texts)) <= 2
        for sentence, mask in zip(texts.texts, texts.masks, strict=True):
            assert ("cup" in sentence) != ("wall" in sentence) and "-other" not in sentence and mask.any()
        seen |= set(texts.texts)
        assert sum("cup" in t for t in texts.texts) in (0, 2)  # both cups share a sentence
    assert len(seen) > 10


def test_small_objects_get_no_stroke():
    masks = np.zeros((2, 20, 20), bool)
    masks[0, :3, :3], masks[1, 5:, 5:] = True, True
    spatial = draw_strokes(masks, StrokeOptions(RandomPoints(), 5), rng())
    assert sorted(spatial.masks.sum((1, 2)).tolist()) == [0, 225]
    assert not spatial.strokes[spatial.masks.sum((1, 2)) == 0].any()
    assert masks[0].sum() == 9  # the targets of the object queries stay


@given(seed=st.integers(0, 2**32), most=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_strokes_lie_in_their_objects(seed, most):
    masks = np.stack([LEFT, RIGHT, ~(LEFT | RIGHT)])
    spatial = draw_strokes(masks, StrokeOptions(RandomPoints(), most), rng(seed))
    assert len(spatial.masks) == min(most, 3) and spatial.strokes.any((1, 2)).all()
    assert not (spatial.strokes & ~spatial.masks).any()
    assert len({m.tobytes() for m in spatial.masks} & {m.tobytes() for m in masks}) == len(spatial.masks)


def test_no_object_no_prompt(item):
    write_panoptic_png(item.panoptic, np.zeros(SIZE, np.int32))
    targets = mapper(**ALL)(item, 0, rng()).targets
    assert targets.labelled and targets.spatial.masks.shape == targets.spatial.strokes.shape == (0, 48, 48)
    assert targets.texts.texts == [] and targets.texts.masks.shape == (0, 48, 48)


def test_images_of_phrases_alone_are_not_labelled_and_show_one(item):
    masks = [region(20, 4, 4, 4).view(np.uint8), region(24, 8, 3, 2).view(np.uint8)]
    phrases_only(item, Phrase(("left",), rle(masks[0])), Phrase(("other",), rle(masks[1])))
    jitter, missed = LargeScaleJitter(24, 2.0, 3.0, "horizontal"), 0
    for seed in range(15):
        first = jitter.draw(*SIZE, rng(seed))
        missed += not any(first.labels(mask).any() for mask in masks)
        targets = mapper(jitter, **ALL)(item, 0, rng(seed)).targets
        assert not targets.labelled and targets.masks.shape == (0, 24, 24) and len(targets.labels) == 0
        assert targets.texts.kind == "text" and targets.texts.texts
        assert len(targets.spatial.masks) in (1, 2)
    assert missed  # some of the first crops show neither


def test_images_without_anything_work(item):
    targets = mapper(**ALL)(phrases_only(item), 0, rng()).targets
    assert not targets.labelled and len(targets.masks) == len(targets.spatial.masks) == len(targets.texts.masks) == 0


def test_object_maps_give_the_objects_of_semantic_data(item, tmp_path):
    labels = np.where(LEFT | RIGHT, 1, 0).astype(np.uint8)
    objects = (LEFT * 1 + RIGHT * 2).astype(np.uint8)
    objects[28] = 255  # a boundary
    write_png(tmp_path / "s.png", labels)
    write_png(tmp_path / "o.png", objects)
    phrases_only(item)
    item.semantic, item.objects = tmp_path / "s.png", tmp_path / "o.png"
    targets = mapper(strokes=StrokeOptions(RandomPoints(), 9))(item, 0, rng()).targets
    assert targets.labelled and len(targets.masks) == 2
    assert sorted(targets.spatial.masks.sum((1, 2)).tolist()) == sorted([(objects == 1).sum(), (objects == 2).sum()])
    write_png(tmp_path / "o.png", objects[:20])
    with pytest.raises(DataError, match=r"o.png: 48 x 20 pixels"):
        mapper(strokes=StrokeOptions(RandomPoints(), 9))(item, 0, rng())


def instance(mask):
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return InstanceAnnotation(rle(mask), (x, y, width, height))


def test_the_best_fitting_finer_mask_replaces_that_of_a_thing(item):
    finer = LEFT.copy()
    finer[20:24, 8:10] = False  # same box, a hole
    worse, stuff = region(16, 4, 12, 9), region(4, 0, 28, 48)
    item.instances = [instance(worse), instance(finer), instance(stuff)]
    sample = mapper(refine=0.7)(item, 0, rng())
    plain = mapper()(item, 0, rng())
    changed = (sample.targets.masks != plain.targets.masks).any((1, 2))
    assert changed.tolist() == [False, True, False]
    assert (sample.targets.masks[1, :32] == finer).all()
    assert (mapper(refine=1.0)(item, 0, rng()).targets.masks == plain.targets.masks).all()


def test_finer_masks_never_empty_a_target(item):
    item.instances = [InstanceAnnotation(rle(region(16, 4, 1, 1)), (4, 16, 10, 12))]
    for seed in range(20):
        targets = mapper(LargeScaleJitter(24, 3.0, 4.0), refine=0.7)(item, 0, rng(seed)).targets
        assert targets.masks.any((1, 2)).all()


def test_box_overlaps():
    one, other = np.array([[0.0, 0, 4, 4]]), np.array([[2.0, 2, 6, 6], [0, 0, 4, 4], [9, 9, 9, 9]])
    assert np.allclose(box_overlaps(one, other), [[4 / 28, 1, 0]])


@pytest.mark.parametrize("field", ["phrases", "instances"])
def test_faulty_masks_are_named(item, field):
    wrong = {"size": [3, 3], "counts": [9]}
    if field == "phrases":
        item.phrases = [Phrase(("a cup",), wrong)]
    else:
        item.instances = [InstanceAnnotation(wrong, (4, 16, 10, 12))]
    with pytest.raises(DataError, match=r"a.png.*size"):
        mapper(**ALL)(item, 0, rng())


def test_the_same_draws_give_the_same_sample(item):
    item.phrases = [Phrase(("left", "a cup"), rle(LEFT)), Phrase(("right",), 6), Phrase(("crowd",), 9)]
    one, two = (mapper(WILD, **ALL)(item, 0, rng(2)).targets for _ in range(2))
    assert (one.spatial.strokes == two.spatial.strokes).all() and one.texts.texts == two.texts.texts
    assert (one.texts.masks == two.texts.masks).all()
