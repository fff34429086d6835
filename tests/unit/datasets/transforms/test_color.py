"""Random change of colours."""

import numpy as np

from segfoundry.datasets.transforms.color import ColorJitter


def image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (16, 20, 3), dtype=np.uint8)


def test_draws_decide_and_the_original_stays():
    original = image()
    one, two, other = (ColorJitter()(original, np.random.default_rng(s)) for s in (1, 1, 3))
    assert one.shape == original.shape and one.dtype == np.uint8 and (original == image()).all()
    assert (one == two).all() and (one != other).any()


def test_about_a_sixteenth_of_the_images_stay_as_they_are():
    same = [(ColorJitter()(image(), np.random.default_rng(s)) == image()).all() for s in range(400)]
    assert 0.03 < np.mean(same) < 0.11


def test_each_change_by_itself():
    grey = np.full((4, 4, 3), 100, np.uint8)
    off = {"brightness": 0.0, "contrast": (1.0, 1.0), "saturation": (1.0, 1.0), "hue": 0}
    assert (ColorJitter(**off)(image(), np.random.default_rng(0)) == image()).all()
    values = [int(ColorJitter(**{**off, "brightness": 32.0})(grey, np.random.default_rng(s)).max()) for s in range(200)]
    assert 68 <= min(values) < 76 and 124 < max(values) <= 132
    values = [
        int(ColorJitter(**{**off, "contrast": (0.5, 1.5)})(grey, np.random.default_rng(s)).max()) for s in range(99)
    ]
    assert 50 <= min(values) < 60 and 140 < max(values) <= 150
    # grey has no saturation and no hue to change
    for options in ({"saturation": (0.5, 1.5)}, {"hue": 18}):
        assert all((ColorJitter(**{**off, **options})(grey, np.random.default_rng(s)) == grey).all() for s in range(20))
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 200
    turned = [ColorJitter(**{**off, "hue": 18})(red, np.random.default_rng(s))[0, 0] for s in range(60)]
    assert all(c[0] == 200 for c in turned) and max(c[1] for c in turned) > 60 and max(c[2] for c in turned) > 60
