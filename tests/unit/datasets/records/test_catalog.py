"""How a name finds its record, and how a record finds its files."""

import json

import pytest
from PIL import Image

from segfoundry.datasets.records.catalog import builtin_names, find_record
from segfoundry.datasets.records.list_items import list_items
from segfoundry.utils.errors import DataError

from ....support.data_sets import SAMPLE, photo, prepare, write_raw


@pytest.fixture(autouse=True)
def no_data_folders(monkeypatch, tmp_path):
    for name in ("DATASET", "DETECTRON2_DATASETS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def kitchen(tmp_path):
    prepare(write_raw(tmp_path / "raw"), tmp_path / "kitchen", split=0.6)
    return tmp_path / "kitchen"


def test_file_folder_and_split(kitchen):
    for name in (str(kitchen / "kitchen.yaml"), str(kitchen), "kitchen"):
        record, split = find_record(name, "train")
        assert record.name == "kitchen" and split.name == "train"
    assert find_record(f"{kitchen}:val", "train")[1].name == "val"
    with pytest.raises(DataError, match="no split 'vall', did you mean 'val'"):
        find_record(f"{kitchen}:vall", "train")


def test_dataset_variable_wins_over_builtin(kitchen, monkeypatch, tmp_path):
    name = "coco_2017_val_panoptic_with_sem_seg"
    assert find_record(name, "train")[0].name == "coco_2017"
    monkeypatch.setenv("DATASET", str(tmp_path / "records"))
    (tmp_path / "records").mkdir()
    text = (kitchen / "kitchen.yaml").read_text().replace("root: .", f"root: {kitchen}")
    (tmp_path / "records" / f"{name}.yaml").write_text(text)
    record, split = find_record(name, "val")
    assert record.name == "kitchen" and split.name == "val"


def test_alias_in_the_dataset_folder(tmp_path, monkeypatch):
    aliases = {"coco_2017_train_with_sem_seg_caption_grounding": "train", "bdd10k_val_sem_seg": "val"}
    prepare(write_raw(tmp_path / "raw"), tmp_path / "mine", aliases=aliases)
    monkeypatch.setenv("DATASET", str(tmp_path / "mine"))
    for name, split in aliases.items():
        found, part = find_record(name, "train")
        assert found.name == "mine" and part.name == split
    assert find_record("bdd10k_val_sem_seg:train", "val")[1].name == "train"


def test_builtin_coco(monkeypatch, tmp_path):
    record, split = find_record("coco_2017", "val")
    assert len(record.categories) == 133 and sum(c.isthing for c in record.categories) == 80
    assert split.images == tmp_path / "datasets" / "coco" / "val2017"
    long = "coco_2017_train_panoptic_filtrefgumdval_with_sem_seg_caption_grounding_lvis"
    assert long in builtin_names() and find_record(long, "val")[1].name == "train_filtrefgumdval"
    monkeypatch.setenv("DATASET", "/a")
    monkeypatch.setenv("DETECTRON2_DATASETS", "/b")
    assert str(find_record("coco_2017", "val")[1].images) == "/b/coco/val2017"


def test_unknown_name_lists_what_was_searched(monkeypatch, tmp_path):
    monkeypatch.setenv("DATASET", str(tmp_path))
    with pytest.raises(DataError) as error:
        find_record("coco_2016", "train")
    text = str(error.value)
    assert "did you mean 'coco_2017'" in text
    places = (
        "the file coco_2016",
        f"{tmp_path}/coco_2016.yaml",
        "built-in ade20k_panoptic",
        "coco_2017,",
        "detectron2",
    )
    for part in places:
        assert part in text


def test_items_of_a_prepared_set(kitchen):
    record, split = find_record(str(kitchen), "train")
    items = list_items(record, split)
    assert len(items) == 3 and len(list_items(record, record.splits["val"])) == 2
    for item in items:
        assert item.image.is_file() and item.panoptic.is_file() and item.semantic.is_file()
        assert (item.height, item.width) == (40, 60)
        assert sorted(s.category for s in item.segments) == [0, 1, 2, 2]
        assert [s.isthing for s in item.segments] == [s.category == 2 for s in item.segments]


def test_images_pair_by_stem_with_any_suffix(kitchen):
    folder = kitchen / "train" / "images"
    for path in sorted(folder.iterdir()):
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    record, split = find_record(str(kitchen), "train")
    assert all(item.image.suffix == ".png" for item in list_items(record, split))
    name = sorted(folder.iterdir())[0]
    Image.fromarray(photo(9)).save(name.with_suffix(".bmp"))
    with pytest.raises(DataError, match="fits several files"):
        list_items(record, split)


def test_semantic_only(kitchen):
    text = (kitchen / "kitchen.yaml").read_text().split("splits:")[0]
    (kitchen / "kitchen.yaml").write_text(text + "splits:\n  val: {images: val/images, semantic: val/semantic}\n")
    record, split = find_record(str(kitchen), "val")
    items = list_items(record, split)
    assert len(items) == 2 and all(i.semantic.is_file() and not i.segments and i.panoptic is None for i in items)
    items[0].semantic.unlink()
    with pytest.raises(DataError, match="no semantic PNG for 1 images"):
        list_items(record, split)


def edit(kitchen, change):
    path = kitchen / "train" / "panoptic.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d: d["annotations"][0]["segments_info"][0].update(category_id=99), "category id 99"),
        (lambda d: d["annotations"].pop(), "no annotation for 1 entries"),
        (lambda d: d["images"].pop(), "not in its list `images`"),
        (lambda d: d["annotations"].append(d["annotations"][0]), "more than one annotation"),
        (lambda d: d["images"][0].update(file_name="zzz.jpg"), "missing 1 images .*zzz.jpg"),
        (lambda d: d["annotations"][0].update(file_name="zzz.png"), "missing 1 panoptic PNGs .*zzz.png"),
        (lambda d: d.update(annotations=[], images=[]), "holds no annotation"),
    ],
)
def test_faulty_json(kitchen, change, text):
    edit(kitchen, change)
    record, split = find_record(str(kitchen), "train")
    with pytest.raises(DataError, match=text):
        list_items(record, split)


def test_empty_and_missing_folders(kitchen):
    record, split = find_record(str(kitchen), "train")
    for path in split.images.iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no images in this folder"):
        list_items(record, split)
    split.images.rmdir()
    with pytest.raises(DataError, match="no such folder"):
        list_items(record, split)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="no sample data (SEGFOUNDRY_DATA)")
def test_builtin_record_reads_the_coco_sample(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    coco = tmp_path / "coco"
    (coco / "annotations").mkdir(parents=True)
    (coco / "annotations" / "panoptic_val2017.json").write_bytes((SAMPLE / "gt.json").read_bytes())
    (coco / "panoptic_val2017").symlink_to(SAMPLE / "gt")
    (coco / "val2017").mkdir()
    for name in ("000000142238", "000000439180"):
        Image.fromarray(photo(1)).save(coco / "val2017" / f"{name}.jpg")
    record, split = find_record("coco_2017_val_panoptic_with_sem_seg", "train")
    items = list_items(record, split)
    assert [len(item.segments) for item in items] == [18, 32]
    theirs = {c["id"]: c for c in json.loads((SAMPLE / "gt.json").read_text())["categories"]}
    assert [(c.id, c.name, c.isthing, list(c.color)) for c in record.categories] == [
        (c["id"], c["name"], bool(c["isthing"]), c["color"]) for c in theirs.values()
    ]
