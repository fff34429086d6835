"""The recorded fine-tuning runs: losses, confusion counts and weights, step by step."""

import pytest
import torch

from .....support import goldens
from ..golden_cases import fine_tuning

LOSSES = goldens.find("sam", "dlo_losses_lr")
RUNS = goldens.find("sam", "dlo_finetune")


@pytest.mark.parametrize("name", fine_tuning.focal_names(LOSSES))
def test_focal_loss_and_gradient(name):
    fine_tuning.check_focal(LOSSES, name)


def test_dice_loss_and_gradient():
    fine_tuning.check_dice(LOSSES)


def test_weighted_sum_of_both():
    fine_tuning.check_totals(LOSSES)


@pytest.mark.parametrize("name", goldens.keys(RUNS, "runs"))
def test_run(name):
    """The virtual run's last two micro-batches make no step, as recorded."""
    fine_tuning.check_run(RUNS, name)


def test_training_leaves_encoders_and_unreached_heads_alone():
    run = fine_tuning.Run(RUNS, next(iter(RUNS.info["runs"]))).train()
    state, before = run.model.state_dict(), RUNS.group("param")
    changed = {name for name, tensor in state.items() if not torch.equal(tensor, before[name])}
    assert changed and all(name.startswith("mask_decoder.") for name in changed)
    assert not any("iou_prediction_head" in name or "hypernetworks_mlps.1" in name for name in changed)
