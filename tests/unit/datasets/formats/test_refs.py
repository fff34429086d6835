"""The expressions of RefCOCO: pickles that are read without being trusted."""

import collections
import json
import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfoundry.datasets.formats.refs import read_ref_list, read_refs
from segfoundry.datasets.records.image_item import Phrase
from segfoundry.utils.errors import DataError

POLYGON = [[1, 1, 8, 1, 8, 8]]


def ref(number, annotation, image, split, *texts):
    sentences = [{"raw": t, "sent": t.lower(), "tokens": t.split(), "sent_id": i} for i, t in enumerate(texts)]
    return {
        "ref_id": number, "ann_id": annotation, "image_id": image, "split": split, "category_id": 3,
        "file_name": f"COCO_train2014_{image:012d}_{number}.jpg", "sent_ids": [0], "sentences": sentences,
    }  # fmt: skip


REFS = [
    ref(0, 11, 5, "val", "The left car", "car"),
    ref(1, 12, 5, "val", "right car"),
    ref(2, 11, 5, "val", "CAR", "near car"),
    ref(3, 13, 6, "testA", "a bus"),
]


@pytest.fixture
def folder(tmp_path):
    instances = {
        "images": [{"id": i, "file_name": f"COCO_train2014_{i:012d}.jpg", "height": 10, "width": 12} for i in (5, 6)],
        "annotations": [{"id": i, "image_id": 5, "category_id": 3, "segmentation": POLYGON} for i in (11, 12, 13, 14)],
    }
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    return tmp_path


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickles_of_every_age(folder, protocol):
    path = folder / "refs(unc).p"
    path.write_bytes(pickle.dumps(REFS, protocol))
    found = read_refs(path, "val", {3: 2})
    assert found.phrases == {
        "5": [Phrase(("the left car", "car", "near car"), POLYGON, 2), Phrase(("right car",), POLYGON, 2)]
    }
    assert found.images["5"]["height"] == 10 and list(found.images) == ["5"]
    assert read_refs(path, "testA", {}).phrases["6"][0].category is None
    with pytest.raises(DataError, match=r"no expression of split 'testB', did you mean 'testA'"):
        read_refs(path, "testB", {})


def test_pickle_of_python_2(folder):
    # pickle.dumps([{"ann_id": 1, "image_id": 2, "split": "val", "sentences": []}]) of Python 2.7: byte strings
    text = (
        b"(lp0\n(dp1\nS'ann_id'\np2\nI1\nsS'image_id'\np3\nI2\nsS'split'\np4\nS'val'\np5\nsS'sentences'\np6\n(lp7\nsa."
    )
    (folder / "r.p").write_bytes(text)
    assert read_ref_list(folder / "r.p") == [{"ann_id": 1, "image_id": 2, "split": "val", "sentences": []}]


def test_json(folder):
    (folder / "refs.json").write_text(json.dumps(REFS))
    assert len(read_refs(folder / "refs.json", "val", {}).phrases["5"]) == 2


class Attack:
    def __reduce__(self):
        return os.system, ("echo attacked > attacked.txt",)


@pytest.mark.parametrize("value", [[Attack()], collections.OrderedDict(a=1), [Attack], pickle.Unpickler])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_no_code_is_run(folder, monkeypatch, value, protocol):
    monkeypatch.chdir(folder)
    (folder / "r.p").write_bytes(pickle.dumps(value, protocol))
    with pytest.raises(DataError, match=r"r\.p: .*it asks for .*; only plain data"):
        read_ref_list(folder / "r.p")
    assert not (folder / "attacked.txt").exists()


@given(st.binary(max_size=200))
def test_any_bytes_end_in_an_error_of_ours(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("r") / "r.p"
    path.write_bytes(content)
    try:
        assert isinstance(read_ref_list(path), list)
    except DataError as error:
        assert "r.p" in str(error)


def test_faults(folder):
    path = folder / "r.p"
    with pytest.raises(DataError, match="no such file"):
        read_ref_list(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(DataError, match="found dict"):
        read_ref_list(path)
    path.write_bytes(pickle.dumps([{"ann_id": 1}]))
    with pytest.raises(DataError, match="expression 0 lacks"):
        read_ref_list(path)
    path.write_bytes(pickle.dumps([ref(0, 99, 5, "val", "x")]))
    with pytest.raises(DataError, match="expression 0 of split val .*missing in .*instances.json"):
        read_refs(path, "val", {})
    (folder / "instances.json").unlink()
    with pytest.raises(DataError, match=r"instances\.json: no such file"):
        read_refs(path, "val", {})
