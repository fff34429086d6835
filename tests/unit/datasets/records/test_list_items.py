"""Images of a split are found by the names that their annotation file gives, wherever it was written."""

import json

import numpy as np
import pytest

from segfoundry.datasets.formats.panoptic import write_panoptic_png
from segfoundry.datasets.records.catalog import find_record
from segfoundry.datasets.records.list_items import list_items
from segfoundry.utils.errors import DataError
from segfoundry.utils.image_io import write_png

RECORD = """
name: r
categories: [{id: 1, name: cup, color: [4, 5, 6], isthing: true}]
splits: {train: {images: img, panoptic_json: p.json, panoptic: pan}}
"""


@pytest.fixture
def listed(tmp_path):
    """Returns the names of the images found for (name in ``images``, name of the PNG) pairs."""
    for name in ("img/a.png", "img/left/b.png", "img/my cup.png"):
        write_png(tmp_path / name, np.zeros((4, 5, 3), np.uint8))
    for name in ("a", "left/b", "my cup"):
        write_panoptic_png(tmp_path / f"pan/{name}.png", np.full((4, 5), 7))
    (tmp_path / "r.yaml").write_text(RECORD)

    def run(*names):
        images = [{"id": i, "file_name": name, "height": 4, "width": 5} for i, (name, _) in enumerate(names)]
        segments = [{"id": 7, "category_id": 1}]
        rows = [{"image_id": i, "file_name": png, "segments_info": segments} for i, (_, png) in enumerate(names)]
        (tmp_path / "p.json").write_text(json.dumps({"images": images, "annotations": rows}))
        items = list_items(*find_record(str(tmp_path / "r.yaml"), "train"))
        return [(i.image.relative_to(tmp_path).as_posix(), i.panoptic.relative_to(tmp_path).as_posix()) for i in items]

    return run


def test_names_of_other_machines(listed):
    assert listed(
        ("D:\\scans\\a.jpg", "pan\\a.png"),
        ("left\\b.jpg", "left\\b.png"),
        ("my%20cup.jpg", "/srv/her/pan/my%20cup.png"),
    ) == [("img/a.png", "pan/a.png"), ("img/left/b.png", "pan/left/b.png"), ("img/my cup.png", "pan/my cup.png")]


def test_two_entries_never_share_an_image(listed):
    with pytest.raises(
        DataError, match=r"p.json: 1 images with several names \(x\\a.jpg and y\\a.jpg mean .*img/a.png"
    ):
        listed(("x\\a.jpg", "a.png"), ("y\\a.jpg", "left/b.png"))


def test_a_missing_image_is_explained(listed):
    text = r"missing 1 images named in .*p.json \(left\\a.jpg\); .*it holds a backslash.*did you mean 'a.png'\?"
    with pytest.raises(DataError, match=text):
        listed(("left\\a.jpg", "a.png"))
