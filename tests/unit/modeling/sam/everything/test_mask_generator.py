"""Everything mode: recorded runs, odd images, settings that are wrong, what it computes and what it spares."""

import numpy as np
import pytest
import torch

from segfoundry.modeling.sam.config import Amg
from segfoundry.modeling.sam.everything.mask_generator import (
    EverythingSettings,
    SamAutomaticMaskGenerator,
    find_everything,
)
from segfoundry.modeling.sam.network.mask_upscale import MaskUpscaler
from segfoundry.modeling.sam.network.sam import Sam
from segfoundry.modeling.sam.prompting.sam_predictor import SamPredictor
from segfoundry.utils.masks import decode_masks

from .....support import goldens
from .....support.label_predictor import LabelPredictor
from .....support.tiny_sam import TINY, recorded_sam
from ..golden_cases import everything

AMG = goldens.find("sam", "amg")
KEEP_ALL = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}


def label_image():
    return everything.label_image(AMG)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return recorded_sam(TINY).eval()


@pytest.mark.parametrize("name", goldens.keys(AMG, "generate"))
def test_recorded_runs(name):
    everything.check_run(AMG, name)


def test_a_recorded_run_with_a_network():
    everything.check_run_with_network(AMG)


def test_the_predictor_can_be_replaced(sam):
    run = next(iter(AMG.info["generate"].values()))
    generator = SamAutomaticMaskGenerator(sam, **run["settings"])
    generator.predictor = everything.label_predictor(AMG)
    assert len(generator.generate(label_image())) == run["count"]


def test_small_logits_and_masks_at_full_size_lead_to_the_same(sam):
    class Overridden(SamPredictor):
        def predict_torch(self, *args, **kwargs):
            return super().predict_torch(*args, **kwargs)

    settings = {**KEEP_ALL, "points_per_side": 4, "crop_n_layers": 1, "box_nms_thresh": 1.0, "crop_nms_thresh": 1.0}
    image = noise(70, 100)
    own, other = (
        SamAutomaticMaskGenerator(model, output_mode="coco_rle", **settings).generate(image)
        for model in (sam, Overridden(sam))
    )
    assert own == other and len(own) > 3


def test_only_wanted_masks_are_upscaled(sam, monkeypatch):
    image, upscaled = noise(50, 64), []
    records = SamAutomaticMaskGenerator(sam, 4, box_nms_thresh=1.0, **KEEP_ALL).generate(image)
    ious = sorted(record["predicted_iou"] for record in records)
    original = MaskUpscaler.columns_first

    def counted(self, low_res):
        upscaled.append(len(low_res))
        return original(self, low_res)

    monkeypatch.setattr(MaskUpscaler, "columns_first", counted)
    monkeypatch.setattr(Sam, "upscale", None)
    assert ious[-5] > 0, "a threshold of 0 would let all masks pass"
    SamAutomaticMaskGenerator(sam, 4, pred_iou_thresh=ious[-5], stability_score_thresh=0.0).generate(image)
    assert sum(upscaled) == 4


def test_forms_of_the_segmentation_agree():
    settings = next(iter(AMG.info["generate"].values()))["settings"]
    arrays, runs, codes = (
        SamAutomaticMaskGenerator(LabelPredictor(), output_mode=mode, **settings).generate(label_image())
        for mode in ("binary_mask", "uncompressed_rle", "coco_rle")
    )
    for array, run, code in zip(arrays, runs, codes, strict=True):
        mask = array["segmentation"]
        assert mask.dtype == bool and mask.shape == label_image().shape[:2] and mask.sum() == array["area"]
        assert np.array_equal(decode_masks([run["segmentation"]], mask.shape)[0], mask)
        assert np.array_equal(decode_masks([code["segmentation"]], mask.shape)[0], mask)
        assert isinstance(code["segmentation"]["counts"], str)
        rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
        assert array["bbox"] == [columns[0], rows[0], columns[-1] - columns[0], rows[-1] - rows[0]]


