import tracemalloc

import numpy as np
import pytest

from segfoundry.utils.palette import distinct_color
from segfoundry.utils.structures.category import Category
from segfoundry.utils.structures.results import InstanceResult, PanopticResult, Segment
from segfoundry.utils.visualizer import (
    ERROR_COLORS,
    comparison,
    draw_errors,
    draw_instances,
    draw_masks,
    draw_panoptic,
    draw_semantic,
    error_share,
    shade,
)

CATEGORIES = [Category(7, "sky", False, (200, 10, 10)), Category(9, "cup", True, (10, 200, 10))]


def scene(cups=((10, 30, 10, 30), (10, 30, 60, 80))):
    """A 60 x 100 map: sky everywhere (id 1), each cup (rows, columns) its own id from 2."""
    ids = np.ones((60, 100), np.int32)
    segments = [Segment(1, 0, False)]
    for number, (top, bottom, left, right) in enumerate(cups, 2):
        ids[top:bottom, left:right] = number
        segments.append(Segment(number, 1, True))
    return PanopticResult(ids, segments)


def image(height=60, width=100):
    return np.full((height, width, 3), 100, np.uint8)


def test_category_colour_is_blended_and_void_stays():
    result = scene()
    result.ids[:5] = 0
    out = draw_panoptic(image(), result, CATEGORIES, alpha=0.5, labels=False)
    assert (out[:4] == 100).all()
    assert out[50, 50].tolist() == [150, 55, 55]
    assert out[20, 20].tolist() == [55, 150, 55]


def test_instances_of_a_category_differ_in_lightness_and_have_a_border():
    out = draw_panoptic(image(), scene(), CATEGORIES, labels=False)
    assert out[20, 20].tolist() != out[20, 70].tolist()
    assert out[10, 20].tolist() == [255, 255, 255]


def test_input_is_not_changed_and_the_same_call_gives_the_same_picture():
    source = image()
    first = draw_panoptic(source, scene(), CATEGORIES)
    assert (source == 100).all()
    assert (first == draw_panoptic(source, scene(), CATEGORIES)).all()


def test_many_segments_are_painted_in_their_boxes():
    """A mask per segment would take 400 bytes a pixel here."""
    side = 400
    ids = np.arange(400, dtype=np.int32).reshape(20, 20).repeat(20, 0).repeat(20, 1)
    result = PanopticResult(ids, [Segment(i, 1, True) for i in range(401)])
    tracemalloc.start()
    out = draw_panoptic(image(side, side), result, CATEGORIES, labels=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * side**2
    first, last = (shade(CATEGORIES[1].color, n) for n in (0, 399))
    for place, color in ((10, first), (390, last)):
        np.testing.assert_allclose(out[place, place], 100 * 0.45 + np.array(color) * 0.55, atol=1)


def test_label_stands_inside_its_segment():
    plain = draw_panoptic(image(200, 300), PanopticResult(np.zeros((200, 300), np.int32), []), CATEGORIES)
    ids = np.zeros((200, 300), np.int32)
    ids[50:150, 200:290] = 2
    result = PanopticResult(ids, [Segment(2, 1, True)])
    labelled = draw_panoptic(image(200, 300), result, CATEGORIES)
    unlabelled = draw_panoptic(image(200, 300), result, CATEGORIES, labels=False)
    rows, columns = np.nonzero((labelled != unlabelled).any(axis=2))
    assert (plain == 100).all()
    assert len(rows) and rows.min() >= 50 and rows.max() < 150 and columns.min() >= 200 and columns.max() < 290


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3)])
def test_tiny_images_do_not_fail(size):
    result = PanopticResult(np.ones(size, np.int32), [Segment(1, 1, True)])
    assert draw_panoptic(image(*size), result, CATEGORIES).shape == (*size, 3)


def test_semantic_leaves_out_ignored_pixels():
    semantic = np.full((60, 100), 255)
    semantic[:, 50:] = 1
    out = draw_semantic(image(), semantic, CATEGORIES, alpha=1.0, labels=False)
    assert (out[:, :50] == 100).all()
    assert out[30, 75].tolist() == [10, 200, 10]


