"""Simulated strokes: where they lie, how large they are, and that equal draws give equal strokes."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segfoundry.datasets.pipelines.seem import STROKES, start_prompt, training_strokes
from segfoundry.datasets.strokes.base import START_PROMPTS
from segfoundry.datasets.strokes.polygon import closed_curve
from segfoundry.datasets.strokes.scribble import WALKS, weighted_choice
from segfoundry.modeling.seem.config_data import STROKE_PRESETS, STROKE_SHAPES
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.errors import ConfigError
from segfoundry.utils.innermost_pixel import innermost_pixel

KEYS = load_mapping({"MODEL.NAME": "seem_model_v1"}).cfg.STROKE_SAMPLER
SHAPES = ("Point", "Polygon", "Scribble", "Circle")
INSIDE = ("Point", "Scribble", "Circle")


def rng(seed=0):
    return np.random.default_rng(seed)


@st.composite
def masks(draw):
    """A mask of random rectangles: thin, split, at the border, or empty."""
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    mask = np.zeros((height, width), bool)
    for _ in range(draw(st.integers(0, 3))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        mask[top : top + draw(st.integers(1, 60)), left : left + draw(st.integers(1, 60))] = True
    return mask


@pytest.mark.parametrize("shape", SHAPES)
@given(mask=masks(), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_strokes_lie_in_the_image_and_where_they_promise(shape, mask, seed):
    before = mask.copy()
    sampler = STROKES.get(shape)(KEYS)
    stroke = sampler.sample(mask, rng(seed))
    assert stroke.shape == mask.shape and stroke.dtype == bool and (mask == before).all()
    assert stroke.any() == mask.any()
    if shape in INSIDE:
        assert not (stroke & ~mask).any()
    else:
        assert (stroke & mask).any() or not mask.any()
    assert (sampler.sample(mask, rng(seed)) == stroke).all()


@pytest.mark.parametrize("name", START_PROMPTS)
@given(mask=masks())
@settings(max_examples=40, deadline=None)
def test_start_prompts_touch_the_object(name, mask):
    stroke = start_prompt(name, KEYS).sample(mask, rng())
    assert stroke.shape == mask.shape and stroke.dtype == bool
    assert (stroke & mask).any() == mask.any() == stroke.any()


@pytest.mark.parametrize(
    ("shape", "least", "median", "most"),
    [("Point", 1, 11, 20), ("Polygon", 1, 270, 441), ("Scribble", 21, 528, 3149), ("Circle", 232, 3916, 12006)],
)
def test_sizes_are_of_the_published_order(shape, least, median, most):
    mask = np.zeros((256, 256), bool)
    mask[60:200, 80:180] = True
    sampler, draws = STROKES.get(shape)(KEYS), rng(5)
    sizes = [int(sampler.sample(mask, draws).sum()) for _ in range(300)]
    assert median / 1.35 < np.median(sizes) < median * 1.35
    assert max(sizes) < 2.2 * most and min(sizes) <= 2 * least


def test_the_click_marks_the_thickest_place():
    mask = np.zeros((30, 40), bool)
    mask[5:10, :], mask[3:18, 20:35] = True, True
    row, column, _ = innermost_pixel(mask)
    assert 8 <= row <= 12 and 25 <= column <= 29
    click = start_prompt("Point", KEYS).sample(mask, rng())
    assert click.sum() == 9 and click[row - 1 : row + 2, column - 1 : column + 2].all()
    full = np.ones((9, 9), bool)  # the outside of the image counts as background
    assert innermost_pixel(full)[:2] == (4, 4)


@pytest.mark.parametrize("name", ["Scribble", "Circle"])
def test_an_evaluation_starts_with_one_stroke_from_the_middle(name):
    mask = np.zeros((256, 256), bool)
    mask[60:200, 80:180] = True
    row, column, _ = innermost_pixel(mask)
    for seed in range(20):
        stroke = start_prompt(name, KEYS).sample(mask, rng(seed))
        rows, columns = np.nonzero(stroke)
        assert ndimage.label(stroke, np.ones((3, 3)))[1] == 1
        assert np.hypot(rows - row, columns - column).min() < 16  # a whole stroke is moved by up to 10 pixels


def test_the_box_is_tight_and_filled():
    mask = np.zeros((20, 20), bool)
    mask[3, 5], mask[9, 12] = True, True
    box = start_prompt("Box", KEYS).sample(mask, rng())
    assert box[3:10, 5:13].all() and box.sum() == 7 * 8


def test_the_curve_is_closed_and_passes_its_corners():
    corners = np.array([[0.0, 0.0], [50.0, 3.0], [40.0, 40.0], [5.0, 30.0]])
    curve = closed_curve(corners)
    for corner, side in zip(corners, curve.reshape(4, -1, 2), strict=True):
        assert np.allclose(side[0], corner)
    assert np.allclose(curve[-1], corners[0]) and np.abs(np.diff(curve, axis=0)).max() < 2


def test_shapes_are_drawn_by_their_weights():
    keys = SimpleNamespace(**{**vars(SimpleNamespace(**dict(KEYS.items()))), "CANDIDATE_NAMES": ["Point", "Circle"]})
    mask = np.ones((64, 64), bool)
    keys.CANDIDATE_PROBS = [1.0, 0.0]
    assert all(training_strokes(keys).sample(mask, rng(s)).sum() <= 20 for s in range(30))
    keys.CANDIDATE_PROBS = [0.0, 1.0]
    assert np.median([training_strokes(keys).sample(mask, rng(s)).sum() for s in range(30)]) > 200
    drawn = [weighted_choice([1, 3], draws) for draws in [rng()] for _ in range(2000)]
    assert 0.7 < np.mean(drawn) < 0.8


def test_the_configuration_knows_the_same_names():
    assert tuple(STROKES) == tuple(sorted(STROKE_SHAPES)) and tuple(WALKS) == STROKE_PRESETS


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"CANDIDATE_NAMES": ["Pint"], "CANDIDATE_PROBS": [1.0]}, "CANDIDATE_NAMES.*'Pint'.*did you mean 'Point'"),
        ({"CANDIDATE_NAMES": []}, "CANDIDATE_NAMES is empty"),
        ({"CANDIDATE_PROBS": [0.5, 0.5]}, "CANDIDATE_PROBS has 2 numbers, CANDIDATE_NAMES 4 names"),
        ({"CANDIDATE_PROBS": [0.0] * 4}, "CANDIDATE_PROBS.*above 0"),
        ({"SCRIBBLE.STROKE_PRESET": ["rand", "object_like"]}, "SCRIBBLE.STROKE_PRESET.*'rand'"),
        ({"CIRCLE.STROKE_PROB": [1.0]}, "CIRCLE.STROKE_PROB has 1 number, CIRCLE.STROKE_PRESET 3 names"),
    ],
)
def test_faulty_keys_are_named(values, problem):
    keys = {f"STROKE_SAMPLER.{name}": value for name, value in values.items()}
    with pytest.raises(ConfigError, match=problem):
        load_mapping({"MODEL.NAME": "seem_model_v1", **keys})
