"""Figures of result files: faulty fields are named, whichever package measures."""

import json

import numpy as np
import pytest

from segfoundry.datasets.score.score_instances import score_instances
from segfoundry.utils.errors import DataError
from segfoundry.utils.masks import encode_masks, hotcoco

SIZE = (30, 40)
ENGINES = [False] + [True] * (hotcoco() is not None)


def square(x, y, side):
    mask = np.zeros((1, *SIZE), bool)
    mask[0, y : y + side, x : x + side] = True
    return encode_masks(mask)[0]


def row(image, category, code, **more):
    return {"image_id": image, "category_id": category, "segmentation": code, **more}


@pytest.fixture
def data():
    images = [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in (1, 2)]
    truth = [row(1, 3, square(0, 0, 9)), row(2, 3, square(5, 5, 9)), row(2, 1, square(20, 2, 9))]
    found = [row(1, 3, square(0, 0, 9), score=0.9), row(2, 1, square(20, 2, 9), score=0.8)]
    categories = [{"id": 3, "name": "cup"}, {"id": 1, "name": "fork"}, {"id": 2, "name": "wall"}]
    return {"images": images, "annotations": truth, "categories": categories}, found


def score(tmp_path, data, accelerate=True):
    for name, content in zip(("gt.json", "res.json"), data, strict=True):
        (tmp_path / name).write_text(json.dumps(content))
    return score_instances(tmp_path / "gt.json", tmp_path / "res.json", accelerate=accelerate)


@pytest.mark.parametrize("accelerate", ENGINES)
def test_figures_belong_to_their_categories_in_any_order_of_ids(tmp_path, data, accelerate):
    result = score(tmp_path, data, accelerate)
    assert result["AP-c"] == {"cup": pytest.approx(51 / 101), "fork": pytest.approx(1), "wall": None}


@pytest.mark.parametrize("accelerate", ENGINES)
@pytest.mark.parametrize("side", [0, 1])
def test_rows_without_a_mask_do_not_take_the_others_figures(tmp_path, data, side, accelerate, recwarn):
    """What an annotator exports for an object that was deleted."""
    expected = score(tmp_path, data, accelerate)
    truth, found = data
    more = row(1, 3, [], area=0, bbox=[0, 0, 0, 0], iscrowd=0, score=0.1)
    (truth["annotations"], found)[side].append(more)
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"1 of \d entries have no mask .*: entry \d of image 1$"):
        result = score(tmp_path, data, accelerate)
    masks = {name: value for name, value in result.items() if name not in ("bbox", "counts", "ground_truth_sha256")}
    assert masks == {name: value for name, value in expected.items() if name in masks}


@pytest.mark.parametrize("accelerate", ENGINES)
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda t, r: t["annotations"][0].update(segmentation={"size": [30, 40], "counts": [5, 10]}),
            "15 of 1200 pixels",
        ),
        (lambda t, r: r[0].update(segmentation={"size": [30, 40], "counts": [0, 10**9]}), "1000000000 of 1200"),
        (lambda t, r: r[0].update(segmentation={"size": [30, 40], "counts": [5, -10, 1205]}), "covers -10 pixels"),
        (lambda t, r: r[0].update(segmentation=[[0, 0, 9, 0, 9, 9, 1]]), "7 coordinates"),
        (lambda t, r: r[0].update(score=float("nan")), "`score` is nan, expected a finite number"),
        (lambda t, r: r[0].update(score="0.9"), "`score` is the text '0.9'"),
        (lambda t, r: r[0].update(score=True), "`score` is true"),
        (lambda t, r: r[0].update(bbox=[0, 0, float("inf"), 1]), "`bbox` is"),
        (lambda t, r: r[0].update(image_id=[1]), r"`image_id` is \[1\]"),
        (lambda t, r: t["annotations"][0].update(iscrowd=None), "`iscrowd` is null"),
        (lambda t, r: t["annotations"][0].update(area="81"), "`area` is the text '81'"),
        (lambda t, r: t["images"][0].pop("height"), "no height or width"),
        (lambda t, r: t["images"][0].pop("id"), "has no `id`"),
        (lambda t, r: t["images"].append(t["images"][0]), r"images\[2\] has the id 1"),
        (
            lambda t, r: t["categories"].append({"id": 1, "name": "again"}),
            r"categories\[3\]: the category id 1 is listed",
        ),
        (lambda t, r: t["categories"][0].update(name=["cup"]), "`name` is"),
    ],
)
def test_faulty_fields_are_named(tmp_path, data, change, text, accelerate):
    change(*data)
    with pytest.raises(DataError, match=rf"(gt|res)\.json: (?=entry|images|categories).*{text}"):
        score(tmp_path, data, accelerate)
