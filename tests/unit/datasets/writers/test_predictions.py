import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from segfoundry.datasets.formats.panoptic import read_panoptic_json, read_panoptic_png
from segfoundry.datasets.writers.predictions import PredictionWriter, segments_info
from segfoundry.utils.image_io import read_label
from segfoundry.utils.structures.category import Category
from segfoundry.utils.structures.results import ForegroundResult, InstanceResult, PanopticResult, Prediction, Segment

CATEGORIES = [Category(7, "sky", False, (200, 10, 10)), Category(90, "cup", True, (10, 200, 10), "kitchen")]


def prediction():
    ids = np.zeros((20, 30), np.int32)
    ids[2:, :] = 1
    ids[5:10, 3:9] = 300
    panoptic = PanopticResult(ids, [Segment(1, 0, False, score=0.5), Segment(300, 1, True, score=0.875)])
    masks = np.zeros((3, 20, 30), bool)
    masks[0, 5:10, 3:9] = True
    masks[1, 0:2, 0:3] = True
    instances = InstanceResult(masks, np.array([1, 1, 1]), np.array([0.3, 0.9, 0.8], np.float32))
    return Prediction(np.where(ids == 300, 1, 0), panoptic, instances)


def test_files_hold_what_was_predicted(tmp_path):
    writer = PredictionWriter(tmp_path / "out", CATEGORIES)
    writer.add((1, 0), "sub/b.v2", "b", "b.v2.jpg", prediction())
    writer.add((0, 0), "a", 12, "a.jpg", prediction())
    names = {p.relative_to(tmp_path / "out").as_posix() for p in writer.close()}
    assert names == {"categories.json", "panoptic.json", "instances.json"}

    document = read_panoptic_json(tmp_path / "out" / "panoptic.json")
    assert [i["id"] for i in document["images"]] == [12, "b"]
    assert [a["file_name"] for a in document["annotations"]] == ["a.png", "sub/b.v2.png"]
    for annotation in document["annotations"]:
        ids = read_panoptic_png(tmp_path / "out" / "panoptic" / annotation["file_name"])
        assert (ids == prediction().panoptic.ids).all()
    cup = document["annotations"][0]["segments_info"][1]
    assert cup == {
        "id": 300,
        "category_id": 90,
        "isthing": 1,
        "iscrowd": 0,
        "area": 30,
        "bbox": [3, 5, 6, 5],
        "score": 0.875,
    }
    assert document["categories"][1] == {
        "id": 90,
        "name": "cup",
        "isthing": 1,
        "color": [10, 200, 10],
        "supercategory": "kitchen",
    }

    semantic = read_label(tmp_path / "out" / "semantic" / "sub" / "b.v2.png")
    assert semantic.dtype == np.uint8 and (semantic == prediction().semantic).all()

    entries = json.loads((tmp_path / "out" / "instances.json").read_text())
    assert [e["image_id"] for e in entries] == [12, 12, "b", "b"]  # the empty mask is left out
    assert [e["score"] for e in entries[:2]] == pytest.approx([0.9, 0.3])
    assert entries[1]["bbox"] == [3, 5, 6, 5] and entries[1]["category_id"] == 90
    assert (coco_mask.decode(entries[1]["segmentation"]).astype(bool) == prediction().instances.masks[0]).all()


def test_only_the_parts_that_were_asked_for(tmp_path):
    writer = PredictionWriter(tmp_path / "out", CATEGORIES)
    writer.add((0, 0), "a", 1, "a.jpg", Prediction(semantic=np.zeros((4, 5), np.int64)))
    writer.close()
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"categories.json", "semantic"}
    with pytest.raises(ValueError, match="empty"):
        writer.add((1, 0), "b", 2, "b.jpg", Prediction())


def test_many_categories_need_sixteen_bits(tmp_path):
    many = [Category(i, str(i), False, (0, 0, 0)) for i in range(300)]
    writer = PredictionWriter(tmp_path / "out", many)
    writer.add((0, 0), "a", 1, "a.jpg", Prediction(semantic=np.full((4, 5), 299)))
    assert (read_label(tmp_path / "out" / "semantic" / "a.png") == 299).all()


def test_segment_without_pixels_is_left_out():
    result = PanopticResult(np.ones((3, 3), np.int32), [Segment(1, 0, False), Segment(2, 1, True)])
    assert [s["id"] for s in segments_info(result, CATEGORIES)] == [1]


@pytest.mark.parametrize("probability", [False, True])
def test_foreground_is_a_mask_and_a_probability_on_request(tmp_path, probability):
    chance = np.linspace(0, 1, 30, dtype=np.float32).reshape(5, 6)
    writer = PredictionWriter(tmp_path / "out", CATEGORIES, probability=probability)
    result = ForegroundResult(chance > 0.5, chance)
    writer.add((0, 0), "clip/000001", "clip", "clip.mp4#1", Prediction(foreground=result))
    mask = read_label(tmp_path / "out" / "foreground" / "clip" / "000001.png")
    assert mask.dtype == np.uint8 and (mask == np.where(chance > 0.5, 255, 0)).all()
    grey = tmp_path / "out" / "probability" / "clip" / "000001.png"
    assert grey.exists() == probability
    if probability:
        np.testing.assert_allclose(read_label(grey) / 255, chance, atol=0.5 / 255 + 1e-6)
