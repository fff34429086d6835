"""Scoring semantic files."""

import json

import numpy as np
import pytest

from segfoundry.datasets.score.score_semantic import score_semantic
from segfoundry.utils.errors import DataError
from segfoundry.utils.image_io import write_png
from segfoundry.utils.masks import encode_masks

TRUTH = np.array([[0, 0, 1, 1], [2, 2, 255, 3]], np.uint8)


@pytest.fixture
def folders(tmp_path):
    write_png(tmp_path / "gt" / "city" / "a.b.png", TRUTH)
    write_png(tmp_path / "gt" / "0012.png", TRUTH)
    write_png(tmp_path / "pred" / "city" / "a.b.png", np.where(TRUTH == 255, 0, TRUTH).astype(np.uint8))
    write_png(tmp_path / "pred" / "0012.png", np.zeros_like(TRUTH))
    return tmp_path


def test_folders_pair_by_name(folders, categories):
    result = score_semantic(folders / "gt", folders / "pred", categories)
    assert result["images"] == 2
    assert result["pACC"] == (7 + 2) / 14
    assert result["IoU-c"] == {"wall": 4 / 9, "cup": 0.5, "fork": 0.5, "sky": 0.5}
    assert result["counts"]["wall"] == {"TP": 4, "FP": 5, "FN": 0}


def test_another_ignored_value(tmp_path, categories):
    write_png(tmp_path / "gt" / "0.png", np.array([[0, 1, 3]], np.uint8))
    write_png(tmp_path / "pred" / "0.png", np.array([[0, 1, 2]], np.uint8))
    assert score_semantic(tmp_path / "gt", tmp_path / "pred", categories, ignored=3)["pACC"] == 1.0
    assert score_semantic(tmp_path / "gt", tmp_path / "pred", categories)["pACC"] == pytest.approx(2 / 3)


def test_missing_prediction_is_named(folders, categories):
    (folders / "pred" / "0012.png").unlink()
    with pytest.raises(DataError, match="no prediction 0012.png"):
        score_semantic(folders / "gt", folders / "pred", categories)


def test_wrong_values_and_sizes_are_named(folders, categories):
    with pytest.raises(DataError, match=r"0012.png against .*ground truth holds 3"):
        score_semantic(folders / "gt", folders / "pred", categories[:3])
    write_png(folders / "pred" / "0012.png", TRUTH[:1])
    with pytest.raises(DataError, match=r"0012.png against .*pred/0012.png: the prediction is 4 x 1"):
        score_semantic(folders / "gt", folders / "pred", categories)


def results(labels, categories, **join):
    return [
        {**join, "category_id": categories[c].id, "segmentation": encode_masks((labels == c)[None])[0]}
        for c in np.unique(labels).tolist()
    ]


@pytest.mark.parametrize("join", [{"image_id": 12}, {"file_name": "photos/0012.jpg"}])
def test_rle_results_join_by_id_or_name(tmp_path, categories, join):
    write_png(tmp_path / "gt" / "0012.png", TRUTH)
    path = tmp_path / "r.json"
    path.write_text(json.dumps(results(np.where(TRUTH == 255, 1, TRUTH), categories, **join)))
    assert score_semantic(tmp_path / "gt", path, categories)["mIoU"] == 1.0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda r: r.pop(), "1 pixels have no predicted category"),
        (lambda r: r[0].update(category_id=99), "category 99"),
        (lambda r: [x.update(image_id=5) for x in r], "no results for image 0012"),
        (lambda r: r[0]["segmentation"].update(size=[1, 1]), r"RLE of size \[1, 1\]"),
        (lambda r: r[0].pop("segmentation"), "no segmentation"),
    ],
)
def test_faulty_results_are_named(tmp_path, categories, change, text):
    write_png(tmp_path / "gt" / "0012.png", TRUTH)
    rows = results(np.where(TRUTH == 255, 1, TRUTH), categories, image_id=12)
    change(rows)
    path = tmp_path / "r.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=text):
        score_semantic(tmp_path / "gt", path, categories)
