"""The embedded cable data set."""

import json

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segfoundry.datasets.embedded import photographs
from segfoundry.datasets.embedded.cable_drawing import Cable, catmull_rom, draw_cable, evenly
from segfoundry.datasets.embedded.cables import TEST_PHOTOGRAPHS, TRAIN_PHOTOGRAPHS, draw_cables, prepare_cables
from segfoundry.datasets.prepare.prepare_dataset import PrepareOptions
from segfoundry.utils.errors import UserError
from segfoundry.utils.image_io import read_image, read_label

LIGHT = np.array([0.0, -0.6, 0.8])


def test_a_picture_depends_on_seed_number_and_part_only():
    one = draw_cables(3, 5)
    np.testing.assert_array_equal(one.image, draw_cables(3, 5).image)
    np.testing.assert_array_equal(one.mask, draw_cables(3, 5).mask)
    others = (draw_cables(3, 6), draw_cables(4, 5), draw_cables(3, 5, "test"))
    assert not any(np.array_equal(one.mask, other.mask) for other in others)
    assert one.image.shape == (144, 256, 3) and one.image.dtype == np.uint8
    assert one.mask.shape == (144, 256) and one.mask.dtype == bool


def test_most_pictures_show_cables_that_leave_most_of_the_photograph_free():
    shares = np.array([draw_cables(0, number, size=(72, 128)).mask.mean() for number in range(20)])
    assert (shares > 0.01).mean() > 0.9 and shares.max() < 0.4
    assert not draw_cables(0, 0, "backgrounds", (72, 128)).mask.any()


def test_test_photographs_are_not_trained_on():
    assert not set(TEST_PHOTOGRAPHS) & set(TRAIN_PHOTOGRAPHS)


@given(arrays(np.float64, st.tuples(st.integers(2, 6), st.just(2)), elements=st.floats(-100, 100)))
def test_the_spline_passes_its_control_points(controls):
    curve = catmull_rom(controls, per_piece=8)
    np.testing.assert_allclose(curve[::8], controls, atol=1e-9)


def test_points_lie_evenly():
    points = evenly(np.array([[0.0, 0], [1, 0], [10, 0]]), 0.5)
    np.testing.assert_allclose(points, np.stack([np.linspace(0, 10, 21), np.zeros(21)], axis=1))


def _straight(radius: float, stripe: np.ndarray | None = None) -> Cable:
    points = np.stack([np.arange(-5, 45, 0.3), np.full(167, 15.0)], axis=1)
    color = np.array([200, 40, 40], np.float32)
    return Cable(points, np.full(167, radius), color, stripe, 8.0, 0.5)


def test_coverage_of_a_straight_cable_is_its_area():
    image = np.full((30, 40, 3), 128, np.float32)
    coverage = draw_cable(image, _straight(4.25), LIGHT)
    np.testing.assert_allclose(coverage.sum(axis=0), 8.5, atol=0.05)
    assert ((coverage > 0.5).sum(axis=0) == 8).all()


def test_the_lit_side_is_brighter_and_a_shadow_lies_on_the_other_side():
    image = np.full((30, 40, 3), 128, np.float32)
    draw_cable(image, _straight(4.0), LIGHT)  # the light comes from above in the image
    rows = image[:, 20].sum(axis=-1)
    assert rows[12] > rows[17]
    assert rows[20] < 300 and rows[3] == pytest.approx(384, abs=1)


def test_stripes_change_the_colour_along_the_cable():
    image = np.full((30, 40, 3), 128, np.float32)
    draw_cable(image, _straight(4.0, np.array([20, 20, 220], np.float32)), LIGHT)
    blue = image[14, :, 2] > image[14, :, 0]
    assert 0.1 < blue.mean() < 0.7 and np.count_nonzero(np.diff(blue.astype(int))) >= 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("cables") / "cables"
    summary = prepare_cables(target, PrepareOptions(workers=0), train=4, test=2, backgrounds=2)
    assert summary.images == {"train": 4, "val": 2} and summary.segments["cable"] >= 4
    assert summary.record == target / "cables.yaml"
    return target


def test_files(folder):
    images = sorted((folder / "train/imgs").iterdir())
    assert [p.stem for p in images] == [f"cable_{n:04d}" for n in range(4)]
    for path in images:
        mask = read_label(folder / "train/masks" / f"{path.stem}.png")
        assert mask.shape == read_image(path).shape[:2] and set(np.unique(mask)) <= {0, 255}
    assert len(list((folder / "backgrounds").iterdir())) == 2
    assert len(list((folder / "test/masks").iterdir())) == 2


def test_the_data_file_has_the_form_of_the_users_own(folder):
    data = yaml.safe_load((folder / "data.yaml").read_text())["dataset"]
    plain, composited = data["train"]
    assert set(plain) == {"data_dir", "bg_paths", "w_aug", "aug_details", "percentage"}
    assert plain["bg_paths"] is None and composited["aug_details"] == ["crop_foreground"]
    for place in (plain["data_dir"], *composited["bg_paths"], data["test"]["data_dir"]):
        assert (folder / place).is_dir()


def test_an_earlier_result_is_replaced_on_request_only(folder, tmp_path):
    with pytest.raises(UserError, match="--force"):
        prepare_cables(folder, PrepareOptions(workers=0), train=1, test=1, backgrounds=1)
    copy = tmp_path / "cables"
    options = PrepareOptions(workers=0, force=True)
    for _ in range(2):
        prepare_cables(copy, options, train=1, test=1, backgrounds=1)
    assert json.loads((copy / "prepare.json").read_text())["images"]["train"] == 1


def test_without_the_photographs_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(photographs, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install scikit-image"):
        prepare_cables(tmp_path / "cables", PrepareOptions(workers=0))
    assert not (tmp_path / "cables").exists()


def test_a_negative_seed_is_refused(tmp_path):
    with pytest.raises(UserError, match="--seed -1"):
        prepare_cables(tmp_path / "cables", PrepareOptions(seed=-1))
