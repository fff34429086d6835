"""Samples of prompted evaluations: what a data set's evaluators ask for, and nothing else."""

import numpy as np
import pytest
from PIL import Image

from segfoundry.datasets.pipelines.base import find_pipeline
from segfoundry.datasets.records.image_item import ImageItem, Phrase
from segfoundry.datasets.records.record import Record
from segfoundry.datasets.records.split import Split
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.errors import DataError
from segfoundry.utils.structures.category import Category

CATEGORIES = (Category(1, "wall", False, (1, 1, 1)), Category(2, "cup", True, (2, 2, 2)))
SQUARE = [[20.0, 4.0, 40.0, 4.0, 40.0, 24.0, 20.0, 24.0]]


@pytest.fixture
def item(tmp_path):
    """Two cups on a wall, as object PNG and semantic PNG."""
    Image.fromarray(np.zeros((30, 60, 3), np.uint8)).save(tmp_path / "a.png")
    objects, semantic = np.zeros((30, 60), np.uint8), np.zeros((30, 60), np.uint8)
    objects[4:24, 20:40], objects[6:10, 50:58] = 1, 2
    semantic[objects > 0] = 1
    objects[:, 0] = 255
    Image.fromarray(objects).save(tmp_path / "objects.png")
    Image.fromarray(semantic).save(tmp_path / "semantic.png")
    return ImageItem("a", tmp_path / "a.png", semantic=tmp_path / "semantic.png", objects=tmp_path / "objects.png")


def mapper(tmp_path, *kinds, **keys):
    keys = {"MODEL.NAME": "seem_model_v1", "COCO.INPUT.IMAGE_SIZE": 32} | keys
    record = Record("cups", tmp_path / "cups.yaml", tmp_path, CATEGORIES, None, {})
    return find_pipeline(load_mapping(keys).typed).eval_mapper(record, Split("val", tmp_path), kinds)


def test_only_what_is_asked_for(item, tmp_path):
    plain = mapper(tmp_path)(item, 0)
    assert plain.objects is None and plain.phrases is None and plain.semantic is not None
    clicks = mapper(tmp_path, "interactive")(item, 0)
    assert clicks.phrases is None and len(clicks.objects) == 2
    assert mapper(tmp_path, "referring")(item, 0).phrases.texts == []


def test_objects_at_both_sizes_with_a_click_each(item, tmp_path):
    sample = mapper(tmp_path, "interactive")(item, 0)
    truth = sample.objects
    assert truth.labels.shape == (30, 60) and truth.input_labels.shape == sample.image.shape[:2] == (16, 32)
    assert (truth.labels[:, 0] == -1).all() and (truth.input_labels[:, 0] == -1).all()
    for number, stroke in enumerate(truth.strokes, 1):
        middle = truth.input_labels.ravel()[stroke[len(stroke) // 2]]
        assert len(stroke) == 9 and middle == number
    assert truth.texts == []


@pytest.mark.parametrize("start", ["Point", "Box", "Scribble", "Polygon", "Circle"])
def test_every_first_prompt_is_repeatable_and_touches_its_object(item, tmp_path, start):
    make = mapper(tmp_path, "interactive", **{"STROKE_SAMPLER.EVAL.START": start})
    first, again = make(item, 4).objects, make(item, 4).objects
    for number, (stroke, same) in enumerate(zip(first.strokes, again.strokes, strict=True), 1):
        np.testing.assert_array_equal(stroke, same)
        assert (first.input_labels.ravel()[stroke] == number).any()


def test_the_split_may_name_the_first_prompt(item, tmp_path):
    keys = load_mapping({"MODEL.NAME": "seem_model_v1", "COCO.INPUT.IMAGE_SIZE": 60}).cfg
    record = Record("cups", tmp_path / "cups.yaml", tmp_path, CATEGORIES, None, {})
    split = Split("val", tmp_path, prompt="Box")
    sample = find_pipeline(keys).eval_mapper(record, split, ["interactive"])(item, 0)
    assert [len(stroke) for stroke in sample.objects.strokes] == [400, 32]


def test_texts_are_phrases_or_else_categories(item, tmp_path):
    item.phrases = [Phrase(("the left one", "a cup"), SQUARE)]
    sample = mapper(tmp_path, "interactive", **{"STROKE_SAMPLER.EVAL.GROUNDING": True})(item, 0)
    assert sample.objects.texts == ["the left one", "cup."]  # as the class sentences of training end
    item.semantic = None
    with pytest.raises(DataError, match="object 2 has neither a phrase nor a category"):
        mapper(tmp_path, "interactive", **{"STROKE_SAMPLER.EVAL.GROUNDING": True})(item, 0)


def test_phrases_with_a_stroke_of_each_object(item, tmp_path):
    item.phrases = [Phrase(("left", "also left"), SQUARE), Phrase(("nothing",), [])]
    keys = {"TEST.SENTENCES": "all", "REF.INPUT.SPATIAL": True}
    phrases = mapper(tmp_path, "referring", **keys)(item, 0).phrases
    assert phrases.texts == ["left", "also left", "nothing"]
    assert [len(stroke) for stroke in phrases.strokes] == [9, 0]
    assert mapper(tmp_path, "referring")(item, 0).phrases.strokes == []
