"""Values of semantic and object maps, and MATLAB label files."""

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from segfoundry.datasets.formats.label_maps import (
    ObjectCoding,
    SemanticCoding,
    read_label_map,
    read_object_map,
    unlabelled_value,
)
from segfoundry.utils.errors import DataError


def test_values_become_indices():
    coding = SemanticCoding(((7, 0), (8, 1), (300, 1)), (0, 255))
    values = np.array([[0, 7, 8], [255, 300, 7]], np.uint16)
    np.testing.assert_array_equal(coding.decode(values), [[255, 0, 1], [255, 1, 0]])
    with pytest.raises(ValueError, match=r"values 9 have no meaning \(categories: 7..300, unlabelled: 0, 255"):
        coding.decode(np.array([[9]]))
    with pytest.raises(ValueError, match="expected 0..65535"):
        coding.decode(np.array([[-1]]))
    closed = SemanticCoding(((7, 0),), (), open=True)
    np.testing.assert_array_equal(closed.decode(np.array([[7, 9]])), [[0, 255]])


def save(path, values, palette=False):
    picture = Image.fromarray(np.asarray(values, np.uint8), "P" if palette else None)
    if palette:
        picture.putpalette(list(range(256)) * 3)
    picture.save(path)
    return path


def test_objects(tmp_path):
    values = [[0, 1, 2], [255, 220, 2]]
    for palette in (False, True):
        path = save(tmp_path / "o.png", values, palette)
        np.testing.assert_array_equal(read_object_map(path, ObjectCoding()), [[0, 1, 2], [-1, -1, 2]])
    assert read_object_map(path, ObjectCoding((), union=True)).tolist() == [[0, 1, 1], [1, 1, 1]]
    assert read_object_map(path, ObjectCoding((255,))).tolist() == [[0, 1, 2], [-1, 220, 2]]
    color = np.zeros((2, 2, 3), np.uint8)
    color[0, 0] = 0, 128, 5
    path = save(tmp_path / "c.png", color)
    assert read_object_map(path, ObjectCoding((), union=True)).tolist() == [[1, 0], [0, 0]]
    with pytest.raises(DataError, match="c.png: a colour picture"):
        read_object_map(path, ObjectCoding())


@pytest.mark.parametrize("name", ["GTinst", "GTcls", "LabelMap"])
def test_matlab_files(tmp_path, name):
    values = np.array([[0, 1], [2, 2], [0, 3]], np.uint8)
    content = values if name == "LabelMap" else {"Segmentation": values, "Categories": np.array([[15]])}
    savemat(tmp_path / "a.mat", {name: content}, do_compression=True)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.mat"), values)
    with pytest.raises(DataError, match="at most 4 pixels"):
        read_label_map(tmp_path / "a.mat", max_pixels=4)


def test_broken_matlab_files(tmp_path):
    path = tmp_path / "a.mat"
    with pytest.raises(DataError, match="no such file"):
        read_label_map(path)
    for content in (b"", b"no matlab file at all, but text that is long enough to be one" * 9):
        path.write_bytes(content)
        with pytest.raises(DataError, match="a.mat: not a readable MATLAB file"):
            read_label_map(path)
    for content in ({"other": 1}, {"GTcls": 3}, {"LabelMap": "text"}, {"LabelMap": np.zeros((2, 2))}):
        savemat(path, content)
        with pytest.raises(DataError, match="a.mat"):
            read_label_map(path)


def test_transparent_pixels_are_unlabelled(tmp_path):
    values, alpha = np.array([[0, 1, 2]], np.uint8), np.array([[255, 0, 255]], np.uint8)
    Image.fromarray(np.dstack([values, alpha]), "LA").save(tmp_path / "a.png")
    assert read_label_map(tmp_path / "a.png").tolist() == [[0, 255, 2]]
    for coding in (
        SemanticCoding(((0, 0), (1, 1), (2, 2)), (300,)),
        SemanticCoding(((0, 0), (1, 1), (2, 2), (255, 3)), (255,), True),
    ):
        assert coding.decode(read_label_map(tmp_path / "a.png", void=unlabelled_value(coding))).tolist() == [
            [0, 255, 2]
        ]
    assert read_object_map(tmp_path / "a.png", ObjectCoding()).tolist() == [[0, -1, 2]]
    assert read_object_map(tmp_path / "a.png", ObjectCoding(union=True)).tolist() == [[0, -1, 1]]
    assert read_object_map(tmp_path / "a.png", ObjectCoding(())).tolist() == [[0, 0, 2]]
