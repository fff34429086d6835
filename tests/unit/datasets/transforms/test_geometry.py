"""Resize, crop, flip and pad in one step equal the same steps done one after the other by Pillow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segfoundry.datasets.transforms.geometry import PAD_VALUE, Geometry
from segfoundry.datasets.transforms.jitter import LargeScaleJitter
from segfoundry.datasets.transforms.resize import ResizeLongest, ResizeShortest

sizes = st.tuples(st.integers(3, 40), st.integers(3, 40))


@st.composite
def cases(draw):
    source, resized = draw(sizes), draw(sizes)
    window = tuple(draw(st.integers(1, r)) for r in resized)
    top, left = (draw(st.integers(0, r - w)) for r, w in zip(resized, window, strict=True))
    canvas = tuple(w + draw(st.integers(0, 5)) for w in window)
    return source, Geometry(resized, top, left, window, canvas, draw(st.booleans()), draw(st.booleans()))


def stepwise(array, g, resample, fill):
    whole = np.asarray(Image.fromarray(array).resize(g.resized[::-1], resample))
    part = whole[g.top : g.top + g.window[0], g.left : g.left + g.window[1]]
    part = part[:, ::-1] if g.flip_horizontal else part
    part = part[::-1] if g.flip_vertical else part
    canvas = np.full((*g.canvas, *array.shape[2:]), fill, array.dtype)
    canvas[: g.window[0], : g.window[1]] = part
    return canvas


@given(cases(), st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_one_step_equals_many(case, seed):
    source, geometry = case
    image = np.random.default_rng(seed).integers(0, 256, (*source, 3), dtype=np.uint8)
    expected = stepwise(image, geometry, Image.Resampling.BILINEAR, PAD_VALUE)
    found = geometry.image(image)
    assert found.shape == expected.shape and found.dtype == np.uint8
    # Pillow rounds between its two passes; which rows and columns take part shifts that by one level at most.
    assert np.abs(found.astype(int) - expected).max() <= 1
    labels = image[..., 0]
    sampled = geometry.labels(labels)
    rows = (2 * np.arange(geometry.resized[0]) + 1) * source[0] // (2 * geometry.resized[0])
    columns = (2 * np.arange(geometry.resized[1]) + 1) * source[1] // (2 * geometry.resized[1])
    whole = labels[rows][:, columns]
    identity = Geometry(geometry.resized, *(0, 0), geometry.resized, geometry.resized)
    assert (identity.labels(labels) == whole).all()
    assert (sampled == stepwise(whole, geometry, Image.Resampling.NEAREST, 0)).all()


def test_labels_follow_pillows_nearest():
    labels = np.random.default_rng(0).integers(0, 200, (37, 53)).astype(np.uint8)
    for size in ((20, 31), (74, 106), (100, 47)):
        expected = np.asarray(Image.fromarray(labels).resize(size[::-1], Image.Resampling.NEAREST))
        assert (Geometry(size, 0, 0, size, size).labels(labels) == expected).all()


def test_labels_keep_their_type_and_image_and_labels_stay_aligned():
    image = np.zeros((20, 30, 3), np.uint8)
    image[5:12, 8:20] = 255
    labels = (image[..., 0] > 0).astype(np.uint16)
    g = Geometry((40, 60), 6, 10, (30, 32), (32, 32), flip_horizontal=True)
    placed = g.labels(labels)
    assert placed.dtype == np.uint16
    inside = g.image(image)[..., 0]
    assert (inside[placed == 1] > 120).mean() > 0.99 and (inside[:30][placed[:30] == 0] < 135).mean() > 0.99


def test_jitter_takes_four_numbers_whatever_the_options():
    states = []
    for flip in ("horizontal", "vertical", "none"):
        rng = np.random.Generator(np.random.Philox(3))
        LargeScaleJitter(64, flip=flip).draw(30, 50, rng)
        states.append(rng.random())
    assert len(set(states)) == 1


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 2**32 - 1), st.sampled_from(["horizontal", "none"]))
@settings(max_examples=100, deadline=None)
def test_jitter_stays_inside_and_keeps_the_aspect(height, width, seed, flip):
    g = LargeScaleJitter(64, 0.5, 2.0, flip).draw(height, width, np.random.default_rng(seed))
    assert g.canvas == (64, 64) and max(g.window) <= 64
    assert 0 <= g.top <= g.resized[0] - g.window[0] and 0 <= g.left <= g.resized[1] - g.window[1]
    assert 32 <= max(g.resized) + 1 and max(g.resized) <= 128
    if min(height, width) * 64 / max(height, width) > 8:
        assert g.resized[0] / g.resized[1] == pytest.approx(height / width, rel=0.15)
    assert not (g.flip_vertical or (flip == "none" and g.flip_horizontal))


def test_half_of_the_images_are_flipped():
    rng = np.random.default_rng(0)
    flips = [LargeScaleJitter(8).draw(9, 9, rng).flip_horizontal for _ in range(400)]
    assert 160 < sum(flips) < 240


@pytest.mark.parametrize(
    ("resize", "size", "expected"),
    [
        (ResizeLongest(64), (480, 640), (48, 64)),
        (ResizeLongest(64), (640, 480), (64, 48)),
        (ResizeLongest(64), (10, 4000), (1, 64)),
        (ResizeShortest(800, 1333), (480, 640), (800, 1067)),
        (ResizeShortest(800, 1333), (480, 1600), (400, 1333)),
    ],
)
def test_evaluation_sizes(resize, size, expected):
    assert resize.output_size(*size) == expected


def test_evaluation_resize_is_pillows():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    expected = Image.fromarray(image).resize((20, 15), Image.Resampling.BILINEAR)
    assert (ResizeLongest(20)(image) == np.asarray(expected)).all()
    assert (ResizeLongest(40)(image) == image).all()
    cubic = Image.fromarray(image).resize(expected.size, Image.Resampling.BICUBIC)
    assert (ResizeLongest(20, bicubic=True)(image) == np.asarray(cubic)).all()
    assert (np.asarray(cubic) != np.asarray(expected)).any()
