"""Prompts in image pixels to strokes of the network's input."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfoundry.utils.prompts import Box, Circle, Point, Polygon, PromptError, Scribble, check_prompt, rasterize

SIZES = st.tuples(st.integers(1, 300), st.integers(1, 300))


def drawn(prompt, original=(40, 60), size=None):
    """The pixels of one positive prompt, (h, w) bool."""
    strokes = rasterize([[prompt]], original, size or original)
    assert not strokes.negative.any()
    return strokes.positive[0]


@st.composite
def prompts(draw, size):
    """Any prompt that is inside an image of this size and has an extent."""
    height, width = size
    x, y = st.floats(0, width), st.floats(0, height)
    points = st.lists(st.tuples(x, y), min_size=1, max_size=6)
    positive = draw(st.booleans())
    kind = draw(st.sampled_from("pbsgc"))
    if kind == "p":
        return Point(draw(x), draw(y), positive)
    if kind == "s":
        return Scribble(draw(points), positive, draw(st.floats(0.01, 400)))
    if kind == "c":
        return Circle(draw(x), draw(y), draw(st.floats(1e-3, 1e4)), positive)
    left, right = sorted((draw(x), draw(x)))
    top, bottom = sorted((draw(y), draw(y)))
    if right - left < 1e-3 or bottom - top < 1e-3:
        left, right, top, bottom = 0, width, 0, height
    if kind == "b":
        return Box(left, top, right, bottom, positive)
    return Polygon([(left, top), (right, top), (right, bottom)], positive)


@given(st.data(), SIZES, SIZES)
def test_every_valid_prompt_covers_pixels_of_its_own_sign(data, original, size):
    prompt = data.draw(prompts(original))
    check_prompt(prompt, original)
    strokes = rasterize([[prompt]], original, size)
    said, denied = (strokes.positive, strokes.negative) if prompt.positive else (strokes.negative, strokes.positive)
    assert said.shape == (1, *size) and said.dtype == bool and said.any() and not denied.any()


@given(st.data(), SIZES, SIZES)
def test_objects_do_not_mix_and_signs_exclude_each_other(data, original, size):
    objects = [data.draw(st.lists(prompts(original), min_size=1, max_size=4)) for _ in range(2)]
    both = rasterize(objects, original, size)
    assert not (both.positive & both.negative).any()
    for number, one in enumerate(objects):
        alone = rasterize([one], original, size)
        np.testing.assert_array_equal(both.positive[number], alone.positive[0])
        np.testing.assert_array_equal(both.negative[number], alone.negative[0])


def test_a_point_covers_three_by_three_pixels_of_the_input():
    mask = drawn(Point(10, 20))
    assert mask.sum() == 9 and mask[19:22, 9:12].all()
    half = drawn(Point(10, 20), size=(20, 30))
    assert half.sum() == 9 and half[9:12, 4:7].all()
    assert drawn(Point(0, 0)).sum() == 4 and drawn(Point(60, 40)).sum() == 4
    assert drawn(Point(0.2, 0.7), (1, 1)).all()


def test_a_box_is_filled():
    mask = drawn(Box(10, 5, 20, 8))
    assert mask.sum() == 30 and mask[5:8, 10:20].all()
    assert drawn(Box(0, 0, 60, 40)).all()
    assert drawn(Box(0, 0, 60, 40), size=(13, 17)).all()


def test_a_circle_has_its_area():
    mask = drawn(Circle(30, 20, 10))
    assert abs(mask.sum() - math.pi * 100) < 8 and mask[20, 21] and not mask[20, 19]
    assert drawn(Circle(30, 20, 1000)).all()


def test_a_polygon_is_filled_and_a_scribble_is_a_line():
    triangle = drawn(Polygon([(10, 10), (50, 10), (10, 30)]))
    assert triangle[12, 12] and not triangle[28, 45] and abs(triangle.sum() - 400) < 70
    line = drawn(Scribble([(5, 20), (55, 20)], width=1))
    assert line[20, 5:55].all() and line.sum() < 110
    for width in (3, 5, 9):
        assert drawn(Scribble([(5, 20.5), (55, 20.5)], width=width))[:, 30].sum() == width
        dot = drawn(Scribble([(30.5, 20.5)], width=width))
        assert dot[20].sum() == dot[:, 30].sum() == width


def test_later_prompts_win():
    strokes = rasterize([[Box(0, 0, 60, 40), Point(30, 20, False)]], (40, 60), (40, 60))
    assert strokes.negative[0].sum() == 9 and strokes.positive[0].sum() == 40 * 60 - 9


def test_no_object_is_fine():
    strokes = rasterize([], (40, 60), (20, 30))
    assert strokes.positive.shape == strokes.negative.shape == (0, 20, 30)


def test_two_hundred_objects():
    strokes = rasterize([[Point(i % 60, i % 40)] for i in range(200)], (40, 60), (40, 60))
    assert strokes.positive.any((1, 2)).all()


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        (Point(61, 5), "outside the image, which is 60 wide and 40 high$"),
        (Point(30, 55), r"outside the image.*swapped\?"),
        (Point(-1, 5), "outside"),
        (Point(float("nan"), 5), "finite"),
        (Point(5, float("inf")), "finite"),
        (Box(10, 10, 10, 20), "no area"),
        (Box(20, 10, 10, 20), "x0 < x1"),
        (Box(20, 10, 70, 20), "outside"),
        (Scribble([]), "empty stroke"),
        (Scribble([(1, 1)], width=0), "width 0"),
        (Scribble([(1, 1), (99, 1)]), "outside"),
        (Scribble([(1, 1)], width=float("nan")), "width nan"),
        (Polygon([]), "empty stroke"),
        (Polygon([(1, 1), (5, 5)]), "three"),
        (Polygon([(1, 1), (5, 5), (1, 1)]), "three"),
        (Polygon([(1, 1), (5, 5), (9, 9)]), "one line"),
        (Circle(5, 5, 0), "radius 0"),
        (Circle(5, 5, float("inf")), "radius inf"),
        (Circle(99, 5, 3), "outside"),
        (Point("a", 3), "position is two numbers"),
        (Point(None, 3), "position is two numbers"),
        (Scribble([1, 2, 3]), "position is two numbers .*found 1"),
        (Polygon("abc"), "position is two numbers"),
        (Scribble([(1, 2, 3)]), "position is two numbers"),
        (Circle(5, 5, "wide"), "circle: expected numbers"),
        (Scribble([(5, 5)], width="wide"), "scribble: expected numbers"),
        ({"point": [1, 2]}, "found dict, expected Point"),
    ],
)
def test_prompts_that_say_nothing_are_refused(prompt, text):
    with pytest.raises(PromptError, match=text):
        rasterize([[prompt]], (40, 60), (20, 30))


def test_a_circle_of_any_size_is_drawn():
    assert drawn(Circle(5, 5, 1e200)).all()


def test_coordinates_are_called_swapped_only_where_that_would_help():
    with pytest.raises(PromptError, match="swapped"):
        check_prompt(Point(10, 50), (40, 60))
    with pytest.raises(PromptError) as error:
        check_prompt(Point(-1, 3), (40, 60))
    assert "swapped" not in str(error.value)


def test_an_object_without_prompts_is_refused():
    with pytest.raises(PromptError, match="object 2 of 2 has no prompt"):
        rasterize([[Point(1, 1)], []], (40, 60), (40, 60))
