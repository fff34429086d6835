"""Phrases, captions and finer masks, joined by image id."""

import json

import pytest

from segfoundry.datasets.formats.by_image import read_captions, read_grounding, read_instances
from segfoundry.datasets.records.image_item import InstanceAnnotation, Phrase
from segfoundry.utils.errors import DataError

POLYGON = [[1, 1, 8, 1, 8, 8, 3]]  # seven numbers
CODE = {"size": [10, 10], "counts": "abc"}


def write(path, rows, **more):
    path.write_text(json.dumps({"annotations": rows, **more}))
    return path


def test_several_sentences_polygons_runs_and_segment_ids(tmp_path):
    rows = [
        {"image_id": 7, "segmentation": POLYGON, "category_id": 5, "sentences": [{"raw": " The Cup"}, {"sent": "mug"}]},
        {"image_id": 7, "segmentation": CODE, "category_id": 99, "sentences": ["left one"]},
        {"image_id": "a", "segment_id": 4711, "sentences": [{"raw": "wall", "sent_id": 3}]},
    ]
    found = read_grounding(write(tmp_path / "g.json", rows, images=[{"id": 7, "file_name": "x.jpg"}]), {5: 0})
    assert found.phrases == {
        "7": [Phrase(("the cup", "mug"), POLYGON, 0), Phrase(("left one",), CODE)],
        "a": [Phrase(("wall",), 4711)],
    }
    assert found.images == {"7": {"id": 7, "file_name": "x.jpg"}}


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"segmentation": POLYGON, "sentences": ["a"]}, "image_id"),
        ({"image_id": 1, "sentences": ["a"]}, "neither a `segmentation` nor a `segment_id`"),
        ({"image_id": 1, "segmentation": POLYGON}, "`sentences` must be a list"),
        ({"image_id": 1, "segmentation": POLYGON, "sentences": []}, "at least one"),
        ({"image_id": 1, "segmentation": POLYGON, "sentences": [{"raw": "  "}]}, "expected text"),
        (3, "no mapping"),
    ],
)
def test_errors_name_file_and_annotation(tmp_path, row, text):
    good = {"image_id": 1, "segmentation": POLYGON, "sentences": ["a"]}
    with pytest.raises(DataError, match=rf"g\.json: annotations\[1\].*{text}"):
        read_grounding(write(tmp_path / "g.json", [good, row]), {})


def test_captions(tmp_path):
    rows = [{"image_id": 1, "caption": " A dog."}, {"image_id": 2, "caption": "b"}, {"image_id": 1, "caption": "c"}]
    assert read_captions(write(tmp_path / "c.json", rows)) == {"1": ("A dog.", "c"), "2": ("b",)}
    assert read_captions(write(tmp_path / "c.json", [])) == {}
    with pytest.raises(DataError, match=r"c\.json: annotations\[0\] has no `caption`"):
        read_captions(write(tmp_path / "c.json", [{"image_id": 1}]))
    (tmp_path / "c.json").write_text("<!DOCTYPE html>")
    with pytest.raises(DataError, match="web page"):
        read_captions(tmp_path / "c.json")


def test_instances(tmp_path):
    row = {"image_id": 1, "category_id": 1203, "segmentation": POLYGON, "bbox": [1, 2, 3.5, 4]}
    found = read_instances(write(tmp_path / "l.json", [row]))
    assert found == {"1": [InstanceAnnotation(POLYGON, (1, 2, 3.5, 4))]}
    for broken, text in ((row | {"bbox": [1]}, "`bbox`"), ({"image_id": 1, "bbox": [1, 2, 3, 4]}, "`segmentation`")):
        with pytest.raises(DataError, match=rf"l\.json: annotations\[0\].*{text}"):
            read_instances(write(tmp_path / "l.json", [broken]))
