"""Faults that are found before a model is built."""

import json
import subprocess
import sys

import pytest

from segfoundry.trainer.plan import check_start, plan_evaluation, plan_training
from segfoundry.utils.config.engine import load_config
from segfoundry.utils.errors import CheckpointError, ConfigError, DataError

from ...support.tiny_data import write_dataset
from ...support.tiny_run import write_config

CLASSES = "MODEL.ENCODER.NUM_CLASSES"


@pytest.fixture
def config(tmp_path):
    path = write_config(tmp_path)
    return lambda *overrides: load_config([path], list(overrides))


def test_data_sets_are_found_and_the_record_decides_the_classes(config):
    plan = plan_training(config())
    assert plan.cfg.MODEL.ENCODER.NUM_CLASSES == 3 and len(plan.categories) == 3
    assert [split.name for _, split in plan.train] == ["train"] and [split.name for _, split in plan.test] == ["val"]
    assert any("133" in text and "3 categories" in text for text in plan.notices)


def test_each_list_of_images_is_read_once_before_training_and_evaluation(tmp_path, monkeypatch):
    from segfoundry.datasets.records import list_items
    from segfoundry.trainer.training.start import train

    read = []
    original = list_items.read_panoptic_json
    monkeypatch.setattr(list_items, "read_panoptic_json", lambda path: read.append(path.parent.name) or original(path))
    path = write_config(tmp_path, SOLVER__MAX_ITERS=2, TRAIN__EVAL_EVERY=1)
    assert train(plan_training(load_config([path])), name="once") == 0
    assert sorted(read) == ["train", "val"]


def test_a_number_of_classes_that_the_user_wrote_must_fit(config):
    assert plan_training(config(CLASSES, "3")).notices == []
    with pytest.raises(ConfigError, match=rf"{CLASSES} is 5 \(--overrides\).* has 3 categories"):
        plan_training(config(CLASSES, "5"))


def test_missing_and_empty_data_sets(config, tmp_path):
    for key, check in (("DATASETS.TRAIN", plan_training), ("DATASETS.TEST", plan_evaluation)):
        with pytest.raises(ConfigError, match=f"{key} is empty"):
            check(config(key, "[]"))
        with pytest.raises(DataError, match="nothing_there"):
            check(config(key, "[nothing_there.yaml]"))
    (tmp_path / "empty").mkdir()
    record = write_dataset(tmp_path / "empty", train=0, val=0, name="empty")
    with pytest.raises(DataError, match="no image"):
        plan_training(config("DATASETS.TRAIN", f"[{record}]"))


def test_training_without_evaluation_is_allowed_with_a_notice(config):
    plan = plan_training(config("DATASETS.TEST", "[]"))
    assert plan.test == [] and any("DATASETS.TEST" in text for text in plan.notices)


def test_training_sets_must_agree_on_their_categories(config, tmp_path):
    (tmp_path / "other").mkdir()
    record = write_dataset(tmp_path / "other", name="other")
    text = record.read_text()
    assert len(plan_training(config("DATASETS.TRAIN", f"[{tmp_path}/data/tiny.yaml, {record}]")).train) == 2
    record.write_text(text.replace('"ball"', '"box"'))
    with pytest.raises(ConfigError, match="different categories"):
        plan_training(config("DATASETS.TRAIN", f"[{tmp_path}/data/tiny.yaml, {record}]"))


def test_what_a_run_starts_from(config, tmp_path):
    assert check_start(config().cfg, "auto") == "auto"
    for key in ("RESUME", "WEIGHT"):
        with pytest.raises(ConfigError, match=f"{key} is on, but RESUME_FROM"):
            check_start(config(key, "True").cfg, "auto")
    (tmp_path / "w.pt").touch()
    assert check_start(config("RESUME", "True", "RESUME_FROM", str(tmp_path)).cfg, "auto") == str(tmp_path)
    with pytest.raises(ConfigError, match="expected a checkpoint or run folder; for a weight file use WEIGHT"):
        check_start(config("RESUME", "True", "RESUME_FROM", str(tmp_path / "w.pt")).cfg, "auto")
    assert check_start(config("WEIGHT", "True", "RESUME_FROM", str(tmp_path / "w.pt")).cfg, "auto") == "auto"
    with pytest.raises(CheckpointError, match="none.pt"):
        check_start(config("WEIGHT", "True", "RESUME_FROM", str(tmp_path / "none.pt")).cfg, "auto")
    with pytest.raises(ConfigError, match="cannot resume from"):
        check_start(config().cfg, "sometimes")


