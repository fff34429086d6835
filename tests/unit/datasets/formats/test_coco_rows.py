"""Entries of COCO's JSON files as typed rows."""

from pathlib import Path

import pytest

from segfoundry.datasets.formats.coco_rows import annotation_row, image_rows, passed_on
from segfoundry.utils.errors import DataError

PATH = Path("a.json")
IMAGE = {"id": 1, "file_name": "a.jpg", "height": 3, "width": 4}
ROW = {"image_id": 1, "category_id": 2, "segmentation": [[0, 0, 1, 0, 1, 1]]}


def test_images_keep_what_else_they_say():
    rows = image_rows({"images": [IMAGE | {"license": 3, "height": 3.0}]}, PATH, named=True, sized=True)
    assert rows == [IMAGE | {"license": 3}] and isinstance(rows[0]["height"], int)
    assert image_rows({"images": [{"id": "x", "height": None}]}, PATH) == [{"id": "x"}]
    assert image_rows({}, PATH) == image_rows({"images": None}, PATH) == []


@pytest.mark.parametrize(
    ("images", "text"),
    [
        ({"1": IMAGE}, "`images` must be a list"),
        ([5], r"images\[0\] is no mapping, found 5"),
        ([IMAGE, {"file_name": "b.jpg"}], r"images\[1\] has no `id`"),
        ([IMAGE, IMAGE | {"file_name": "b.jpg"}], r"images\[1\] has the id 1, as images\[0\]"),
        ([IMAGE | {"id": [1]}], r"`id` is \[1\]"),
        ([{"id": 1, "height": 3, "width": 4}], "has no `file_name`"),
        ([IMAGE | {"file_name": None}], "`file_name` is null"),
        ([{"id": 1, "file_name": "a.jpg", "width": 4}], r"images\[0\] \(the text 'a.jpg'\) has no height or width"),
        ([IMAGE | {"height": 0}], "`height` is 0, expected a whole number from 1"),
        ([IMAGE | {"height": "3"}], "`height` is the text '3'"),
        ([IMAGE | {"height": 10**5, "width": 10**5}], "100000 x 100000 pixels, at most"),
    ],
)
def test_faulty_images(images, text):
    with pytest.raises(DataError, match=rf"^a\.json.*{text}"):
        image_rows({"images": images}, PATH, named=True, sized=True)


def test_null_and_empty_fields_are_absent():
    found = annotation_row(ROW | {"bbox": None, "area": None, "note": 1}, "row")
    assert found == ROW | {"iscrowd": False}
    assert annotation_row(ROW | {"segmentation": [], "bbox": []}, "row") == {
        "image_id": 1, "category_id": 2, "iscrowd": False
    }  # fmt: skip
    full = {"id": 5, "bbox": [0, 0, 1, 1], "area": 0.5, "iscrowd": 1, "score": 0.25}
    expected = ROW | full | {"bbox": (0, 0, 1, 1), "iscrowd": True}
    assert annotation_row(ROW | full, "row", scored=True) == expected


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"image_id": None}, "`image_id` is null"),
        ({"category_id": "2"}, "`category_id` is the text '2', expected a whole number"),
        ({"category_id": [2]}, "`category_id`"),
        ({"segmentation": "abc"}, "`segmentation` is the text 'abc', expected polygons or a run-length mask"),
        ({"bbox": [1, 2, 3]}, "`bbox`"),
        ({"area": "36"}, "`area` is the text '36'"),
        ({"area": -1}, "`area`"),
        ({"iscrowd": None}, "`iscrowd` is null"),
        ({"iscrowd": "0"}, "`iscrowd`"),
        ({"score": float("nan")}, "`score` is nan"),
        ({"id": {}}, "`id`"),
    ],
)
def test_faulty_annotations(change, text):
    with pytest.raises(DataError, match=f"^row: {text}"):
        annotation_row(ROW | {"score": 1} | change, "row", scored=True)


def test_what_no_json_can_hold_is_not_passed_on():
    assert passed_on({"images": [IMAGE], "annotations": []}, PATH) == {"images": [IMAGE]}
    with pytest.raises(DataError, match=r"a\.json: `info` holds"):
        passed_on({"info": {"year": float("inf")}}, PATH)
