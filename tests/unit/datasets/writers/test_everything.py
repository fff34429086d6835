import csv
import json

import numpy as np
import pytest

from segfoundry.datasets.writers.everything import CSV_COLUMNS, write_everything_json, write_everything_png
from segfoundry.datasets.writers.predictions import PredictionWriter
from segfoundry.utils.image_io import read_label
from segfoundry.utils.masks import decode_masks, encode_masks
from segfoundry.utils.structures.results import Prediction


def records():
    masks = np.zeros((2, 20, 30), bool)
    masks[0, 2:8, 3:13] = True
    common = {"predicted_iou": 0.9, "point_coords": [[4.5, 5.5]], "crop_box": [0, 0, 30, 20]}
    filled, empty = encode_masks(masks)
    return [
        {"segmentation": filled, "area": 60, "bbox": [3, 2, 9, 5], "stability_score": 0.75, **common},
        {"segmentation": empty, "area": 0, "bbox": [0, 0, 0, 0], "stability_score": float("nan"), **common},
    ]


def test_json_holds_the_records(tmp_path):
    write_everything_json(tmp_path, "sub/a", records())
    found = json.loads((tmp_path / "sub" / "a.json").read_text(), parse_constant=pytest.fail)
    assert found[0] == records()[0]
    assert found[1]["stability_score"] is None
    assert decode_masks([found[0]["segmentation"]], (20, 30)).sum() == 60


def test_pictures_and_their_table(tmp_path):
    write_everything_png(tmp_path, "a", records())
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"0.png", "1.png", "metadata.csv"}
    mask = read_label(tmp_path / "a" / "0.png")
    assert (mask == 255).sum() == 60 and (mask[2:8, 3:13] == 255).all()
    rows = list(csv.DictReader((tmp_path / "a" / "metadata.csv").open()))
    assert list(rows[0]) == CSV_COLUMNS and [row["id"] for row in rows] == ["0", "1"]
    first = {name: float(value) for name, value in rows[0].items()}
    assert (first["bbox_w"], first["point_input_y"], first["crop_box_w"], first["area"]) == (9, 5.5, 30, 60)


@pytest.mark.parametrize(("png", "file"), [(False, "x.json"), (True, "x/metadata.csv")])
def test_nothing_found_is_written_too(tmp_path, png, file):
    writer = PredictionWriter(tmp_path, [], everything_png=png)
    writer.add((0, 0), "x", 1, "x.jpg", Prediction(everything=[]))
    text = (tmp_path / "everything" / file).read_text()
    assert text == ",".join(CSV_COLUMNS) + "\n" if png else json.loads(text) == []
