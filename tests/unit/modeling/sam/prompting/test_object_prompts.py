"""What SAM makes of points, boxes and other shapes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfoundry.modeling.sam.prompting.object_prompts import SCRIBBLE_POINTS, from_shapes, from_strokes, object_prompts
from segfoundry.utils.prompts import Box, Circle, Point, Polygon, Scribble, scaled
from segfoundry.utils.structures.requests import Prompts, Strokes


def test_points_and_boxes_keep_their_coordinates():
    prompt = from_shapes([Point(3.5, 4), Box(1, 2, 9, 8), Point(7, 6, False)])
    assert prompt.points == ((3.5, 4), (7, 6)) and prompt.labels == (1, 0)
    assert prompt.box == (1, 2, 9, 8) and prompt.form == (2, True)


def test_of_several_boxes_the_last_one_counts():
    assert from_shapes([Box(0, 0, 2, 2), Box(4, 4, 6, 6)]).box == (4, 4, 6, 6)


def test_an_area_is_its_bounding_box_and_a_point_inside():
    prompt = from_shapes([Polygon(((0, 0), (10, 0), (10, 10), (8, 10), (8, 2), (0, 2)))])
    (x, y), box = prompt.points[0], prompt.box
    assert box == (0, 0, 10, 10) and prompt.labels == (1,)
    assert y < 2 or x > 8, "the middle of the bounding box is outside this polygon"
    assert from_shapes([Circle(5, 6, 2)]).box == (3, 4, 7, 8)


def test_negative_areas_are_negative_points():
    prompt = from_shapes([Point(1, 1), Box(2, 2, 6, 4, False), Circle(8, 8, 1, False)])
    assert prompt.box is None
    assert prompt.points == ((1, 1), (4, 3), (8, 8)) and prompt.labels == (1, 0, 0)


def test_a_scribble_is_points_along_it():
    prompt = from_shapes([Scribble(((0, 0), (10, 0), (10, 10)))])
    assert len(prompt.points) == SCRIBBLE_POINTS == len(prompt.labels)
    for x, y in prompt.points:
        assert y == pytest.approx(0) or x == pytest.approx(10)
    assert len(from_shapes([Scribble(((3, 3),))]).points) == 1


def test_strokes_without_shapes_are_the_middles_of_their_pieces():
    positive = np.zeros((1, 20, 30), bool)
    positive[0, 4:7, 9:12] = positive[0, 14:17, 19:22] = True
    negative = np.zeros_like(positive)
    negative[0, 0:3, 0:3] = True
    found = from_strokes(Strokes(positive, negative))[0]
    assert set(found.points[:2]) == {(10, 5), (20, 15)} and found.points[2] == (1, 1)
    assert found.labels == (1, 1, 0)
    assert object_prompts(Prompts(Strokes(positive, negative)))[0] == found


def test_shapes_win_over_pixels():
    drawn = np.ones((1, 4, 4), bool)
    assert object_prompts(Prompts(Strokes(drawn, ~drawn), shapes=[[Point(1, 2)]]))[0].points == ((1, 2),)


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0, 100), st.floats(0, 100))
def test_scaling_moves_every_shape_alike(sx, sy, x, y):
    scale = (sx, sy)
    assert scaled(Point(x, y), scale) == Point(x * sx, y * sy)
    assert scaled(Scribble(((x, y),)), scale).points == ((x * sx, y * sy),)
    assert scaled(Polygon(((x, y), (0, 0), (1, 0))), scale).points[0] == (x * sx, y * sy)
    box = scaled(Box(x, y, x + 1, y + 1), scale)
    assert (box.x0, box.y0) == (x * sx, y * sy)
    assert scaled(Circle(x, y, 2.0), scale).radius == pytest.approx(2 * (sx * sy) ** 0.5)
