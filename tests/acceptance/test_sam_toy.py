"""A small SAM learns drawn cables from random weights within 400 steps, whichever polarity it is trained with.

Minutes per case: run by ``make test-toy``, which sets SEGFOUNDRY_TOY; otherwise skipped.
"""

import os
import time

import numpy as np
import pytest
import torch
import yaml

from segfoundry.modeling.build_model import build_model
from segfoundry.modeling.finetune import apply_policy
from segfoundry.utils.config.engine import load_config
from segfoundry.utils.draws import Draws

from ..support.toy_cables import cable_batch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("SEGFOUNDRY_TOY"), reason="takes minutes; make test-toy runs it"),
]

STEPS, WARMUP, BATCH, RATE = 400, 50, 8, 1e-3
TEST_IMAGES, TEST_SEED = 24, 10**6

CONFIG = """
MODEL: {NAME: sam}
SAM:
  TYPE: custom
  IMAGE_SIZE: 128
  CUSTOM: {PATCH_SIZE: 8, EMBED_DIM: 96, DEPTH: 4, HEADS: 4, GLOBAL_BLOCKS: [1, 3], WINDOW: 4, PROMPT_DIM: 64}
  TRAIN: {IMAGE_ENCODER: full, PROMPT_ENCODER: full, MASK_DECODER: full}
  LOSS: {FOCAL_ALPHA: 0.85}
  DLO: {PROMPT: full_box}
"""


def train(folder, steps, **keys):
    """Trains and returns the network."""
    content = yaml.safe_load(CONFIG)
    content["SAM"]["DLO"]["INVERT_TARGET"] = keys.get("invert", False)
    if keys.get("decoder_only"):
        content["SAM"]["TRAIN"] |= {"IMAGE_ENCODER": "frozen", "PROMPT_ENCODER": "frozen"}
    (folder / "toy.yaml").write_text(yaml.safe_dump(content))
    torch.manual_seed(0)
    model = build_model(load_config([str(folder / "toy.yaml")]).cfg, [])
    apply_policy(model, model.train_policy())
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / WARMUP)
        losses = model.train()(cable_batch(step, BATCH), rng=Draws(0, step))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: dice {dice(model):.3f}, {time.process_time():.0f} s of CPU time")
    return model


@torch.no_grad()
def dice(model):
    """Returns the Dice score of the cables' pixels of all test images together."""
    found = model.eval()(batch := cable_batch(TEST_SEED, TEST_IMAGES))
    masks = np.stack([prediction.foreground.mask for prediction in found])
    truths = np.stack([sample.foreground for sample in batch.samples])
    return 2 * (masks & truths).sum() / (masks.sum() + truths.sum())


@pytest.mark.parametrize("invert", [False, True], ids=["cable", "inverted"])
def test_all_modules_learn_cables(tmp_path, invert):
    assert dice(train(tmp_path, STEPS, invert=invert)) >= 0.65


def test_the_decoder_alone_learns_something(tmp_path):
    """Its random encoder is frozen."""
    assert dice(train(tmp_path, 300, decoder_only=True)) > 0.35
