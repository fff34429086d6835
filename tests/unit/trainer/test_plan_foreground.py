"""Faults and notices of data with foreground masks, before anything is built."""

import numpy as np
import pytest

from segfoundry.trainer.plan import plan_evaluation, plan_training
from segfoundry.utils.errors import ConfigError, DataError
from segfoundry.utils.image_io import write_png

from ...support.cable_data import cable_config, write_backgrounds, write_cables
from ...support.tiny_data import write_dataset


@pytest.fixture
def cables(tmp_path):
    return str(write_cables(tmp_path / "cables"))


@pytest.fixture
def photos(tmp_path):
    return str(write_backgrounds(tmp_path / "photos"))


def test_folders_and_records_join(cables, tmp_path):
    record = write_dataset(tmp_path / "balls")
    keys = {"DATASETS.TRAIN": [str(record)], "DATASETS.TEST": [str(record)]}
    plan = plan_training(cable_config([{"data_dir": cables}], {"data_dir": cables}, **keys))
    assert [r.name for r, _ in plan.train] == ["tiny", "cables"] and [s.name for _, s in plan.test] == ["val", "test"]
    assert [c.name for c in plan.categories] == ["sky", "ground", "ball"]
    alone = plan_training(cable_config([{"data_dir": cables}], {"data_dir": cables}))
    assert [c.name for c in alone.categories] == ["foreground"] and len(plan_evaluation(alone.resolved).test) == 1


def test_nothing_to_train_or_evaluate_on(cables):
    with pytest.raises(ConfigError, match=r"DATASETS\.TRAIN and SAM\.DLO\.TRAIN are empty; .*data_dir: my_cables"):
        plan_training(cable_config([]))
    with pytest.raises(ConfigError, match=r"DATASETS\.TEST and SAM\.DLO\.TEST are empty"):
        plan_evaluation(cable_config([{"data_dir": cables}]))
    with pytest.raises(ConfigError, match=r"DATASETS\.TEST is empty; name a data set record"):
        plan_evaluation(cable_config([], {"data_dir": cables}, SAM__TASK="promptable"))
    plan = plan_training(cable_config([{"data_dir": cables}]))
    assert any("SAM.DLO.TEST are empty: nothing is evaluated" in text for text in plan.notices)


def test_small_shares_and_black_masks_are_noticed(cables, tmp_path):
    dark = write_cables(tmp_path / "dark")
    for path in (dark / "masks").iterdir():
        write_png(path, np.zeros((36, 64), np.uint8))
    entries = [{"data_dir": cables, "percentage": 0.1}, {"data_dir": str(dark), "aug_details": ["crop_foreground"]}]
    text = "\n".join(plan_training(cable_config(entries)).notices)
    assert "percentage 0.1 of 4 images gives none: the set is left out" in text
    assert "dark/masks: no foreground in 4 of 4 masks" in text and "aug_details has no effect" in text


CACHE = {"SAM.CACHE_EMBEDDINGS": True}


def test_a_cache_needs_images_that_stay(cables, photos):
    for entry, reason in (({"w_aug": True}, "w_aug of .*cables"), ({"bg_paths": [photos]}, "bg_paths of .*cables")):
        with pytest.raises(ConfigError, match=rf"SAM\.CACHE_EMBEDDINGS .*{reason} changes .*SAM\.CACHE_VARIANTS"):
            plan_training(cable_config([{"data_dir": cables}, {"data_dir": cables, **entry}], **CACHE))
        plan_training(cable_config([{"data_dir": cables, **entry}], **CACHE, **{"SAM.CACHE_VARIANTS": 4}))
    plan_training(cable_config([{"data_dir": cables}], **CACHE))


def test_a_cache_of_promptable_training(tmp_path):
    keys = {"DATASETS.TRAIN": [str(write_dataset(tmp_path))], "SAM.TASK": "promptable", **CACHE}
    with pytest.raises(ConfigError, match=r"SAM\.PROMPTABLE\.FLIP_P changes"):
        plan_training(cable_config([], **keys))
    plan_training(cable_config([], **keys, **{"SAM.PROMPTABLE.FLIP_P": 0}))


def test_lone_files_are_found_before_training(cables, tmp_path):
    (tmp_path / "cables/masks/c1.png").unlink()
    with pytest.raises(DataError, match="no mask for 1 images"):
        plan_training(cable_config([{"data_dir": cables}]))
