"""Colours by factors, random crops and compositing, measured against Pillow and by their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from segfoundry.datasets.transforms.composite import compose, fit_background, fit_mask, zoom
from segfoundry.datasets.transforms.crop import RandomCrop, Window, central_window
from segfoundry.datasets.transforms.photometric import FactorJitter, random_blur
from segfoundry.datasets.transforms.resize import ResizeLongest, ResizeStandard, ResizeTwice

from ....support import goldens


def rng(seed=0):
    return np.random.default_rng(seed)


IMAGE = rng().integers(0, 256, (24, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.6])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_factors_mean_what_they_mean_in_pillow(name, factor):
    enhance = {"brightness": "Brightness", "contrast": "Contrast", "saturation": "Color"}[name]
    expected = getattr(ImageEnhance, enhance)(Image.fromarray(IMAGE)).enhance(factor)
    found = FactorJitter(**{name: (factor, factor)})(IMAGE, rng())
    assert found.dtype == np.uint8 and np.abs(found.astype(int) - np.asarray(expected)).max() <= 1


def test_hue_turns_around_the_circle():
    pure = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]]], np.uint8)
    third = FactorJitter(hue=(1 / 3, 1 / 3))(pure, rng())
    expected = np.array([[[0, 255, 0], [0, 0, 255], [255, 0, 0], [90, 90, 90]]])
    assert np.abs(third.astype(int) - expected).max() <= 6
    assert (FactorJitter(hue=(1 / 3, 1 / 3))(pure, rng()) == third).all()


def test_amounts_are_ranges_around_one():
    assert FactorJitter.around([0.4, 0.15, 0.1, 0.5]) == FactorJitter((0.6, 1.4), (0.85, 1.15), (0.9, 1.1), (-0.5, 0.5))
    assert FactorJitter.around([2, 0, 0, 0]).brightness == (0.0, 3.0)
    assert FactorJitter.around([0.2, 0.3], (0.5, 1.0)) == FactorJitter((0.5, 1.0), (0.8, 1.2), (0.7, 1.3), (0.0, 0.0))


def test_no_amounts_change_nothing_and_draws_decide():
    assert (FactorJitter.around([0, 0, 0, 0])(IMAGE, rng()) == IMAGE).all()
    jitter = FactorJitter.around([0.4, 0.4, 0.4, 0.5])
    assert (jitter(IMAGE, rng(1)) == jitter(IMAGE, rng(1))).all() and (
        jitter(IMAGE, rng(1)) != jitter(IMAGE, rng(2))
    ).any()


def test_blur_lowers_contrast_by_its_deviation():
    weak, strong = random_blur(IMAGE, (0.5, 0.5), rng()), random_blur(IMAGE, (5.0, 5.0), rng())
    assert IMAGE.std() > weak.std() > strong.std() and (random_blur(IMAGE, (0.0, 0.0), rng()) == IMAGE).all()


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 1000))
def test_windows_lie_inside_and_have_area_and_ratio(height, width, seed):
    crop = RandomCrop((0.08, 1.0), (15 / 9, 17 / 9))
    top, left, h, w = crop.draw(height, width, rng(seed))
    assert h >= 1 and w >= 1 and top >= 0 and left >= 0 and top + h <= height and left + w <= width
    if height >= 100 and width >= 100:
        assert 15 / 9 - 0.1 < w / h < 17 / 9 + 0.1 and 0.07 * height * width < h * w


def test_a_ratio_that_never_fits_gives_the_middle():
    assert RandomCrop((0.9, 1.0), (2.0, 2.0)).draw(100, 100, rng()) == central_window(100, 100, 2.0) == (25, 0, 50, 100)


def test_windows_cover_the_picture():
    crop, hits = RandomCrop((0.2, 0.5), (1.0, 1.0)), np.zeros((20, 20), int)
    areas = []
    for seed in range(300):
        window = crop.draw(20, 20, rng(seed))
        window.cut(hits)[:] += 1
        areas.append(window.height * window.width / 400)
    assert hits.min() > 0 and 0.18 < min(areas) < 0.25 and 0.43 < max(areas) < 0.53


@pytest.mark.parametrize("feather", [0.0, 1.5])
def test_the_foreground_stays_and_the_rest_is_replaced(feather):
    mask = np.zeros((24, 40), bool)
    mask[8:18, 10:30] = True
    image, background = np.full_like(IMAGE, 200), np.full_like(IMAGE, 20)
    found = compose(image, background, mask, feather)
    assert found[13, 20].tolist() == [200] * 3 and found[0, 0].tolist() == [20] * 3
    between = ((found > 25) & (found < 195)).sum()
    assert (between > 0) == (feather > 0) and (background == 20).all()
    if not feather:
        assert ((found == 200).all(-1) == mask).all()


@given(st.integers(1, 60), st.integers(1, 60), st.booleans())
def test_masks_keep_their_shares(height, width, nearest):
    mask = np.zeros((20, 30), bool)
    mask[:, 10:] = True
    found = fit_mask(mask, (height, width), nearest)
    assert found.shape == (height, width) and found.dtype == bool
    assert abs(found.sum() - height * width * 2 / 3) <= height * (1 if nearest else max(1.5, width / 30 + 1))


def test_bilinear_masks_grow_and_nearest_ones_do_not():
    mask = np.zeros((9, 16), bool)
    mask[:, 8] = True
    grown, same = fit_mask(mask, (18, 32), nearest=False), fit_mask(mask, (18, 32), nearest=True)
    assert grown.sum() == 18 * 4 and same.sum() == 18 * 2 and (grown >= same).all()


def test_zoom_moves_image_and_mask_together():
    mask = rng(5).random((36, 64)) < 0.02
    image = np.repeat((mask * np.uint8(255))[..., None], 3, -1)
    for seed in range(10):
        near, moved = zoom(image, mask, (0.35, 0.6), False, rng(seed))
        assert near.shape == image.shape and ((near[..., 0] > 0) == moved).all() and not (moved == mask).all()


def test_backgrounds_are_stretched_or_cropped():
    picture = np.zeros((30, 30, 3), np.uint8)
    picture[:3] = 255
    assert fit_background(picture, (9, 16), keep_aspect=False)[0].max() > 200
    assert fit_background(picture, (9, 16), keep_aspect=True).max() == 0


def test_the_long_side_has_the_published_rounding():
    for size, table in goldens.find("sam", "transforms").info["shape_table"].items():
        for name, expected in table.items():
            height, width = map(int, name.split("x"))
            found = ResizeLongest(int(size), half_up=True).output_size(height, width)
            assert found == tuple(max(1, side) for side in expected)


def test_images_are_resized_as_published():
    case = goldens.find("sam", "transforms")
    image, sides = case.tensors["in/image_uint8"].numpy(), case.numbers(r"apply_image_(\d+)")
    assert sides
    for (side,) in sides:
        assert (ResizeLongest(side, half_up=True)(image) == case.tensors[f"out/apply_image_{side}"].numpy()).all()


def test_standard_sizes_stretch_or_fit():
    assert ResizeStandard((36, 64)).output_size(100, 100) == (36, 64)
    fit = ResizeStandard((36, 64), keep_aspect=True)
    assert fit.output_size(100, 100) == (36, 36) and fit.output_size(10, 1000) == (1, 64)
    twice = ResizeTwice(fit, ResizeLongest(18, half_up=True))
    assert twice.output_size(100, 50) == (18, 9) and twice(np.zeros((100, 50, 3), np.uint8)).shape == (18, 9, 3)
    assert math.isclose(Window(1, 2, 3, 4).cut(np.ones((9, 9))).sum(), 12)
