"""Each shipped configuration loads, and SAM's say what the published recipe says."""

import pytest

from segfoundry.utils.config.engine import load_config
from segfoundry.utils.paths import configs_root

SHIPPED = sorted(path.relative_to(configs_root()).as_posix() for path in configs_root().glob("*/*.yaml"))
FILES = {
    "vit_b": "sam_vit_b_01ec64.pth",
    "vit_l": "sam_vit_l_0b3195.pth",
    "vit_h": "sam_vit_h_4b8939.pth",
    "vit_t": "mobile_sam.pt",
}


@pytest.mark.parametrize("name", SHIPPED)
def test_it_loads_without_a_word(name):
    resolved = load_config([f"configs/{name}"])
    assert resolved.notices == [] and resolved.arch == name.split("/")[0]


@pytest.mark.parametrize("kind", FILES)
def test_sizes_of_sam(kind):
    dlo = load_config([f"configs/sam/dlo_{kind}.yaml"]).cfg.SAM
    assert dlo.TYPE == kind and dlo.TASK == "dlo" and dlo.CHECKPOINT == f"ckpts/base_model/{FILES[kind]}"
    published = load_config([f"configs/sam/{kind}.yaml"]).cfg.SAM
    assert published.TYPE == kind and published.TASK == "promptable" and published.CHECKPOINT == ""


@pytest.mark.parametrize("kind", FILES)
def test_fine_tuning_for_cables_takes_the_published_numbers(kind):
    cfg = load_config([f"configs/sam/dlo_{kind}.yaml"]).cfg
    solver = cfg.SOLVER
    assert (solver.OPTIMIZER, solver.BASE_LR, solver.WEIGHT_DECAY) == ("ADAM", 1e-4, 0.0)
    assert (solver.LR_SCHEDULER_NAME, solver.WARMUP_ITERS, solver.DECAY_INTERVAL) == ("WarmupStepExp", 1000, 100)
    assert (solver.GAMMA, solver.MIN_LR, solver.MAX_NUM_EPOCHS) == (0.98946, 1e-7, 10)
    assert not solver.CLIP_GRADIENTS.ENABLED and cfg.TRAIN.EMA == 0
    assert (cfg.TRAIN.BATCH_SIZE_TOTAL, cfg.TEST.BATCH_SIZE_TOTAL, cfg.DATALOADER.NUM_WORKERS) == (16, 4, 4)
    assert (cfg.CHECKPOINT.EVERY_EPOCHS, cfg.TRAIN.EVAL_EVERY, cfg.TRAIN.EVAL_EVERY_EPOCHS) == (2, 200, 0)
    assert cfg.CHECKPOINT.PUBLISHED.format(step=51, batch=16) == "ckpts/ckpt_0000051_b16.pth"
    assert cfg.CHECKPOINT.PUBLISHED_OPTIMIZER.format(step=51, batch=16) == "ckpts/optimizer_0000051_b16.pth"
    sam = cfg.SAM
    assert (sam.TRAIN.IMAGE_ENCODER, sam.TRAIN.PROMPT_ENCODER, sam.TRAIN.MASK_DECODER) == ("frozen", "frozen", "full")
    assert (sam.LOSS.FOCAL_ALPHA, sam.LOSS.FOCAL_WEIGHT, sam.LOSS.DICE_WEIGHT) == (0.85, 20, 1)
    assert sam.DLO.INVERT_TARGET and sam.DLO.PROMPT == "full_box" and sam.DLO.INPUT.STANDARD_SIZE == [720, 1280]
