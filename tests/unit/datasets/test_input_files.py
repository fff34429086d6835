import os

import pytest

from segfoundry.datasets.input_files import find_inputs
from segfoundry.utils.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a.PNG", "sub/c.v2.jpeg", "sub/000000000139.jpg", "clip.mp4", "notes.txt", ".hidden/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_folder_is_searched_with_its_subfolders(folder):
    found = find_inputs([str(folder)])
    assert [f.name for f in found] == ["a", "b", "clip", "sub/000000000139", "sub/c.v2"]
    assert [f.is_video for f in found] == [False, False, True, False, False]
    assert [f.image_id for f in found] == ["a", "b", "clip", "sub/000000000139", "sub/c.v2"]


def test_ids_are_of_one_type_and_none_twice(tmp_path):
    files = [tmp_path / "x" / "000000000139.jpg", tmp_path / "x" / "7.png", tmp_path / "y" / "07.jpg"]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"")
    assert [f.image_id for f in find_inputs([str(tmp_path / "x")])] == [139, 7]
    assert [f.image_id for f in find_inputs([str(tmp_path)])] == ["x/000000000139", "x/7", "y/07"]
    (tmp_path / "x" / "8.mp4").write_bytes(b"")
    assert [f.image_id for f in find_inputs([str(tmp_path / "x")])] == ["000000000139", "7", "8"]


def test_files_and_patterns_keep_the_order_and_come_once(folder):
    found = find_inputs([str(folder / "b.jpg"), str(folder / "*.*"), str(folder / "**" / "*.jpeg")])
    assert [f.path.name for f in found] == ["b.jpg", "a.PNG", "clip.mp4", "c.v2.jpeg"]
    os.symlink(folder / "b.jpg", folder / "z.jpg")
    assert len(find_inputs([str(folder / "b.jpg"), str(folder / "z.jpg")])) == 1


def test_equal_names_are_told_apart(folder):
    (folder / "b.png").write_bytes(b"")
    (folder / "sub" / "b.jpg").write_bytes(b"")
    names = [f.name for f in find_inputs([str(folder / "b.*"), str(folder / "sub" / "b.jpg")])]
    assert names == ["b_jpg", "b_png", "b_jpg_2"]


def test_file_with_brackets_is_a_file(folder):
    (folder / "x[1].jpg").write_bytes(b"")
    assert [f.name for f in find_inputs([str(folder / "x[1].jpg")])] == ["x[1]"]


def test_what_names_nothing_is_an_error(folder):
    with pytest.raises(DataError, match="absent.jpg: no such file"):
        find_inputs([str(folder / "absent.jpg")])
    with pytest.raises(DataError, match="matches no image"):
        find_inputs([str(folder / "*.gif")])
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image or video$"):
        find_inputs([str(folder / "empty")])
    (folder / "empty" / "a.heic").write_bytes(b"")
    with pytest.raises(DataError, match=r"found 1 other files \(.heic\); known: .*.jpg"):
        find_inputs([str(folder / "empty")])
