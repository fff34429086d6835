"""SEEM's keys: published names and values, rules across keys, tasks."""

import json
from pathlib import Path

import pytest

from segfoundry.modeling.seem.config import active_tasks, tiny
from segfoundry.utils.config.architectures import find_architecture
from segfoundry.utils.config.engine import load_config, load_mapping
from segfoundry.utils.config.resolved import find_value
from segfoundry.utils.errors import ConfigError

PUBLISHED = json.loads((Path(__file__).parents[3] / "goldens" / "seem_yaml_defaults.json").read_text())
LARGE = PUBLISHED["focall_unicl_lang_v1"]
FILES = {"focall": LARGE, "focalt": {**LARGE, **PUBLISHED["focalt_unicl_lang_v1"]}}
# our shipped files differ from the published ones in these keys, on purpose
DIFFERENT = {
    "SAVE_DIR": "runs",
    "DATASETS.TRAIN": ["coco_2017_train_with_sem_seg_caption_grounding"],
    "DATASETS.TEST": ["bdd10k_val_sem_seg"],
}


@pytest.mark.parametrize("size", FILES)
def test_shipped_values_are_the_published_ones(size):
    cfg = load_config([f"configs/seem/{size}_unicl_lang_v1.yaml"]).cfg
    expected = {**FILES[size], **DIFFERENT}
    assert {k: find_value(cfg, k) for k in expected} == expected


def test_a_published_file_as_it_is_loads_to_its_values():
    resolved = load_mapping(LARGE)
    assert {k: find_value(resolved.cfg, k) for k in LARGE} == LARGE and resolved.notices == []


def test_keys_of_the_other_published_files_are_known():
    others = PUBLISHED["keys of the other published files"]
    cfg = load_mapping({"MODEL.NAME": "seem_model_v1", **others, "MODEL.BACKBONE.PRETRAINED": "file"}).cfg
    assert {k: find_value(cfg, k) for k in others} == others


def test_hidden_keys_of_the_reference_have_defaults():
    cfg = load_mapping({"MODEL.NAME": "seem_model_v1"}).cfg
    hidden = {
        "GRADIENT_ACCUMULATE_STEP": 1,
        "CUDA": True,
        "BASENAME": "",
        "LOG_FIRST": 10,
        "SOLVER.IGNORE_FIX": [],
        "SOLVER.WEIGHT_DECAY_BIAS": 0.0,
        "MODEL.DECODER.TOP_MASK_LAYERS": 10,
        "MODEL.BACKBONE.FOCAL.FINE_TUNE": False,
        "MODEL.DECODER.FINE_TUNE": False,
    }
    assert {k: find_value(cfg, k) for k in hidden} == hidden


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"MODEL.NAME": "seem_model_v0"}, "seem_model_v0.*'seem_v0'.*DECODER.NAME is 'seem_v1'"),
        ({"MODEL.BACKBONE.NAME": "focl"}, "unknown, did you mean 'focal'"),
        ({"MODEL.ENCODER.NAME": "fpn"}, "MODEL.ENCODER.NAME 'fpn' is unknown"),
        ({"MODEL.DECODER.NAME": "seem_dmo"}, "unknown, did you mean 'seem_demo'"),
        ({"MODEL.ENCODER.CONVS_DIM": 100}, "CONVS_DIM 100 is not a multiple of the 32 groups"),
        ({"MODEL.DECODER.HIDDEN_DIM": 100}, "HIDDEN_DIM 100.*NHEADS 8"),
        ({"MODEL.DECODER.HIDDEN_DIM": 30, "MODEL.DECODER.NHEADS": 2}, "HIDDEN_DIM 30.*4"),
        ({"MODEL.TEXT.WIDTH": 100}, "WIDTH 100.*HEADS 8"),
        ({"MODEL.BACKBONE.FOCAL.DEPTHS": [2, 2]}, "DEPTHS.*four"),
        ({"MODEL.BACKBONE.FOCAL.FOCAL_WINDOWS": [3, 3, 4, 3]}, "odd"),
        ({"MODEL.BACKBONE.FOCAL.OUT_INDICES": [0, 1]}, "OUT_INDICES"),
        (
            {
                "MODEL.BACKBONE.FOCAL.OUT_INDICES": [0, 1, 2],
                "MODEL.BACKBONE.FOCAL.OUT_FEATURES": ["res2", "res3", "res4"],
            },
            "IN_FEATURES",
        ),
        ({"MODEL.BACKBONE.LOAD_PRETRAINED": True}, "PRETRAINED names no file"),
        ({f"MODEL.DECODER.{t}.ENABLED": False for t in ("MASK", "SPATIAL", "GROUNDING")}, "leaves no task"),
        ({"STROKE_SAMPLER.DILATION": 2}, "DILATION is 2, expected an odd number"),
        (
            {"MODEL.NAME": "seem_model_v0", "MODEL.DECODER.NAME": "seem_v0", "STROKE_SAMPLER.MAX_CANDIDATE": 2},
            "MAX_CANDIDATE 2: seem_model_v0 trains one",
        ),
        ({"COCO.INPUT.MIN_SCALE": 3.0}, "MIN_SCALE 3.0"),
    ],
)
def test_rules_across_keys(values, problem):
    with pytest.raises(ConfigError, match=problem):
        load_mapping({"MODEL.NAME": "seem_model_v1", **values})


def test_switches_decide_the_training_tasks():
    cfg = load_config(["configs/seem/focall_unicl_lang_v1.yaml"]).typed
    assert find_architecture(cfg.MODEL.NAME).training_notices(cfg) == []
    everything = {"mask": True, "spatial": True, "grounding": True}
    assert active_tasks(load_mapping(tiny()).typed) == everything
    cfg = load_mapping(tiny() | {"MODEL.DECODER.MASK.ENABLED": False, "MODEL.DECODER.GROUNDING.ENABLED": False}).cfg
    assert active_tasks(cfg) == everything | {"mask": False, "grounding": False}
    demo = load_config(["configs/seem/focalt_unicl_lang_demo.yaml"]).cfg
    assert not any(active_tasks(demo).values())
