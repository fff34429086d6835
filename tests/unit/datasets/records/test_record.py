"""Records: what is accepted, and the message for what is not."""

import pytest
import yaml

from segfoundry.datasets.records.record import read_record, write_record
from segfoundry.utils.errors import DataError

GOOD = {
    "name": "kitchen",
    "root": "data",
    "categories": [
        {"id": 1, "name": "wall", "isthing": False, "color": [120, 120, 120]},
        {"id": 7, "name": "cup", "isthing": True, "color": "#dc143c"},
    ],
    "ignore_color": [0, 0, 0],
    "splits": {"train": {"images": "img", "panoptic_json": "p.json"}, "val": {"images": "v", "semantic": "s"}},
}


def written(tmp_path, change=None):
    data = yaml.safe_load(yaml.safe_dump(GOOD))
    if change:
        change(data)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(data))
    return tmp_path / "r.yaml"


def test_a_full_record(tmp_path):
    record = read_record(written(tmp_path))
    assert record.name == "kitchen" and record.ignore_color == (0, 0, 0)
    assert [c.color for c in record.categories] == [(120, 120, 120), (220, 20, 60)]
    assert record.index_of == {1: 0, 7: 1}
    train, val = record.splits["train"], record.splits["val"]
    assert train.images == tmp_path / "data" / "img" and train.panoptic == tmp_path / "data" / "p"
    assert val.semantic == tmp_path / "data" / "s" and val.panoptic is None
    assert record.evaluators_for(train) == ("panoptic", "instance", "semantic")
    assert record.evaluators_for(val) == ("semantic",)


def test_stuff_only_has_no_instance_evaluator(tmp_path):
    record = read_record(written(tmp_path, lambda d: d["categories"].pop()))
    assert record.evaluators_for(record.splits["train"]) == ("panoptic", "semantic")


def test_written_record_reads_back(tmp_path):
    write_record(tmp_path / "w.yaml", GOOD)
    assert yaml.safe_load((tmp_path / "w.yaml").read_text()) == GOOD
    assert "  - {id: 7, name: cup" in (tmp_path / "w.yaml").read_text()


def test_missing_colours_are_filled_with_distinct_ones(tmp_path):
    def change(data):
        data["categories"] = [{"id": i, "name": f"c{i}", "isthing": True} for i in range(60)]

    colors = [c.color for c in read_record(written(tmp_path, change)).categories]
    assert len(set(colors)) == 60 and (0, 0, 0) not in colors


def put(*path, value):
    def change(data):
        for step in path[:-1]:
            data = data[step]
        data[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (put("categoris", value=[]), "unknown key 'categoris', did you mean 'categories'"),
        (put("categories", 0, "colour", value=[1, 2, 3]), "unknown key 'colour', did you mean 'color'"),
        (put("splits", "train", "image", value="x"), "did you mean 'images'"),
        (put("categories", 1, "name", value=None), "`name` is missing"),
        (put("categories", 1, "name", value="  "), "expected text"),
        (put("categories", 1, "name", value=True), "quote it"),
        (put("categories", 1, "name", value="wall"), "already the name"),
        (put("categories", 1, "id", value=1), "already the id"),
        (put("categories", 1, "id", value="1"), "whole number"),
        (put("categories", 1, "color", value=[120, 120, 120]), "already the color"),
        (put("categories", 1, "color", value=[0, 0, 0]), "ignore_color"),
        (put("categories", 1, "color", value=[0, 0, 300]), "no colour"),
        (put("categories", 1, "color", value="red"), "#rrggbb"),
        (put("categories", 1, "isthing", value="maybe"), "isthing"),
        (put("categories", value=[]), "at least one"),
        (put("splits", value={}), "at least one split"),
        (put("splits", "train", value={"images": "x"}), "no annotations"),
        (put("splits", "train", value={"images": "x", "panoptic": "p"}), "panoptic_json"),
        (put("evaluators", value=["panoptc"]), "did you mean 'panoptic'"),
        (put("min_size_test", value=0), "pixels"),
        (put("aliases", value={"x": "tran"}), "did you mean 'train'"),
    ],
)
def test_faults_are_named(tmp_path, change, text):
    with pytest.raises(DataError, match=text) as error:
        read_record(written(tmp_path, change))
    assert "r.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("!!python/object/apply:os.system ['true']", "Tags are not allowed"),
        ("name: a\nname: b", "occurs twice"),
        ("a: [", "not valid YAML"),
        ("- 1", "expected a mapping"),
    ],
)
def test_yaml_that_is_not_plain(tmp_path, content, text):
    (tmp_path / "r.yaml").write_text(content)
    with pytest.raises(DataError, match=text):
        read_record(tmp_path / "r.yaml")


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_record(tmp_path / "x.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a text file"):
        read_record(tmp_path / "b.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["splits"]["val"].update(like=["train"]), "splits.val.like: no split ['train']"),
        (lambda d: d.update(aliases={"a": ["val"]}), "aliases.a: no split ['val']"),
        (lambda d: d["splits"]["val"].update(semantic_values={3: [1]}), "values.3: no category has the id [1]"),
        (lambda d: d["splits"]["val"].update(semantic_values={3: True}), "values.3: no category has the id True"),
        (lambda d: d.update(root="x" * 300), "root: a name of 300 bytes; no file has one above 255"),
        (lambda d: d["splits"]["val"].update(optional=0), "splits.val.optional: 0, expected a list of keys"),
        (lambda d: d["categories"][0].update(id=2**31), "id: 2147483648, expected a whole number up to 2147483647"),
        (lambda d: d["categories"][0].update(isthing="false"), "isthing: 'false', expected true"),
    ],
)  # fmt: skip
def test_values_of_another_type(tmp_path, change, message):
    with pytest.raises(DataError) as found:
        read_record(written(tmp_path, change))
    assert message in str(found.value)
