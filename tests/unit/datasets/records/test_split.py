"""The keys of a split."""

import pytest

from segfoundry.datasets.records.split import parse_splits
from segfoundry.utils.errors import DataError

INDEX_OF = {7: 0, 8: 1}
BASE = {"images": "i", "semantic": "s"}


def parse(root, **splits):
    return parse_splits(splits, root, INDEX_OF, "r.yaml: splits")


def test_like_inherits_and_null_takes_away(tmp_path):
    found = parse(
        tmp_path,
        val={"like": "train", "images": "v", "prompt": "Box"},
        train=BASE | {"objects": "o", "object_union": True},
        bare={"like": "val", "objects": None},
    )
    assert found["val"].images == tmp_path / "v" and found["val"].objects == tmp_path / "o"
    assert found["val"].prompt == "Box" and found["val"].object_coding.union and found["train"].prompt is None
    assert found["bare"].objects is None and found["bare"].images == tmp_path / "v"
    assert list(found["bare"].paths) == ["images", "semantic"]


def test_first_path_that_exists(tmp_path):
    value = BASE | {"images": ["a", "b"], "captions": "c.json", "optional": ["captions"]}
    split = parse(tmp_path, val=value)["val"]
    assert split.images == tmp_path / "a"
    assert split.captions is None and split.absent == (tmp_path / "c.json",)
    (tmp_path / "b").mkdir()
    (tmp_path / "c.json").touch()
    split = parse(tmp_path, val=value)["val"]
    assert split.images == tmp_path / "b" and split.captions == tmp_path / "c.json" and split.absent == ()


def test_paths_of_windows(tmp_path):
    value = {"images": "left\\images", "semantic": "s"}
    assert parse(tmp_path, val=value)["val"].images == tmp_path / "left\\images"  # as written, for the message
    (tmp_path / "left" / "images").mkdir(parents=True)
    assert parse(tmp_path, val=value)["val"].images == tmp_path / "left" / "images"


@pytest.mark.parametrize(
    ("keys", "indices", "ignored"),
    [
        ({"semantic_values": "id"}, ((7, 0), (8, 1)), (255,)),
        ({"semantic_values": "index+1", "semantic_ignore": [0]}, ((1, 0), (2, 1)), (0,)),
        ({"semantic_ignore": [9]}, ((0, 0), (1, 1)), (9,)),
        ({"semantic_values": {3: 8, 4: 7, 5: 8}}, ((3, 1), (4, 0), (5, 1)), (255,)),
        ({"semantic_values": "id", "semantic_ignore": "other"}, ((7, 0), (8, 1)), ()),
    ],
)
def test_meaning_of_semantic_values(tmp_path, keys, indices, ignored):
    coding = parse(tmp_path, val=BASE | keys)["val"].semantic_coding
    assert coding.indices == indices and coding.ignored == ignored and coding.open == (ignored == ())
    assert parse(tmp_path, val=BASE)["val"].semantic_coding is None


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"semantics": "x"}, "unknown key 'semantics', did you mean 'semantic'"),
        ({"semantic_values": "ids"}, "semantic_values: 'ids'"),
        ({"semantic_values": {3: 9}}, "no category has the id 9"),
        ({"semantic_values": {"x": 7}}, "whole number"),
        ({"semantic_ignore": [0]}, "semantic_ignore: 0 is a category too"),
        ({"semantic_ignore": 0}, "expected a list"),
        ({"object_union": 1}, "expected true or false"),
        ({"object_ignore": [-1]}, "whole number"),
        ({"prompt": "point"}, "prompt: unknown 'point', did you mean 'Point'"),
        ({"image_names": "a.jpg"}, "holds no"),
        ({"optional": ["images"]}, "optional: unknown 'images'"),
        ({"optional": "captions"}, "expected a list of keys"),
        ({"panoptic": "p"}, "needs `panoptic_json`"),
        ({"semantic": None}, "no annotations; expected one of panoptic_json, semantic, objects"),
        ({"grounding": "g", "refs": "r"}, "not from both"),
        ({"like": "vall"}, "val.like: no split 'vall'.*did you mean 'val'"),
        ({"like": "val"}, "circle"),
        ({"images": []}, "expected text"),
    ],
)
def test_faults_name_the_key(tmp_path, keys, text):
    with pytest.raises(DataError, match=f"r.yaml: splits.*{text}"):
        parse(tmp_path, val=BASE | keys)
