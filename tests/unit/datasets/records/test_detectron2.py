"""detectron2's catalogs: with a stand-in of the same interface always, with detectron2 itself where it is installed."""

import importlib.util
import sys
import types

import pytest

from segfoundry.datasets.records.catalog import find_record
from segfoundry.datasets.records.list_items import list_items
from segfoundry.datasets.records.record import read_record
from segfoundry.datasets.records.to_detectron2 import register_record
from segfoundry.utils.errors import DataError

from ....support.data_sets import prepare, write_raw


class FakeCatalog(dict):
    register = dict.__setitem__

    def list(self):
        return list(self)

    def get(self, name):
        return self[name]()


class FakeMetadata(dict):
    def get(self, name):
        return self.setdefault(name, Entry())


class Entry(types.SimpleNamespace):
    def set(self, **values):
        self.__dict__.update(values)
        return self


@pytest.fixture
def fake(monkeypatch):
    package, data = types.ModuleType("detectron2"), types.ModuleType("detectron2.data")
    package.__spec__ = importlib.util.spec_from_loader("detectron2", None)
    data.DatasetCatalog, data.MetadataCatalog = FakeCatalog(), FakeMetadata()
    monkeypatch.setitem(sys.modules, "detectron2", package)
    monkeypatch.setitem(sys.modules, "detectron2.data", data)
    return data


def check_round_trip(tmp_path):
    summary = prepare(write_raw(tmp_path / "raw"), tmp_path / "kitchen_for_d2")
    record, split = find_record(str(summary.record), "train")
    assert register_record(record) == ["kitchen_for_d2_train", "kitchen_for_d2_val"]
    with pytest.raises(DataError, match="already holds"):
        register_record(record)
    found, part = find_record("kitchen_for_d2_train", "val")
    assert found.categories == record.categories and part.name == "train"
    ours, theirs = list_items(record, split), list_items(found, part)
    assert [(i.image, i.panoptic, i.segments) for i in theirs] == [(i.image, i.panoptic, i.segments) for i in ours]


def test_round_trip_with_the_stand_in(fake, tmp_path):
    check_round_trip(tmp_path)


@pytest.mark.interop
def test_round_trip_with_detectron2(tmp_path):
    pytest.importorskip("detectron2")
    check_round_trip(tmp_path)


def test_separated_metadata(fake):
    """Detectron2's own COCO panoptic layout: stuff has its own numbering, 0 of which means "things"."""
    fake.DatasetCatalog.register(
        "x_val",
        lambda: [
            {
                "file_name": "a.jpg",
                "image_id": 5,
                "pan_seg_file_name": "a.png",
                "segments_info": [
                    {"id": 9, "category_id": 1, "isthing": True},
                    {"id": 8, "category_id": 1, "isthing": False},
                ],
            }
        ],
    )
    fake.MetadataCatalog.get("x_val").set(
        thing_classes=["cat", "dog"],
        stuff_classes=["things", "sky"],
        thing_dataset_id_to_contiguous_id={17: 0, 18: 1},
        stuff_dataset_id_to_contiguous_id={17: 0, 18: 0, 187: 1},
    )
    record, split = find_record("x_val", "train")
    assert [(c.id, c.name, c.isthing) for c in record.categories] == [
        (17, "cat", True),
        (18, "dog", True),
        (187, "sky", False),
    ]
    (item,) = list_items(record, split)
    assert [(s.id, s.category, s.isthing) for s in item.segments] == [(9, 1, True), (8, 2, False)]


def test_instance_only_registration_is_refused(fake):
    fake.DatasetCatalog.register("boxes", lambda: [{"file_name": "a.jpg", "annotations": []}])
    fake.MetadataCatalog.get("boxes").set(thing_classes=["cat"])
    record, split = find_record("boxes", "train")
    with pytest.raises(DataError, match="detection2panoptic"):
        list_items(record, split)


def test_grounding_fields_of_a_registration_are_left_alone(fake):
    entry = {"file_name": "a.jpg", "image_id": 5, "sem_seg_file_name": "a.png", "grounding_info": [{"sentences": []}]}
    fake.DatasetCatalog.register("x_val", lambda: [entry])
    fake.MetadataCatalog.get("x_val").set(stuff_classes=["sky"], evaluator_type="sem_seg")
    record, split = find_record("x_val", "train")
    (item,) = list_items(record, split)
    assert item.semantic.name == "a.png" and not item.phrases and entry["grounding_info"] == [{"sentences": []}]
    assert record.evaluators_for(split) == ("semantic",)


def test_semantic_maps_of_other_values_are_not_handed_on(fake, tmp_path):
    for folder in ("i", "s"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").touch()
    text = "splits: {val: {images: i, semantic: s%s}}\ncategories: [{id: 7, name: sky, isthing: false}]\n"
    for more, given in ((", semantic_values: id", False), ("", True)):
        path = tmp_path / f"r{given}.yaml"
        path.write_text(text % more)
        (name,) = register_record(read_record(path))
        assert ("sem_seg_file_name" in fake.DatasetCatalog.get(name)[0]) == given
