"""Which files belong together: names, stems, patterns, lists."""

import pytest

from segfoundry.datasets.formats.listing import Listing, NamePattern, read_image_list, stem_of
from segfoundry.utils.errors import DataError


def listing(folder, names, form=None):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return Listing(folder, "image", NamePattern(form) if form else None)


def test_patterns():
    pattern = NamePattern("*/*_leftImg8bit.png")
    assert pattern.key("ulm/ulm_0_leftImg8bit.png") == ("ulm", "ulm_0")
    assert pattern.key("ulm_0_leftImg8bit.png") is None and pattern.key("a/b/c_leftImg8bit.png") is None
    assert NamePattern("*+(a).png").key("x+(a).png") == ("x",)
    with pytest.raises(ValueError, match="holds no"):
        NamePattern("a.png")


def test_files_match_by_what_stands_for_the_stars(tmp_path):
    images = listing(
        tmp_path / "i", ["s1/color/0.jpg", "s1/color/1.jpg", "s2/color/0.jpg", "notes.jpg"], "*/color/*.jpg"
    )
    labels = listing(tmp_path / "l", ["s1/label/0.png", "s2/label/0.png", "s2/label40/0.png"], "*/label/*.png")
    assert len(images.names) == 3
    assert labels.find_match("s2/color/0.jpg", images) == tmp_path / "l/s2/label/0.png"
    assert labels.find_match("s1/color/1.jpg", images) is None
    assert labels.find_match("notes.jpg", images) is None
    flat = listing(tmp_path / "f", ["0.png", "1.png"])
    assert flat.find_match("s1/color/1.jpg", images) == tmp_path / "f/1.png"  # from the right
    with pytest.raises(DataError, match="'0.png' fits several files: s1/color/0.jpg, s2/color/0.jpg"):
        images.find_match("0.png", flat)
    with pytest.raises(DataError, match=r"none of its 3 files has the form \*_x.png"):
        Listing(tmp_path / "l", "label", NamePattern("*_x.png"))


def test_lists(tmp_path):
    images = listing(tmp_path / "JPEG/480p", ["bear/0.jpg", "bear/1.jpg", "car/0.jpg", "dog.a.jpg", "cat.png"])
    path = tmp_path / "list.txt"

    def read(text):
        path.write_text(text)
        return read_image_list(path, images, tmp_path)

    assert read("dog.a\n\n# no\ncat.png ignored\ndog.a.jpg\n") == ["dog.a.jpg", "cat.png"]
    assert read("car\nbear/\n") == ["car/0.jpg", "bear/0.jpg", "bear/1.jpg"]
    assert read("/JPEG/480p/bear/1.jpg /Annotations/480p/bear/1.png\n") == ["bear/1.jpg"]
    with pytest.raises(DataError, match="list.txt: 1 of 2 entries name no image, such as cow"):
        read("car\ncow\n")
    with pytest.raises(DataError, match="is empty"):
        read("\n")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="as text"):
        read_image_list(path, images, tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_image_list(tmp_path / "none.txt", images, tmp_path)


def test_stems():
    assert [stem_of(n) for n in ("a.b.jpg", "v1.2", "x.MAT", "d/e.png")] == ["a.b", "v1.2", "x", "d/e"]
