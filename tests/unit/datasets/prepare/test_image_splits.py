"""Splits from folders and from names."""

import pytest

from segfoundry.datasets.prepare.image_splits import choose_splits, split_names
from segfoundry.utils.errors import DataError

NAMES = [f"{folder}/{name}.jpg" for folder in ("train", "val") for name in "abcd"]


def test_folders_of_splits_are_kept():
    assert choose_splits(NAMES, None, 0) == {"train": NAMES[:4], "val": NAMES[4:]}
    names = ["Training/x/a.png", "validation/a.png", "test2017/b.png"]
    assert choose_splits(names, None, 0) == {"train": names[:1], "val": names[1:2], "test": names[2:]}
    assert list(choose_splits(["test/a.png", "train/a.png"], None, 0)) == ["train", "test"]


def test_a_share_that_was_asked_for_divides_anew():
    assert choose_splits(NAMES, 0.5, 3) == split_names(NAMES, 0.5, 3)


@pytest.mark.parametrize(
    "folders", [("train", "train"), ("kitchen", "bath"), ("trains", "value"), ("x/train", "x/val")]
)
def test_other_folders_are_divided_by_names(folders):
    names = [f"{folder}/{name}.jpg" for folder in folders for name in "abcd"]
    assert choose_splits(names, None, 0) == split_names(names, 0.8, 0)


def test_images_beside_folders_of_splits_are_told():
    with pytest.raises(DataError, match=r"8 images .* train and val, 2 do not, such as extra/e\.jpg: .*--split SHARE"):
        choose_splits([*NAMES, "extra/e.jpg", "f.jpg"], None, 0)