def test_data_that_the_user_did_not_name_is_said_to_be_the_file_s(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    tiny, mine = "configs/seem/tiny.yaml", ["DATASETS.TRAIN", "[data/tiny.yaml]"]
    own = r"name your own data set, e.g. --overrides DATASETS.{} '\[my.yaml\]'"
    still = (
        r"(?s)coco/train2017: no such folder.*DATASETS.TRAIN is still \[coco_2017_.*of configs/seem/_base_seem.yaml; "
    )
    with pytest.raises(DataError, match=still + own.format("TRAIN")):
        plan_training(load_config([tiny]))
    with pytest.raises(DataError, match=r"(?s)DATASETS.TEST is still \[bdd10k.*" + own.format("TEST") + r", or \[\]"):
        plan_training(load_config([tiny], mine))
    with pytest.raises(DataError, match=r"(?s)DATASETS.TEST is still \[bdd10k.*" + own.format("TEST")):
        plan_evaluation(load_config([tiny]))
    with pytest.raises(DataError) as error:
        plan_training(load_config([tiny], ["DATASETS.TRAIN", "[coco_2017]"]))
    assert "no such folder" in str(error.value) and "still" not in str(error.value)


def test_a_weight_file_that_nothing_reads_is_said_where_the_user_named_it(config, tmp_path):
    (warning,) = plan_training(config("RESUME_FROM", "none.pt")).warnings
    assert warning.startswith("RESUME_FROM none.pt (--overrides) is NOT READ, because WEIGHT is False: ")
    assert "RANDOM WEIGHTS. WEIGHT True loads the file; RESUME True continues" in warning
    for words in ((), ("WEIGHT", "True"), ("RESUME", "True")):
        assert plan_training(config(*words, *(("RESUME_FROM", "x") if words else ()))).warnings == []
    shipped = config("RESUME_FROM", "none.pt")
    shipped.origins["RESUME_FROM"] = "configs/seem/tiny.yaml"
    assert plan_training(shipped).warnings == []


def test_weights_of_a_backbone_that_nothing_reads_are_said(config):
    key = "MODEL.BACKBONE.PRETRAINED"
    found = [text for text in plan_training(config(key, "focal.pth")).notices if key in text]
    assert len(found) == 1 and "MODEL.BACKBONE.LOAD_PRETRAINED is False" in found[0]
    whole = config(key, "focal.pth", "WEIGHT", "True", "RESUME_FROM", "x.pt")
    assert not any(key in text for text in plan_training(whole).notices)


def test_no_torch_is_imported_for_these_checks(tmp_path):
    path = write_config(tmp_path)
    script = (
        "import sys\nfrom segfoundry.trainer.plan import check_start, plan_training\n"
        "from segfoundry.utils.config.engine import load_config\n"
        "check_start(plan_training(load_config([sys.argv[1]])).cfg, 'auto')\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def test_finer_masks_that_no_set_has_are_said_once_when_the_user_asks_for_them(config):
    key = "MODEL.DECODER.LVIS.ENABLED"
    assert [text for text in plan_training(config(key, "True")).notices if key in text] == [
        f"{key} changes nothing: no training set names a file of finer masks (`instances` of its split)"
    ]
    assert not any(
        key in text for text in plan_training(config(key, "False")).notices + plan_training(config()).notices
    )


def test_a_set_of_phrases_alone_mixes_with_any_categories(config, tmp_path):
    (tmp_path / "other").mkdir()
    record = write_dataset(tmp_path / "other", name="phrases")
    content = json.loads(record.read_text())
    mask = {"size": [64, 64], "counts": [0, 100, 64 * 64 - 100]}
    annotation = {"id": 1, "image_id": 1, "segmentation": mask, "sentences": [{"raw": "the corner"}]}
    images = [{"id": 1, "file_name": "001.png", "height": 64, "width": 64}]
    (tmp_path / "other/g.json").write_text(json.dumps({"images": images, "annotations": [annotation]}))
    content["categories"] = content["categories"][:1]
    content["splits"] = {"train": {"images": "train/images", "grounding": "g.json"}}
    record.write_text(json.dumps(content))
    names = ("DATASETS.TRAIN", f"[{record}, {tmp_path}/data/tiny.yaml]")
    assert [c.name for c in plan_training(config(*names)).categories] == ["sky", "ground", "ball"]
    joint = (*names, "LOADER.JOINT", "True")
    assert len(plan_training(config(*joint, "LOADER.KEY_DATASET", "tiny")).train) == 2
    with pytest.raises(ConfigError, match=r"LOADER.KEY_DATASET 'ade' is none of the training sets \(phrases, tiny\)"):
        plan_training(config(*joint, "LOADER.KEY_DATASET", "ade"))


def test_a_set_without_phrases_and_categories_is_said_to_silence_texts(config, tmp_path):
    (tmp_path / "other").mkdir()
    record = write_dataset(tmp_path / "other", name="shapes")
    content = json.loads(record.read_text())
    split = content["splits"]["train"]
    content["splits"] = {"train": {"images": split["images"], "objects": split["panoptic"]}}
    record.write_text(json.dumps(content))
    names = ("DATASETS.TRAIN", f"[{tmp_path}/data/tiny.yaml, {record}]")
    said = [text for text in plan_training(config(*names)).notices if "trains no texts" in text]
    assert len(said) == 1 and "'shapes'" in said[0]
    off = plan_training(config(*names, "MODEL.DECODER.GROUNDING.ENABLED", "False")).notices
    assert not any("trains no texts" in text for text in [*off, *plan_training(config()).notices])
