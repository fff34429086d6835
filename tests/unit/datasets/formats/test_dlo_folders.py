"""Entries of SAM.DLO become data sets, or an error that names the key and the nearest fix."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segfoundry.datasets.formats.dlo_folders import parse_entry
from segfoundry.datasets.pipelines.base import OwnData, find_pipeline
from segfoundry.datasets.records.image_item import Composite
from segfoundry.datasets.records.list_items import list_items
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.errors import ConfigError, DataError

from ....support.cable_data import cable_config, write_backgrounds, write_cables


def sets(train, test=None, **keys):
    return find_pipeline(cable_config(train, test, **keys).typed).own_data()


@pytest.fixture
def cables(tmp_path):
    return str(write_cables(tmp_path / "cables"))


@pytest.fixture
def photos(tmp_path):
    return str(write_backgrounds(tmp_path / "photos"))


def test_entries_become_data_sets(cables, photos):
    entry = {"data_dir": cables, "bg_paths": [photos], "w_aug": True, "aug_details": ["crop_foreground"]}
    found = sets([{"data_dir": cables}, {**entry, "percentage": 0.5}], {"data_dir": cables})
    assert [(r.name, s.name, s.share) for r, s in found.train] == [("cables", "train", 1.0), ("cables", "train", 0.5)]
    assert [(r.name, s.name) for r, s in found.test] == [("cables", "test")] and found.notices == []
    record, split = found.train[0]
    assert [c.name for c in record.categories] == ["foreground"] and record.evaluators_for(split) == ("foreground",)
    plain, mixed = list_items(*found.train[0]), list_items(*found.train[1])
    assert [item.image_id for item in plain] == ["c0", "c1", "c2", "c3"] and plain[0].composite is None
    assert plain[0].foreground.name == "c0.png" and plain[0].foreground.parent.name == "masks"
    composite = mixed[0].composite
    assert composite == Composite(composite.backgrounds, True, True)
    assert [path.name for path in composite.backgrounds] == ["b0.png", "b1.png", "b2.png"]


def test_backgrounds_are_optional(cables):
    for entry in ({}, {"bg_paths": None}, {"bg_paths": []}):
        assert sets([{"data_dir": cables, **entry}]).train[0][1].backgrounds == ()


def test_other_tasks_are_not_tested_and_other_architectures_have_none(cables):
    found = sets([{"data_dir": cables}], {"data_dir": "nowhere"}, SAM__TASK="promptable")
    assert len(found.train) == 1 and found.test == []
    assert [n.split(":")[0] for n in found.notices] == ["SAM.DLO.TEST is not used"]
    assert find_pipeline(load_mapping({"MODEL.NAME": "seem_model_v1"}).typed).own_data() == OwnData()


def test_a_set_with_percentage_0_is_left_out_and_need_not_exist(cables):
    found = sets([{"data_dir": "nowhere", "percentage": 0}, {"data_dir": cables, "percentage": 2.5}])
    assert [split.share for _, split in found.train] == [2.5]
    with pytest.raises(ConfigError, match="percentage of all 2 entries is 0"):
        sets([{"data_dir": cables, "percentage": 0}] * 2)


@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_wrong_percentages(cables, value):
    with pytest.raises(ConfigError, match=r"SAM\.DLO\.TRAIN\.1\.percentage is .*expected a number from 0"):
        cfg = cable_config([{"data_dir": cables}, {"data_dir": cables}]).cfg.clone()
        cfg.defrost()
        cfg.SAM.DLO.TRAIN[1]["percentage"] = value
        find_pipeline(cfg).own_data()


def test_augmentations_have_names(cables):
    with pytest.raises(ConfigError, match=r"TRAIN\.0\.aug_details: unknown 'crop_forground', did you mean 'crop_fore"):
        sets([{"data_dir": cables, "w_aug": True, "aug_details": ["crop_forground"]}])
    found = sets([{"data_dir": cables, "aug_details": ["crop_foreground"]}])
    assert found.notices == ["SAM.DLO.TRAIN.0.aug_details has no effect without w_aug: true"]
    assert not found.train[0][1].crop_foreground
    found = sets([{"data_dir": cables, "w_aug": True, "aug_details": ["crop_foreground"]}])
    assert found.notices == ["SAM.DLO.TRAIN.0.aug_details has no effect without bg_paths"]
    assert not found.train[0][1].crop_foreground


def test_what_has_no_meaning_in_a_test_set_is_said(cables):
    found = sets([], {"data_dir": cables, "percentage": 0.5, "aug_details": ["crop_foreground"]})
    assert len(found.notices) == 2 and all("SAM.DLO.TEST." in notice for notice in found.notices)
    assert sets([], {"data_dir": cables, "percentage": 1, "aug_details": []}).notices == []


def test_missing_folders_name_the_nearest(tmp_path, cables, photos):
    with pytest.raises(ConfigError, match=r"SAM\.DLO\.TRAIN\.0: the entry data_dir is missing; expected imgs/"):
        sets([{"w_aug": True}])
    with pytest.raises(DataError, match=r"TEST\.data_dir: .*cabels: no such folder, did you mean 'cables'\?"):
        sets([{"data_dir": cables}], {"data_dir": str(tmp_path / "cabels")})
    (tmp_path / "cables/imgs").rename(tmp_path / "cables/images")
    with pytest.raises(DataError, match=r"TRAIN\.0\.data_dir: .*has no folder imgs/, did you mean 'images'\?.*masks/"):
        sets([{"data_dir": cables}])
    with pytest.raises(DataError, match=r"TRAIN\.0\.data_dir: .*a\.txt: is a file"):
        (tmp_path / "a.txt").touch()
        sets([{"data_dir": str(tmp_path / "a.txt")}])


def test_background_folders_must_hold_images(tmp_path, cables):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"TRAIN\.0\.bg_paths: .*empty holds no image"):
        sets([{"data_dir": cables, "bg_paths": [str(tmp_path / "empty")]}])
    with pytest.raises(DataError, match=r"TEST\.bg_paths: .*nowhere: no such folder"):
        sets([], {"data_dir": cables, "bg_paths": [str(tmp_path / "nowhere")]})
    with pytest.raises(DataError, match=r"bg_paths: .*emty: no such folder, did you mean 'empty'\?"):
        sets([], {"data_dir": cables, "bg_paths": [str(tmp_path / "emty")]})


def test_all_sets_as_one_data_set(cables, tmp_path):
    record = sets([{"data_dir": cables}] * 2, {"data_dir": cables}).as_record("SAM.DLO", tmp_path / "d.yaml")
    assert list(record.splits) == ["train.0", "train.1", "test"]
    assert all(name == split.name for name, split in record.splits.items())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "data_dir": st.sampled_from(["", "CABLES", "nowhere"]),
            "bg_paths": st.none() | st.lists(st.sampled_from(["PHOTOS", "nowhere", ""]), max_size=2),
            "w_aug": st.booleans(),
            "aug_details": st.none() | st.lists(st.sampled_from(["crop_foreground", "crop", ""]), max_size=2),
        },
    )
)
def test_an_entry_is_a_data_set_or_a_named_error(cables, photos, entry):
    real = {"CABLES": cables, "PHOTOS": photos}
    filled = {
        key: [real.get(v, v) for v in value]
        if key == "bg_paths" and value
        else real.get(value, value)
        if isinstance(value, str)
        else value
        for key, value in entry.items()
    }
    notices: list[str] = []
    try:
        record, split = parse_entry(filled, "HERE", "train", 1.0, notices)
    except (ConfigError, DataError) as error:
        assert "HERE" in str(error)
        details, folders = entry.get("aug_details") or [], entry.get("bg_paths") or []
        faulty = entry.get("data_dir") != "CABLES" or {"crop", ""} & set(details) or {"nowhere", ""} & set(folders)
        assert faulty
    else:
        assert len(list_items(record, split)) == 4
        assert split.augment == bool(entry.get("w_aug")) and (split.augment or not split.crop_foreground)
        assert len(split.backgrounds) == len(entry.get("bg_paths") or [])
