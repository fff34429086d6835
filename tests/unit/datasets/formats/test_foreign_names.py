"""Names written on other machines mean a file where one alone fits."""

import os
import unicodedata
from pathlib import Path

import pytest

from segfoundry.datasets.formats.foreign_names import (
    KnownNames,
    find_file,
    foreign_cause,
    portable_name,
    shared_files,
    storable,
)
from segfoundry.datasets.formats.listing import Listing, list_images, read_image_list, stem_of
from segfoundry.utils.errors import DataError

KNOWN = ["a.jpg", "left/b.jpg", "right/b.jpg", "left/my cup.jpg", "c.png", "c.jpg", "deep/down/d.jpg"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("images\\a.jpg", "a.jpg"),
        ("left\\b.jpg", "left/b.jpg"),
        ("C:\\data\\left\\b.jpg", "left/b.jpg"),
        ("/srv/her/set/images/a.jpg", "a.jpg"),
        ("file:///srv/her/set/a.jpg", "a.jpg"),
        ("\\\\server\\share\\a.png", "a.jpg"),
        ("left/my%20cup.jpg", "left/my cup.jpg"),
        ("my%20cup.jpg", "left/my cup.jpg"),
        ("./left//b.jpg", "left/b.jpg"),
        ("down/d.jpg", "deep/down/d.jpg"),
        ("x/c.png", "c.png"),
        ("train2017/a.jpg", "a.jpg"),
        ("left/a.jpg", None),  # the folder is here, the file is missing
        ("up/d.jpg", None),
        ("e.jpg", None),
        ("../a.jpg", None),
        ("", None),
    ],
)
def test_a_name_means_the_one_file_that_fits(name, expected):
    assert KnownNames(KNOWN, stem_of).only(name, "folder") == expected


def test_several_files_are_no_answer():
    with pytest.raises(DataError, match=r"folder: 'b.jpg' fits several files: left/b.jpg, right/b.jpg"):
        KnownNames(KNOWN, stem_of).only("b.jpg", "folder")


def test_other_encodings_of_a_name():
    composed = "café.jpg"
    apart, bytes_ = unicodedata.normalize("NFD", composed), os.fsdecode(b"caf\xe9.jpg")
    for known in (apart, bytes_):
        assert KnownNames([known], stem_of).only(composed, "") == known
    assert foreign_cause(bytes_) == "it is no UTF-8" and foreign_cause(composed) == ""


def test_what_is_not_found_is_explained():
    known = KnownNames(KNOWN, stem_of)
    assert known.explain("left\\d.jpg") == (
        "'left\\\\d.jpg': it holds a backslash, as Windows writes paths, did you mean 'deep/down/d.jpg'?"
    )
    assert known.explain("left/my cap.jpg").endswith("did you mean 'left/my cup.jpg'?")
    assert known.explain("zzz") == ""


def test_names_under_which_results_are_stored():
    for name, expected in (
        ("images\\a.jpg", "images/a.jpg"),
        ("C:\\data\\a.jpg", "a.jpg"),
        ("/data/a.jpg", "a.jpg"),
        ("a/b.jpg", "a/b.jpg"),
        ("..\\a.jpg", "../a.jpg"),
    ):
        assert portable_name(name) == expected
    assert storable("a.jpg") and not storable("a\0.jpg") and not storable("\ud800.jpg") and not storable("")


def test_a_file_is_found_without_a_listing(tmp_path):
    (tmp_path / "x").mkdir()
    for name in ("a.png", "x/b.png"):
        (tmp_path / name).touch()
    for name, expected in (("images\\a.png", "a.png"), ("x\\b.png", "x/b.png"), ("x\\a.png", "x\\a.png")):
        assert find_file(tmp_path, name) == tmp_path / expected


def test_two_names_of_one_file_are_told():
    named = [("x\\a.jpg", Path("a.jpg")), ("y\\a.jpg", Path("a.jpg")), ("b.jpg", Path("b.jpg"))]
    assert shared_files(named) == ["x\\a.jpg and y\\a.jpg mean a.jpg"]


def test_links_in_a_circle_are_walked_once(tmp_path):
    for name in ("a.jpg", "sub/b.jpg", "other/c.jpg"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).touch()
    (tmp_path / "set" / "self").symlink_to("self")
    (tmp_path / "set" / "sub" / "up").symlink_to("..")
    (tmp_path / "set" / "sub" / "across").symlink_to("../other")
    (tmp_path / "set" / "other" / "back").symlink_to("../sub")
    assert list_images(tmp_path / "set") == [
        *("a.jpg", "other/back/b.jpg", "other/c.jpg", "sub/across/c.jpg", "sub/b.jpg")
    ]


def test_lists_of_images_hold_foreign_names(tmp_path):
    for name in KNOWN[:4]:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).touch()
    listing = Listing(tmp_path / "images", "image")
    (tmp_path / "list.txt").write_text("images\\a.jpg\nD:\\set\\left\\b.jpg\nleft/my%20cup.jpg\n")
    assert read_image_list(tmp_path / "list.txt", listing, tmp_path) == ["a.jpg", "left/b.jpg", "left/my cup.jpg"]
    (tmp_path / "list.txt").write_text("left\\a.jpg\n")
    with pytest.raises(DataError, match=r"left\\a.jpg .*it holds a backslash.*did you mean 'a.jpg'"):
        read_image_list(tmp_path / "list.txt", listing, tmp_path)
