"""Everything mode: its utilities, and whole runs with and without a network."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from segfoundry.modeling.sam.everything.crops import crop_boxes, cut_off, layer_grids, point_grid
from segfoundry.modeling.sam.everything.mask_generator import SamAutomaticMaskGenerator
from segfoundry.modeling.sam.everything.mask_quality import corner_boxes, stability_scores
from segfoundry.modeling.sam.everything.small_regions import remove_small_regions
from segfoundry.utils.masks import encode_masks, rle_areas, rle_counts

from .....support import goldens
from .....support.label_predictor import LabelPredictor
from .....support.tiny_sam import recorded_sam


def grid_sides(case: goldens.Case) -> list[int]:
    """Returns the sides of the grids of points that are recorded."""
    return [side for (side,) in case.numbers(r"point_grid_(\d+)")]


def check_grid(case: goldens.Case, side: int) -> None:
    """Compares a grid of points."""
    np.testing.assert_allclose(point_grid(side), case.tensors[f"out/point_grid_{side}"].numpy(), atol=1e-7)


def check_layer_grids(case: goldens.Case) -> None:
    """Compares the sizes of the grids of an image and of its layers of crops."""
    sides = [math.isqrt(count) for count, _ in case.info["layer_grids"]]
    grids = layer_grids(sides[0], len(sides) - 1, sides[0] // sides[min(1, len(sides) - 1)])
    assert [list(grid.shape) for grid in grids] == case.info["layer_grids"]


def check_crops(case: goldens.Case, name: str) -> None:
    """Compares crops; their settings are in the name, as in ``534x800_layers1_overlap0.341333``."""
    expected = case.info["crop_boxes"][name]
    height, width, layers, overlap = re.fullmatch(r"(\d+)x(\d+)_layers(\d+)_overlap([\d.]+)", name).groups()
    crops = crop_boxes((int(height), int(width)), int(layers), float(overlap))
    assert [list(box) for box, _ in crops] == expected["boxes_xyxy"]
    assert [layer for _, layer in crops] == expected["layer"]


def check_edges_of_crops(case: goldens.Case) -> None:
    """Compares which masks are cut off by their crop."""
    given = case.info["near_crop_edge_case"]
    goldens.only(given, atol=20.0)
    left, top, width, height = given["orig_box"]
    assert left == top == 0
    found = cut_off(np.array(given["boxes"]), tuple(given["crop_box"]), (height, width))
    assert found.tolist() == case.tensors["out/near_crop_edge"].bool().tolist()


def check_masks(case: goldens.Case) -> None:
    """Compares stability, boxes, areas and run lengths of masks."""
    logits = case.tensors["in/mask_logits"]
    scores = stability_scores(logits, 0.0, 1.0)
    torch.testing.assert_close(scores, case.tensors["out/stability_score"], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(stability_scores(logits.mT, 0.0, 1.0), scores, rtol=0, atol=0, equal_nan=True)
    codes = encode_masks((logits > 0).numpy())
    assert corner_boxes(codes).tolist() == case.tensors["out/boxes"].tolist()
    assert rle_areas(codes).tolist() == case.info["area"]
    assert [{"size": code["size"], "counts": rle_counts(code)} for code in codes] == case.info["rle"]


def check_small_regions(case: goldens.Case, name: str) -> None:
    """Compares a mask without small holes or islands, as in ``holes_30``."""
    kind, area = name.split("_")
    mask, changed = remove_small_regions(case.tensors["in/regions_mask"].bool().numpy(), int(area), kind)
    assert changed == case.info["regions_changed"][name]
    assert np.array_equal(mask, case.tensors[f"out/regions_{name}"].bool().numpy())


def label_predictor(case: goldens.Case) -> LabelPredictor:
    """Returns the predictor without a network that the recorded runs used."""
    return LabelPredictor(case.info["stub_predictor"]["resize_target_length"])


def label_image(case: goldens.Case) -> np.ndarray:
    """Returns the image of those runs, (h, w, 3) uint8."""
    return np.repeat(case.tensors["in/label_image"].numpy()[..., None], 3, axis=2)


def check_run(case: goldens.Case, name: str) -> None:
    """Compares a run of that predictor."""
    run = case.info["generate"][name]
    generator = SamAutomaticMaskGenerator(label_predictor(case), output_mode="uncompressed_rle", **run["settings"])
    assert_recorded(generator.generate(label_image(case)), run)


def check_run_with_network(case: goldens.Case) -> None:
    """Compares the run of a network, whose weights and image are those of another case beside this one."""
    run = case.info["generate_with_sam_full_weights"]
    tensor, other = re.fullmatch(r"(\S+) of (\w+)", run["image"]).groups()
    weights = goldens.Case(case.system, other, case.path.with_name(f"{other}.json"))
    network = weights.load_into(recorded_sam(weights.config))
    generator = SamAutomaticMaskGenerator(network, output_mode="uncompressed_rle", **run["settings"])
    assert_recorded(generator.generate(weights.tensors[tensor].numpy()), run)


def assert_recorded(records: list[dict], run: dict) -> None:
    """Compares records with the recorded ones. The point is left out: several may give the same mask and score."""
    assert len(records) == run["count"] == len(run["masks"])
    for record, wanted in zip(records, run["masks"], strict=True):
        assert record["segmentation"]["counts"] == wanted["rle_counts"]
        assert record["bbox"] == wanted["bbox_xywh"] and record["crop_box"] == wanted["crop_box_xywh"]
        assert record["area"] == wanted["area"]
        assert record["predicted_iou"] == pytest.approx(wanted["predicted_iou"], abs=2e-5)
        assert record["stability_score"] == pytest.approx(wanted["stability_score"], abs=2e-5)