@pytest.mark.parametrize("layers", [0, 2])
def test_no_mask_is_good_enough(layers):
    generator = SamAutomaticMaskGenerator(LabelPredictor(), 3, pred_iou_thresh=1e9, crop_n_layers=layers)
    assert generator.generate(label_image()) == []
    assert generator.predictor.images == 1 + layers * 10  # 4 and 16 crops


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 5), (200, 2)])
@pytest.mark.parametrize("layers", [0, 2])
def test_images_smaller_than_the_grid(sam, size, layers):
    settings = EverythingSettings(8, 20, crop_n_layers=layers, min_mask_region_area=2, **KEEP_ALL)
    for record in find_everything(sam, noise(*size), settings):
        assert record["segmentation"]["size"] == list(size)
        x, y = record["point_coords"][0]
        assert 0 <= x <= size[1] and 0 <= y <= size[0]


def test_an_empty_mask_has_no_stability_and_survives_only_without_that_filter():
    class Empty(LabelPredictor):
        def predict_torch(self, *args, **kwargs):
            logits, iou, _ = super().predict_torch(*args, **kwargs)
            return logits - 1000, iou, logits

    record = SamAutomaticMaskGenerator(Empty(), 2, **KEEP_ALL).generate(label_image())[0]
    assert np.isnan(record["stability_score"]) and record["area"] == 0 and record["bbox"] == [0, 0, 0, 0]
    assert SamAutomaticMaskGenerator(Empty(), 2, 64, 0.0, 0.01).generate(label_image()) == []


def test_records_for_the_trainer_are_sorted_and_encoded(sam):
    settings = EverythingSettings(4, crop_n_layers=1, box_nms_thresh=1.0, crop_nms_thresh=1.0, **KEEP_ALL)
    records = find_everything(sam, noise(64, 90), settings)
    ious = [record["predicted_iou"] for record in records]
    assert len(records) > 3 and ious == sorted(ious, reverse=True)
    assert all(isinstance(record["segmentation"]["counts"], str) for record in records)


def test_own_grids_of_points():
    grid = np.array([[0.25, 0.5]])
    generator = SamAutomaticMaskGenerator(LabelPredictor(), None, point_grids=[grid], **KEEP_ALL)
    height, width = label_image().shape[:2]
    assert {tuple(r["point_coords"][0]) for r in generator.generate(label_image())} == {(width / 4, height / 2)}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"points_per_side": None}, "points_per_side or point_grids; neither"),
        ({"point_grids": [np.zeros((1, 2))]}, "points_per_side or point_grids; both"),
        ({"points_per_side": 0}, "points_per_side is 0"),
        ({"points_per_batch": 0}, "points_per_batch is 0"),
        ({"crop_n_layers": -1}, "crop_n_layers is -1"),
        ({"crop_overlap_ratio": 1.5}, "crop_overlap_ratio is 1.5"),
        ({"crop_n_points_downscale_factor": 0}, "crop_n_points_downscale_factor is 0"),
        ({"points_per_side": None, "point_grids": [np.zeros((1, 3))]}, r"point_grids\[0\].*\(1, 3\)"),
        ({"points_per_side": None, "point_grids": [np.zeros((1, 2))], "crop_n_layers": 1}, "1 grids, expected 2"),
        ({"output_mode": "polygons"}, "output_mode is 'polygons'.*coco_rle"),
    ],
)
def test_wrong_settings_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        SamAutomaticMaskGenerator(LabelPredictor(), **settings)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_wrong_images_are_named(image):
    with pytest.raises(ValueError, match="expected uint8"):
        SamAutomaticMaskGenerator(LabelPredictor()).generate(image)


def test_the_configuration_has_the_same_settings_and_defaults():
    assert vars(EverythingSettings.from_config(Amg())) == vars(EverythingSettings())
    generator = SamAutomaticMaskGenerator(LabelPredictor())
    assert vars(generator.settings) == vars(EverythingSettings()) and generator.output_mode == "binary_mask"
