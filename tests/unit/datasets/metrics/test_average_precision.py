"""COCO AP: worked example, both engines, instance files."""

import json

import numpy as np
import pytest

from segfoundry.datasets.metrics.average_precision import average_precision
from segfoundry.datasets.score.score_instances import score_instances
from segfoundry.utils.errors import DataError
from segfoundry.utils.masks import encode_masks


def box_mask(x, y, w, h, size=(40, 50)):
    mask = np.zeros((1, *size), bool)
    mask[0, y : y + h, x : x + w] = True
    return mask


def row(image, category, box, **more):
    return {
        "image_id": image,
        "category_id": category,
        "bbox": [float(v) for v in box],
        "segmentation": encode_masks(box_mask(*box))[0],
        "area": box[2] * box[3],
        **more,
    }


IMAGES = [{"id": i, "height": 40, "width": 50} for i in (1, 2)]
TRUTH = [
    row(1, 0, (0, 0, 10, 10)),
    row(1, 0, (20, 20, 10, 10)),
    row(2, 0, (5, 5, 20, 20)),
    row(2, 1, (0, 30, 50, 10), iscrowd=1),
]


@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_worked_example(accelerate, iou_type):
    found = [
        row(1, 0, (0, 0, 10, 10), score=0.9),  # right
        row(1, 0, (35, 0, 10, 10), score=0.8),  # wrong
        row(2, 0, (5, 5, 20, 20), score=0.7),  # right; one object is never found
        row(2, 1, (0, 30, 20, 10), score=0.9),  # on a crowd: ignored
    ]
    scores = average_precision(IMAGES, TRUTH, found, [0, 1, 2], iou_type, accelerate)
    # recall 1/3 at precision 1, recall 2/3 at precision 2/3: 34 + 33 * 2/3 of 101 recall points
    expected = (34 + 33 * 2 / 3) / 101
    assert scores["AP"] == scores["AP50"] == scores["AP75"] == pytest.approx(expected)
    assert scores["AR1"] == scores["AR100"] == pytest.approx(2 / 3)
    assert scores["APl"] is None and scores["per_class"][1:] == [None, None]
    assert scores["per_class"][0] == pytest.approx(expected)


@pytest.mark.parametrize("accelerate", [True, False])
def test_no_detection_is_zero_and_no_ground_truth_is_absent(accelerate):
    assert average_precision(IMAGES, TRUTH, [], [0], "segm", accelerate)["AP"] == 0.0
    assert average_precision(IMAGES, [], [row(1, 0, (0, 0, 9, 9), score=1.0)], [0], "segm", accelerate)["AP"] is None


def test_engines_agree():
    pytest.importorskip("hotcoco")
    rng = np.random.default_rng(0)
    boxes = lambda n: [(*rng.integers(0, 20, 2).tolist(), *rng.integers(3, 20, 2).tolist()) for _ in range(n)]  # noqa: E731
    truth = [row(i, int(rng.integers(2)), b, iscrowd=int(rng.random() < 0.1)) for i in (1, 2) for b in boxes(12)]
    found = [row(i, int(rng.integers(2)), b, score=float(rng.integers(1, 5)) / 5) for i in (1, 2) for b in boxes(30)]
    for iou_type in ("segm", "bbox"):
        fast = average_precision(IMAGES, truth, found, [0, 1], iou_type)
        slow = average_precision(IMAGES, truth, found, [0, 1], iou_type, accelerate=False)
        assert fast.pop("per_class") == pytest.approx(slow.pop("per_class"), abs=1e-12)
        assert fast == pytest.approx(slow, abs=1e-12)


@pytest.fixture
def files(tmp_path):
    named = [{**i, "id": f"img{i['id']}"} for i in IMAGES]
    rename = lambda rows: [{**r, "image_id": f"img{r['image_id']}"} for r in rows]  # noqa: E731
    categories = [{"id": 0, "name": "cup"}, {"id": 1, "name": "fork"}]
    truth = {"images": named, "annotations": rename(TRUTH), "categories": categories}
    found = rename([row(1, 0, (0, 0, 10, 10), score=0.9), row(2, 0, (5, 5, 20, 20), score=0.7)])
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "pred.json").write_text(json.dumps(found))
    return tmp_path


def test_files_with_text_ids(files):
    result = score_instances(files / "gt.json", files / "pred.json")
    assert result["AP"] == pytest.approx(67 / 101) and result["bbox"]["AP"] == pytest.approx(67 / 101)
    assert result["AP-c"]["fork"] is None and result["counts"]["detections"] == 2


def test_polygons_and_boxes_only(files):
    data = json.loads((files / "pred.json").read_text())
    data[0]["segmentation"] = [[0, 0, 10, 0, 10, 10, 0, 10]]
    (files / "pred.json").write_text(json.dumps(data))
    assert score_instances(files / "gt.json", files / "pred.json")["AP50"] == pytest.approx(67 / 101)
    for entry in data:
        del entry["segmentation"]
    (files / "pred.json").write_text(json.dumps(data))
    result = score_instances(files / "gt.json", files / "pred.json")
    assert result["AP"] is None and result["bbox"]["AP"] == pytest.approx(67 / 101)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda r: r[0].update(image_id="nix"), "entry 0 names image 'nix'"),
        (lambda r: r[1].update(category_id=9), "entry 1 has category 9"),
        (lambda r: r[1].pop("score"), "entry 1 has no score"),
        (lambda r: r[1].update(segmentation={"size": [1, 1], "counts": "0"}), r"entry 1 \(image img2\): RLE of size"),
        (lambda r: r[0].update(segmentation=None, bbox=None), "neither segmentation nor bbox"),
    ],
)
def test_faulty_results_are_named(files, change, text):
    data = json.loads((files / "pred.json").read_text())
    change(data)
    (files / "pred.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match=text):
        score_instances(files / "gt.json", files / "pred.json")
