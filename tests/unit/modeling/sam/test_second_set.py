"""Another set of SAM's cases, of the same form with other sizes, is read as well; and the readers see a wrong value."""

import copy

import pytest
import torch

from ....support import goldens, second_sam_runs, second_sam_set
from ....support.golden_proof import assert_read, rejects, rejects_info
from .golden_cases import encoders, everything, fine_tuning, full_size, network

RECORD = {
    "prompt_encoder": second_sam_set.record_prompts,
    "mask_decoder": second_sam_set.record_decoder,
    "sam_full": second_sam_set.record_network,
    "transforms": second_sam_set.record_transforms,
    "image_encoder": second_sam_set.record_encoder,
    "rel_pos_windows": second_sam_set.record_windows,
    "lora_block": second_sam_set.record_lora,
    "full_formula_other": second_sam_runs.record_formula,
}


def other_registry(checkpoint=None):
    model = second_sam_set.network(seed=3)
    if checkpoint is not None:
        model.load_state_dict(torch.load(checkpoint), strict=True)
    return model


@pytest.mark.parametrize("name", RECORD)
def test_recorded_tensors(tmp_path, monkeypatch, name):
    monkeypatch.setattr(full_size, "sam_model_registry", {"other": other_registry})
    RECORD[name](tmp_path)
    assert_read(goldens.find("sam", name, tmp_path))


def test_gradients(tmp_path):
    second_sam_set.record_decoder(tmp_path)
    second_sam_set.record_encoder(tmp_path)
    rejects(network.check_decoder_gradients, goldens.find("sam", "mask_decoder", tmp_path), "grad/iou_token.weight")
    rejects(encoders.check_encoder, goldens.find("sam", "image_encoder", tmp_path), "grad/pos_embed", "auto")


def test_tiny_vit(tmp_path):
    second_sam_set.record_tiny_vit(tmp_path)
    small, large, weights = (
        goldens.find("sam", f"tiny_vit_{x}", tmp_path) for x in ("small", "1024_io", "1024_params")
    )
    for output in ("y", "block_tokens"):
        rejects(encoders.check_small_tiny_vit, small, f"out/{output}", "auto")
    rejects(encoders.check_batch_statistics, small, "out/y_train_mode")
    for output in large.outputs:
        rejects(encoders.check_large_tiny_vit, large, f"out/{output}", weights)


def test_sizes(tmp_path):
    second_sam_set.record_transforms(tmp_path)
    case = goldens.find("sam", "transforms", tmp_path)
    for side in goldens.keys(case, "shape_table"):
        rejects_info(
            network.check_sizes, case, lambda info, side=side: info["shape_table"][side].update({"70x30": [1, 2]}), side
        )


def test_everything_mode(tmp_path):
    second_sam_set.record_network(tmp_path)
    second_sam_runs.record_everything(tmp_path)
    case = goldens.find("sam", "amg", tmp_path)
    assert everything.grid_sides(case) == [2, 5]
    for side in (2, 5):
        rejects(everything.check_grid, case, f"out/point_grid_{side}", side)
    rejects_info(everything.check_layer_grids, case, lambda info: info["layer_grids"].append([9, 2]))
    for name in case.info["crop_boxes"]:
        rejects_info(
            everything.check_crops, case, lambda info, name=name: info["crop_boxes"][name]["layer"].pop(), name
        )
    rejects(everything.check_edges_of_crops, case, "out/near_crop_edge")
    rejects(everything.check_masks, case, "out/stability_score")
    rejects(everything.check_masks, case, "out/boxes")
    for name in case.info["regions_changed"]:
        rejects(everything.check_small_regions, case, f"out/regions_{name}", name)
    for name in case.info["generate"]:
        rejects_info(everything.check_run, case, lambda info, name=name: info["generate"][name]["masks"].pop(), name)
    network_run = "generate_with_sam_full_weights"
    rejects_info(everything.check_run_with_network, case, lambda info: info[network_run]["masks"][0].update(area=1))


def test_fine_tuning_losses(tmp_path):
    second_sam_runs.record_losses(tmp_path)
    case = goldens.find("sam", "dlo_losses_lr", tmp_path)
    assert fine_tuning.focal_names(case) == ["alpha0.6_gamma2.0", "alpha0.25_gamma1.0"]
    for name in fine_tuning.focal_names(case):
        rejects(fine_tuning.check_focal, case, f"out/focal_grad_{name}", name)
    rejects(fine_tuning.check_dice, case, "out/dice_grad")
    rejects_info(fine_tuning.check_totals, case, lambda info: info["values"].update({"total_7focal0.6_dice": 1.0}))


@pytest.mark.parametrize("name", ["plain", "pairs"])
def test_fine_tuning_runs(tmp_path, name):
    second_sam_runs.record_fine_tuning(tmp_path)
    case = goldens.find("sam", "dlo_finetune", tmp_path)
    assert goldens.keys(case, "runs") == ["plain", "pairs"]
    if name == "plain":
        rejects_info(fine_tuning.check_run, case, lambda info: info["runs"]["plain"]["log"][-1].update(step=7), name)
    else:
        rejects(fine_tuning.check_run, case, "out/pairs/mask_decoder/iou_token.weight", name)


@pytest.mark.parametrize(("switch", "value"), [("qkv_bias", False), ("use_rel_pos", False)])
def test_what_the_network_does_not_offer_is_said(switch, value):
    with pytest.raises(goldens.NotBuilt, match=switch):
        encoders.recorded_encoder({**copy.deepcopy(second_sam_set.CONFIG), switch: value})
