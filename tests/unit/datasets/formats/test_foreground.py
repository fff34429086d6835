"""Masks in all their forms, and which mask belongs to which image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segfoundry.datasets.formats.foreground import read_foreground, read_mask_values, same_aspect
from segfoundry.datasets.records.catalog import find_record
from segfoundry.datasets.records.list_items import list_items
from segfoundry.datasets.records.record import read_record
from segfoundry.utils.errors import DataError
from segfoundry.utils.image_io import write_png

from ....support.cable_data import write_cables

MASK = np.zeros((6, 9), bool)
MASK[2:4, 1:8] = True


def grey(value):
    return Image.fromarray(MASK.astype(np.uint8) * np.uint8(value))


def palette(first):
    """A palette picture whose number 0 shows the colour ``first``."""
    image = Image.fromarray((MASK if first == "black" else ~MASK).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 255, 255] if first == "black" else [255, 255, 255, 0, 0, 0])
    return image


@pytest.mark.parametrize(
    "image",
    [
        grey(255),
        grey(1),
        grey(7).convert("RGB"),
        Image.merge("RGB", [grey(0), grey(0), grey(1)]),
        grey(255).convert("1"),
        grey(255).convert("RGBA"),
        Image.fromarray(MASK.astype(np.uint16) * np.uint16(40000)),
        palette("black"),
        palette("white"),
    ],
    ids=["grey", "ones", "rgb", "blue", "bits", "rgba", "16 bit", "palette", "palette from white"],
)
def test_whatever_is_not_black_is_foreground(tmp_path, image):
    image.save(tmp_path / "m.png")
    found = read_foreground(tmp_path / "m.png")
    assert found.dtype == bool and (found == MASK).all()
    assert read_mask_values(tmp_path / "m.png").ndim == 2


@given(st.tuples(st.integers(20, 400), st.integers(20, 400)), st.integers(2, 6))
def test_sizes_that_are_scaled_have_the_same_aspect(size, factor):
    small = (max(1, round(size[0] / factor)), max(1, round(size[1] / factor)))
    assert same_aspect(size, small) and same_aspect(small, size)
    assert not same_aspect(size, (size[0] * 2, size[1] + 5 + size[1] // 4))


@pytest.fixture
def folder(tmp_path):
    """A record of four images, one in a folder of its own, with masks of other suffixes."""
    write_cables(tmp_path)
    image = Image.open(tmp_path / "imgs/c0.png")
    (tmp_path / "imgs/deep").mkdir()
    (tmp_path / "masks/deep").mkdir()
    (tmp_path / "masks/c1.png").rename(tmp_path / "masks/c1.PNG")
    image.save(tmp_path / "imgs/deep/c0.JPG", "JPEG")
    (tmp_path / "masks/c0.png").rename(tmp_path / "masks/deep/c0.png")
    write_png(tmp_path / "masks/c0.png", MASK.astype(np.uint8))
    (tmp_path / "r.yaml").write_text("splits: {train: {images: imgs, foreground: masks}}\n")
    return tmp_path


def items(folder):
    return list_items(*find_record(str(folder / "r.yaml"), "train"))


def test_images_pair_by_relative_path_without_suffix(folder):
    found = [(i.image_id, i.foreground.relative_to(folder).as_posix()) for i in items(folder)]
    expected = ["masks/c0.png", "masks/c1.PNG", "masks/c2.png", "masks/c3.png", "masks/deep/c0.png"]
    assert found == list(zip(["c0", "c1", "c2", "c3", "deep/c0"], expected, strict=True))


def test_a_record_of_masks_alone_needs_no_categories(folder):
    record = read_record(folder / "r.yaml")
    assert [c.name for c in record.categories] == ["foreground"]
    assert record.evaluators_for(record.splits["train"]) == ("foreground",)
    (folder / "r.yaml").write_text("splits: {train: {images: imgs, semantic: masks}}\n")
    with pytest.raises(DataError, match="`categories` is missing"):
        read_record(folder / "r.yaml")


def test_lone_files_are_listed(folder):
    (folder / "masks/c2.png").unlink()
    with pytest.raises(DataError, match=r"masks: no mask for 1 images of .*imgs \(c2\.png\)"):
        items(folder)
    write_png(folder / "masks/c2.png", MASK.astype(np.uint8))
    for number in range(7):
        write_png(folder / f"masks/more{number}.png", MASK.astype(np.uint8))
    with pytest.raises(DataError, match=r"imgs: no image for 7 masks of .*\(more0\.png, .*more4\.png, \.\.\.\)"):
        items(folder)
    (folder / "masks/c2.png").rename(folder / "masks/c2_mask.png")
    with pytest.raises(DataError, match=r"no mask for 1 .*\(c2\.png\); .*no image for 8 .*\(c2_mask\.png, more0"):
        items(folder)


@pytest.mark.parametrize("part", ["imgs", "masks"])
def test_two_files_of_one_name_are_refused(folder, part):
    Image.open(folder / part / "c2.png").convert("L").save(folder / part / "c2.jpg")
    with pytest.raises(DataError, match=rf"same name: .*{part}/c2\.jpg, .*{part}/c2\.png; keep one"):
        items(folder)


def test_a_list_of_images_leaves_other_masks_alone(folder):
    (folder / "list.txt").write_text("c3\nc1\n")
    (folder / "r.yaml").write_text("splits: {train: {images: imgs, foreground: masks, image_list: list.txt}}\n")
    assert sorted(i.image_id for i in items(folder)) == ["c1", "c3"]


def test_masks_named_by_a_pattern(folder):
    for path in (folder / "masks").glob("c*.*"):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    keys = "images: imgs, image_names: '*.png', foreground: masks, foreground_names: '*_mask.png'"
    (folder / "r.yaml").write_text(f"splits: {{train: {{{keys}}}}}\n")
    assert [i.foreground.name for i in items(folder)] == [f"c{n}_mask.png" for n in range(4)]


def test_masks_join_other_annotations(folder):
    (folder / "r.yaml").write_text(
        "categories: [{id: 1, name: a, isthing: true}]\n"
        "splits: {train: {images: imgs, semantic: masks, semantic_values: {0: 1, 1: 1, 255: 1}, foreground: masks}}\n"
    )
    assert all(i.foreground == i.semantic is not None for i in items(folder))
    record = read_record(folder / "r.yaml")
    assert record.evaluators_for(record.splits["train"]) == ("semantic", "foreground")
