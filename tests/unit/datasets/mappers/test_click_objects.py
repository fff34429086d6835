"""Objects to click on: from object PNGs and panoptic maps, resized, with their first prompts."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segfoundry.datasets.mappers.click_objects import first_strokes, panoptic_objects, read_objects, resize_labels
from segfoundry.datasets.records.image_item import ImageItem
from segfoundry.datasets.strokes.box import TightBox
from segfoundry.datasets.strokes.point import InnermostPoint
from segfoundry.utils.errors import DataError
from segfoundry.utils.innermost_pixel import innermost_pixel
from segfoundry.utils.structures.results import PanopticResult, Segment
from segfoundry.utils.structures.samples import Sample


def sample(size, **truth):
    return Sample(np.zeros((*size, 3), np.uint8), 0, 7, "7.jpg", size, **truth)


def write(path, values, palette=None):
    image = Image.fromarray(values.astype(np.uint8), "P" if palette else "L")
    if palette:
        image.putpalette(palette)
    image.save(path)
    return ImageItem(7, Path("7.jpg"), objects=path)


def test_object_png_by_palette_index_and_by_grey_level(tmp_path):
    values = np.zeros((6, 9), np.uint8)
    values[1:3, 1:4], values[4:, 5:] = 3, 1
    for boundary, palette in ((255, list(range(256)) * 3), (220, None)):
        values[:, 8] = boundary
        labels, categories = read_objects(write(tmp_path / "objects.png", values, palette), sample((6, 9)))
        assert labels.dtype == np.int16 and categories == [None, None]
        assert (labels[:, 8] == -1).all()
        assert (labels[4:, 5:8] == 1).all() and (labels[1:3, 1:4] == 2).all()
        assert np.count_nonzero(labels == 0) == 6 * 8 - 6 - 6


def test_the_category_of_an_object_is_that_of_most_of_its_pixels(tmp_path):
    values = np.ones((4, 4), np.uint8)
    semantic = np.full((4, 4), 2)
    semantic[0, 0], semantic[1] = 5, 255
    _, categories = read_objects(write(tmp_path / "o.png", values), sample((4, 4), semantic=semantic))
    assert categories == [2]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_categories_of_many_objects_are_those_of_each_alone(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    values, semantic = rng.integers(0, 9, (7, 8)), rng.choice([0, 1, 2, 255], (7, 8))
    item = write(tmp_path_factory.mktemp("objects") / "o.png", values)
    labels, categories = read_objects(item, sample((7, 8), semantic=semantic))
    found = np.unique(values[values > 0])
    for number, value in enumerate(found, 1):
        assert ((labels == number) == (values == value)).all()
        inside = semantic[(values == value) & (semantic != 255)]
        assert categories[number - 1] == (np.bincount(inside).argmax() if inside.size else None)
    assert len(categories) == len(found)


def test_object_pngs_of_another_form_are_refused(tmp_path):
    with pytest.raises(DataError, match="its image 7.jpg has"):
        read_objects(write(tmp_path / "o.png", np.ones((4, 4))), sample((5, 4)))
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "o.png")
    with pytest.raises(DataError, match="colour picture"):
        read_objects(ImageItem(7, Path("7.jpg"), objects=tmp_path / "o.png"), sample((4, 4)))


def panoptic():
    ids = np.zeros((4, 8), np.int32)
    ids[:, 2:4], ids[:, 4:6], ids[:, 6:] = 70000, 5, 9
    segments = [Segment(70000, 0, False), Segment(5, 1, True), Segment(9, 1, True, iscrowd=True), Segment(3, 1, True)]
    return sample((4, 8), panoptic=PanopticResult(ids, segments))


def test_every_segment_but_crowds_is_an_object():
    labels, categories = panoptic_objects(ImageItem(7, Path("7.jpg")), panoptic(), things_only=False)
    assert labels[0].tolist() == [-1, -1, 1, 1, 2, 2, -1, -1] and categories == [0, 1]


def test_stuff_can_be_left_out_and_then_is_background():
    labels, categories = panoptic_objects(ImageItem(7, Path("7.jpg")), panoptic(), things_only=True)
    assert labels[0].tolist() == [-1, -1, 0, 0, 1, 1, -1, -1] and categories == [1]


def test_data_without_objects_is_refused():
    with pytest.raises(DataError, match="neither an object PNG nor a panoptic map"):
        panoptic_objects(ImageItem(7, Path("7.jpg")), sample((4, 4)), things_only=False)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(4, 12), st.integers(1, 7))
def test_no_object_is_lost_however_small_the_input(seed, height, width, count):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, count + 1, (31, 43)).astype(np.int16)
    labels[0, :count] = np.arange(1, count + 1)  # every object is there
    small = resize_labels(labels, (height, width), count)
    assert small.shape == (height, width) and small.dtype == np.int16
    assert set(np.unique(small)) >= set(range(1, count + 1))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 40), st.integers(5, 40), st.sampled_from([0.02, 0.3, 0.9]))
def test_a_lost_object_takes_the_nearest_pixel_that_no_other_needs(seed, height, width, share):
    """Against a search of the whole picture for each lost object."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random((61, 67)) < share, rng.integers(0, 9, (61, 67)), 0).astype(np.int16)
    labels.ravel()[: 15 * 67 : 67] = np.arange(1, 16)
    small = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    for number in (n for n in range(1, 16) if not (small == n).any()):
        row, column, _ = innermost_pixel(labels == number)
        row, column = row * height // 61, column * width // 67
        free = np.array([value <= 0 or np.count_nonzero(small == value) > 1 for value in small.ravel()])
        rows, columns = np.nonzero(free.reshape(small.shape))
        nearest = np.argmin((rows - row) ** 2 + (columns - column) ** 2)
        small[rows[nearest], columns[nearest]] = number
    np.testing.assert_array_equal(resize_labels(labels, (height, width), 15), small)


def test_resized_objects_keep_their_places():
    labels = np.zeros((40, 40), np.int16)
    labels[20:, 20:] = 1
    labels[3, 7] = 2
    small = resize_labels(labels, (10, 10), 2)
    assert (small[5:, 5:] == 1).all() and np.argwhere(small == 2).tolist() == [[0, 1]]


def test_first_prompts_lie_on_their_objects_and_are_repeatable():
    labels = np.zeros((30, 50), np.int16)
    labels[4:15, 3:14], labels[20:25, 40:] = 2, 1
    clicks = first_strokes(labels, 3, InnermostPoint(), [0])
    assert [len(stroke) for stroke in clicks] == [9, 9, 0]
    assert np.unravel_index(clicks[1][4], labels.shape) == (9, 8)
    boxes = first_strokes(labels, 2, TightBox(), [0])
    for number, stroke in enumerate(boxes, 1):
        np.testing.assert_array_equal(stroke, np.flatnonzero(labels == number))


class Chance:
    """Draws one random pixel of the object."""

    def sample(self, mask, rng):
        drawn = np.zeros_like(mask)
        drawn.ravel()[rng.choice(np.flatnonzero(mask))] = True
        return drawn


def test_random_prompts_depend_on_image_and_object_alone():
    labels = np.zeros((30, 50), np.int16)
    labels[2:20, 2:20], labels[2:20, 25:43] = 1, 2
    first, again, other = (first_strokes(labels, 2, Chance(), [image]) for image in (0, 0, 1))
    assert [s.tolist() for s in first] == [s.tolist() for s in again] != [s.tolist() for s in other]
    assert all(labels.ravel()[stroke] == number for number, stroke in enumerate(first, 1))