def test_instances_below_the_score_are_left_out_and_the_best_is_on_top():
    masks = np.zeros((3, 60, 100), bool)
    masks[0, 10:50, 10:50] = True
    masks[1, 20:40, 20:40] = True
    masks[2, 0:5, 80:90] = True
    instances = InstanceResult(masks, np.array([0, 1, 1]), np.array([0.6, 0.9, 0.1], np.float32))
    out = draw_instances(image(), instances, CATEGORIES, alpha=1.0, labels=False)
    assert out[30, 30].tolist() == [10, 200, 10]
    assert out[15, 15].tolist() == [200, 10, 10]
    assert (out[:5, 80:90] == 100).all()


def test_masks_have_colours_of_their_own_and_later_ones_are_on_top():
    masks = np.zeros((2, *image().shape[:2]), bool)
    masks[0, 5:30, 5:30] = masks[1, 12:20, 12:20] = True
    out = draw_masks(image(), iter(masks), alpha=1.0)
    assert tuple(out[8, 8]) == distinct_color(0) and tuple(out[16, 16]) == distinct_color(1)
    assert tuple(out[5, 8]) == (255, 255, 255) and np.array_equal(out[~masks[0]], image()[~masks[0]])


def test_perfect_prediction_has_no_error():
    assert error_share(scene(), scene()) == 0.0
    out = draw_errors(image(), scene(), scene())
    assert (out[..., 0] == out[..., 1]).all()


def test_kinds_of_error():
    truth = scene()
    said = scene()
    said.ids[said.ids == 3] = 1  # a cup taken for sky
    said.ids[40:] = 0  # nothing said
    out = draw_errors(image(), truth, said)
    assert tuple(out[20, 70]) == ERROR_COLORS["wrong category"]
    assert tuple(out[50, 50]) == ERROR_COLORS["nothing predicted"]
    assert error_share(truth, said) == pytest.approx((20 * 20 + 20 * 100) / 6000)


def test_two_cups_merged_into_one_are_a_wrong_instance():
    truth = scene(cups=((10, 30, 10, 30), (10, 30, 30, 50)))
    said = scene(cups=((10, 30, 10, 50),))
    out = draw_errors(image(), truth, said)
    assert tuple(out[20, 20]) == ERROR_COLORS["right category, wrong instance"]
    assert error_share(truth, said) == pytest.approx(800 / 6000)


def test_void_and_crowd_are_not_judged():
    truth = scene()
    truth.segments[1].iscrowd = True
    truth.ids[40:] = 0
    said = PanopticResult(np.ones((60, 100), np.int32), [Segment(1, 0, False)])
    # Judged: sky in rows 0..39 (4000 - 800 px) and the second cup (400 px), which is wrong.
    assert error_share(truth, said) == pytest.approx(400 / 3600)
    assert error_share(PanopticResult(np.zeros((4, 4), np.int32), []), scene_of_size(4, 4)) == 0.0


def scene_of_size(height, width):
    return PanopticResult(np.ones((height, width), np.int32), [Segment(1, 0, False)])


def test_comparison_has_three_panels_of_bounded_height():
    small = comparison(image(), scene(), scene(), CATEGORIES)
    assert small.shape[1] >= 3 * 320 and 192 <= small.shape[0] <= 240
    big = image(1200, 1600)
    ids = np.ones((1200, 1600), np.int32)
    result = PanopticResult(ids, [Segment(1, 0, False)])
    assert comparison(big, result, result, CATEGORIES).shape[0] <= 680


def test_size_mismatch_is_refused():
    with pytest.raises(ValueError, match="differ in size"):
        draw_panoptic(image(50, 50), scene(), CATEGORIES)


def test_colours():
    assert len({distinct_color(i) for i in range(60)}) == 60
    assert all(0 <= c <= 255 for i in range(200) for c in distinct_color(i))
    assert shade((10, 200, 10), 0) == (10, 200, 10)
    assert len({shade((90, 120, 60), i) for i in range(7)}) == 7
