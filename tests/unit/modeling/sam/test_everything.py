"""Everything mode: recorded runs, odd images, settings that are wrong."""

import numpy as np
import pytest
import torch
from segfoundry.modeling.sam.everything import (
    EverythingSettings,
    SamAutomaticMaskGenerator,
    find_everything,
    find_masks,
)
from segfoundry.modeling.sam.predictor import SamPredictor
from segfoundry.utils.masks import decode_masks, rle_areas

from ....support.goldens import DEFAULT_FOLDER, Case
from ....support.label_predictor import LabelPredictor

AMG = Case("sam", "amg", DEFAULT_FOLDER / "sam" / "amg.json")
FULL = Case("sam", "sam_full", DEFAULT_FOLDER / "sam" / "sam_full.json")


def label_image():
    return np.repeat(AMG.tensors["in/label_image"].numpy()[..., None], 3, axis=2)


def assert_recorded(records, expected):
    assert len(records) == len(expected)
    for record, wanted in zip(records, expected, strict=True):
        assert record["segmentation"]["counts"] == wanted["rle_counts"]
        assert record["bbox"] == wanted["bbox_xywh"] and record["crop_box"] == wanted["crop_box_xywh"]
        assert record["area"] == wanted["area"]
        assert record["predicted_iou"] == pytest.approx(wanted["predicted_iou"], abs=2e-5)
        assert record["stability_score"] == pytest.approx(wanted["stability_score"], abs=2e-5)


@pytest.mark.parametrize("name", list(AMG.info["generate"]))
def test_golden_runs(name):
    run = AMG.info["generate"][name]
    generator = SamAutomaticMaskGenerator(LabelPredictor(), output_mode="uncompressed_rle", **run["settings"])
    assert_recorded(generator.generate(label_image()), run["masks"])
