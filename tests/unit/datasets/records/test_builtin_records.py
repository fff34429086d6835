"""The built-in records on miniatures of the true folders: two or three tiny images under the true names."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from segfoundry.datasets.formats.label_maps import read_object_map
from segfoundry.datasets.formats.panoptic import id_to_rgb
from segfoundry.datasets.formats.segmentation import decode_mask
from segfoundry.datasets.mappers.panoptic import read_semantic
from segfoundry.datasets.records.catalog import builtin_names, find_data_set, find_record
from segfoundry.datasets.records.list_items import list_items
from segfoundry.datasets.validate.validate_record import validate_record
from segfoundry.utils.errors import DataError

SIZE = (12, 16)
POLYGON = [[2, 2, 9, 2, 9, 8, 2, 8]]


@pytest.fixture(autouse=True)
def root(monkeypatch, tmp_path):
    monkeypatch.delenv("DATASET", raising=False)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def put(path, array, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    if palette:
        picture = Image.fromarray(array, "P")
        picture.putpalette([v for i in range(256) for v in (i, 255 - i, 7 * i % 256)])
    picture.save(path)


def photo(path, seed=None):
    seed = sum(path.as_posix().encode()) if seed is None else seed
    put(path, np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8))


def labels(*values):
    """Equal vertical strips of the values."""
    return np.repeat(np.array(values, np.uint8)[None], SIZE[0], 0).repeat(-(-SIZE[1] // len(values)), 1)[:, : SIZE[1]]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def load(name):
    record, split = find_record(name, "train")
    return record, split, list_items(record, split)


def check(name, known=()):
    """Runs validate; sparse data has rare categories, but nothing may be wrong."""
    record, split_name = find_data_set(name)
    result = validate_record(record, [record.splits[split_name or "val"]], workers=0)
    assert result.ok and result.splits[0].images, [(f.code, f.places) for f in result.findings]
    return result


def indices(item, record):
    """The category names of a semantic map, left to right; None where unlabelled."""
    row = read_semantic(item, len(record.categories))[0]
    values = row[np.flatnonzero(np.diff(row.astype(int), prepend=-1))]
    return [None if v == 255 else record.categories[v].name for v in values]


@pytest.mark.slow
def test_every_name_is_found_once():
    names = builtin_names()
    assert len(names) == len(set(names)) > 80
    for name in names:
        record, split = find_record(name, "val")
        assert record.evaluators_for(split) and split.paths["images"]


# Semantic data


def semantic_tree(root, name):
    """Writes the miniature behind a name; returns (category names of the strips, image ids)."""
    if name == "ade20k_sem_seg_val":
        for image in ("ADE_val_00000001", "ADE_val_00000002"):
            photo(root / f"ADEChallengeData2016/images/validation/{image}.jpg")
            put(root / f"ADEChallengeData2016/annotations/validation/{image}.png", labels(0, 1, 150, 13))
        return [None, "wall", "flag", "person"], ["ADE_val_00000001", "ADE_val_00000002"]
    if name.startswith("cityscapes"):
        for city, image in (("frankfurt", "frankfurt_000000_000294"), ("munster", "munster_000000_000019")):
            photo(root / f"cityscapes/leftImg8bit/val/{city}/{image}_leftImg8bit.png")
            folder = root / f"cityscapes/gtFine/val/{city}"
            put(folder / f"{image}_gtFine_labelIds.png", labels(7, 33, 3, 11))
            put(folder / f"{image}_gtFine_labelTrainIds.png", labels(0, 18, 255, 2))
            put(folder / f"{image}_gtFine_instanceIds.png", labels(1, 2))
            write(folder / f"{image}_gtFine_polygons.json", {})
        names = ["frankfurt/frankfurt_000000_000294_leftImg8bit", "munster/munster_000000_000019_leftImg8bit"]
        return ["road", "bicycle", None, "building"], names
    if name == "bdd10k_val_sem_seg":
        photo(root / "bdd100k/images/10k/val/7d2f7975-e0c1c5a7.jpg")
        put(root / "bdd100k/labels/sem_seg/masks/val/7d2f7975-e0c1c5a7.png", labels(0, 10, 255, 18))
        return ["road", "sky", None, "bicycle"], ["7d2f7975-e0c1c5a7"]
    if name.startswith("scannet"):
        count = int(name.split("_")[1]) - 1
        last = {20: "otherfurniture", 37: "bag", 40: "otherprop"}[count]
        frames = ["scene0011_00/color/000000", "scene0011_00/color/000100", "scene0015_00/color/000000"]
        for frame in frames:
            photo(root / f"scannet_frames_25k/images/{frame}.jpg")
            for kind in (21, 38, 41):
                file = frame.replace("color", f"label{kind}")
                put(root / f"scannet_frames_25k/images/{file}.png", labels(0, 1, kind - 1))
        write(root / "scannet_frames_25k/meta/val.txt", "".join(f"{f}.jpg {f}.png\n" for f in frames[:0:-1]))
        return [None, "wall", last], frames[:0:-1]
    assert name == "sunrgbd_37_val_seg"
    for image in ("img-000001", "img-000002"):
        photo(root / f"sun_rgbd/image/test/{image}.jpg")
        put(root / f"sun_rgbd/label37/test/{image}.png", labels(1, 0, 37))
    return ["wall", None, "bag"], ["img-000001", "img-000002"]


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("ade20k_sem_seg_val", 150),
        ("cityscapes_fine_sem_seg_val", 19),
        ("cityscapes_sem_seg:val_train_ids", 19),
        ("bdd10k_val_sem_seg", 19),
        ("scannet_21_val_seg", 20),
        ("scannet_38_val_seg", 37),
        ("scannet_41_val_seg", 40),
        ("sunrgbd_37_val_seg", 37),
    ],
)
def test_semantic(root, name, classes):
    strips, ids = semantic_tree(root, name)
    record, split, items = load(name)
    assert len(record.categories) == classes and record.evaluators_for(split) == ("semantic",)
    assert [item.image_id for item in items] == ids
    for item in items:
        assert item.image.is_file() and item.panoptic is None and indices(item, record) == strips
    check(name)
    items[-1].semantic.unlink()
    with pytest.raises(DataError, match=r"no semantic PNG for 1 images|no such folder|no images in this folder"):
        load(name)


def test_values_without_meaning(root):
    semantic_tree(root, "ade20k_sem_seg_val")
    put(root / "ADEChallengeData2016/annotations/validation/ADE_val_00000002.png", labels(1, 151))
    record, _, items = load("ade20k_sem_seg_val")
    with pytest.raises(DataError, match=r"ADE_val_00000002.png: values 151 have no meaning \(categories: 1..150"):
        read_semantic(items[1], 150)
    result = validate_record(record, [record.splits["val"]], workers=0)
    assert [f.code for f in result.findings if f.kind.level == "error"] == ["semantic-value"]


def test_missing_folders_name_the_expected_layout(root):
    for name, text in (
        ("cityscapes_fine_sem_seg_val", "cityscapes/leftImg8bit/val: no such folder"),
        ("pascalvoc_val_Box", "PascalVOC/JPEGImages: no such folder"),
    ):
        with pytest.raises(DataError, match=text):
            load(name)
    record, _ = find_data_set("cityscapes_fine_sem_seg_val")
    result = validate_record(record, [record.splits["val"]], workers=0)
    places = [place for f in result.findings if f.code == "folder-missing" for place in f.places]
    assert not result.ok and any("gtFine/val" in p and "*/*_gtFine_labelIds.png" in p for p in places)


# Panoptic data

PANOPTIC = {
    # name: (image, file_name in `images`, panoptic PNG, its name, JSON, category ids of two strips)
    "ade20k_panoptic_val": (
        "ADEChallengeData2016/images/validation/ADE_val_00000001.jpg", "ADE_val_00000001.jpg",
        "ADEChallengeData2016/ade20k_panoptic_val/", "ADE_val_00000001.png",
        "ADEChallengeData2016/ade20k_panoptic_val.json", (0, 149), ["wall", "flag"],
    ),
    "cityscapes_fine_panoptic_val": (
        "cityscapes/leftImg8bit/val/frankfurt/frankfurt_000000_000294_leftImg8bit.png",
        "frankfurt_000000_000294_gtFine_leftImg8bit.png",
        "cityscapes/gtFine/cityscapes_panoptic_val/", "frankfurt_000000_000294_gtFine_panoptic.png",
        "cityscapes/gtFine/cityscapes_panoptic_val.json", (7, 26), ["road", "car"],
    ),
    "bdd10k_40_panoptic_val": (
        "bdd100k/images/10k/val/7d2f7975-e0c1c5a7.jpg", "7d2f7975-e0c1c5a7.jpg",
        "bdd100k/labels/pan_seg/coco_pano/val/", "7d2f7975-e0c1c5a7.png",
        "bdd100k/labels/pan_seg/meta/coco_val.json", (1, 40), ["dynamic", "truck"],
    ),
    "scannet_21_panoptic_val": (
        "scannet_frames_25k/images/scene0011_00/color/000100.jpg", "scene0011_00__000100.jpg",
        "scannet_frames_25k/scannet_panoptic/", "scene0011_00__000100.png",
        "scannet_frames_25k/scannet_panoptic.json", (1, 39), ["wall", "otherfurniture"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PANOPTIC)
def test_panoptic(root, name):
    image, file_name, folder, png, json_file, ids, names = PANOPTIC[name]
    photo(root / image)
    put(root / folder / png, id_to_rgb(labels(10, 20).astype(np.int32)))
    half = SIZE[0] * SIZE[1] // 2
    segments = [
        {"id": 10 * n, "category_id": i, "area": half, "bbox": [8 * n - 8, 0, 8, 12], "iscrowd": 0}
        for n, i in enumerate(ids, 1)
    ]
    annotation = {"image_id": png[:-4], "file_name": png, "segments_info": segments}
    info = {"id": png[:-4], "file_name": file_name, "height": SIZE[0], "width": SIZE[1]}
    write(root / json_file, {"images": [info], "annotations": [annotation]})
    if name.startswith("ade"):
        put(root / "ADEChallengeData2016/annotations/validation/ADE_val_00000001.png", labels(1, 150))
    record, split, (item,) = load(name)
    assert item.image == root / image and item.panoptic == root / folder / png
    assert [record.categories[s.category].name for s in item.segments] == names
    assert [s.isthing for s in item.segments] == [False, True]
    assert record.evaluators_for(split) == ("panoptic", "instance", "semantic")
    if item.semantic is not None:
        assert indices(item, record) == names
    assert check(name).splits[0].segments.sum() == 2
    (root / image).unlink()
    with pytest.raises(DataError, match="no images in this folder"):
        load(name)


def test_things_of_the_panoptic_sets():
    counts = {name: sum(c.isthing for c in find_data_set(name)[0].categories) for name in PANOPTIC}
    assert list(counts.values()) == [100, 8, 10, 18]


# Objects for clicks


@pytest.mark.parametrize("shape", ["Point", "Box", "Scribble", "Polygon", "Circle"])
@pytest.mark.parametrize("folder", ["PascalVOC", "VOCdevkit/VOC2012"])
def test_pascal_voc(root, folder, shape):
    voc = root / folder
    for name in ("2007_000033", "2007_000042", "2007_000061"):
        photo(voc / f"JPEGImages/{name}.jpg")
    for name in ("2007_000033", "2007_000061"):
        put(voc / f"SegmentationObject/{name}.png", labels(0, 1, 255, 2), palette=True)
        put(voc / f"SegmentationClass/{name}.png", labels(0, 1, 255, 20), palette=True)
    write(voc / "ImageSets/Segmentation/val.txt", "2007_000061\n2007_000033\n")
    record, split, items = load(f"pascalvoc_val_{shape}")
    assert split.prompt == shape and record.evaluators_for(split) == ("interactive",)
    assert [item.image_id for item in items] == ["2007_000061", "2007_000033"]
    objects = read_object_map(items[0].objects, items[0].object_coding)
    np.testing.assert_array_equal(objects, labels(0, 1, 255, 2).astype(int) - 256 * (labels(0, 1, 255, 2) == 255))
    assert indices(items[0], record) == ["background", "aeroplane", None, "tvmonitor"]
    assert check(f"pascalvoc_val_{shape}").splits[0].objects == 4


def test_sbd(root):
    for name in ("2008_000002", "2008_000003"):
        photo(root / f"SBD/dataset/img/{name}.jpg")
        for folder, key, values in (("inst", "GTinst", labels(0, 1, 2)), ("cls", "GTcls", labels(0, 20, 9))):
            path = root / f"SBD/dataset/{folder}/{name}.mat"
            path.parent.mkdir(parents=True, exist_ok=True)
            savemat(path, {key: {"Segmentation": values, "Boundaries": np.zeros((2, 2))}})
    write(root / "SBD/dataset/val.txt", "2008_000003\n")
    record, split, (item,) = load("sbd:val")
    assert item.image_id == "2008_000003" and split.prompt is None
    np.testing.assert_array_equal(read_object_map(item.objects, item.object_coding), labels(0, 1, 2))
    assert indices(item, record) == ["background", "tvmonitor", "chair"]
    assert find_record("sbd_val_Box", "val")[1].prompt == "Box"
    assert check("sbd_val_Box").splits[0].objects == 2


def davis_sequences(root):
    for sequence in ("blackswan", "bmx-trees", "bear"):
        for frame in ("00000", "00001"):
            photo(root / f"DAVIS/JPEGImages/480p/{sequence}/{frame}.jpg")
            put(root / f"DAVIS/Annotations/480p/{sequence}/{frame}.png", labels(0, 1, 2), palette=True)


def test_davis_frames(root):
    photo(root / "DAVIS/img/blackswan_00000.jpg")
    color = np.zeros((*SIZE, 3), np.uint8)
    color[:4, :4], color[4:8, 4:8] = (128, 0, 0), (0, 255, 0)
    put(root / "DAVIS/gt/blackswan_00000.png", color)
    record, split, (item,) = load("davis_val_Point")
    assert split.prompt == "Point" and record.evaluators_for(split) == ("interactive",)
    np.testing.assert_array_equal(read_object_map(item.objects, item.object_coding), color.any(axis=-1))
    check("davis_val_Point")


def test_davis_2017_lists_sequences(root):
    davis_sequences(root)
    write(root / "DAVIS/ImageSets/2017/val.txt", "blackswan\nbmx-trees\n")
    _, _, items = load("davis_2017:val")
    assert [item.image_id for item in items] == [f"{s}/0000{f}" for s in ("blackswan", "bmx-trees") for f in (0, 1)]
    np.testing.assert_array_equal(read_object_map(items[0].objects, items[0].object_coding), labels(0, 1, 2))
    assert check("davis_2017").splits[0].objects == 8


def test_davis_2016_lists_pairs_of_files(root):
    davis_sequences(root)
    line = "/JPEGImages/480p/bear/00001.jpg /Annotations/480p/bear/00001.png\n"
    write(root / "DAVIS/ImageSets/480p/val.txt", line)
    put(root / "DAVIS/Annotations/480p/bear/00001.png", labels(0, 255))
    _, _, (item,) = load("davis_2016:val")
    assert item.image_id == "bear/00001"
    np.testing.assert_array_equal(read_object_map(item.objects, item.object_coding), labels(0, 1))
    assert check("davis_2016").splits[0].objects == 1


# Phrases


def ref_files(root, folder, source, images="train2014"):
    prefix = "COCO_train2014_" if images == "train2014" else ""
    infos = []
    for number in (581857, 581861, 581882):
        photo(root / f"coco/{images}/{prefix}{number:012d}.jpg")
        infos.append({"id": number, "file_name": f"COCO_train2014_{number:012d}.jpg", "height": 12, "width": 16})
    code = {"size": list(SIZE), "counts": [20, 30, 142]}
    annotations = [
        {"id": 1, "image_id": 581857, "category_id": 1, "segmentation": POLYGON, "bbox": [2, 2, 7, 6]},
        {"id": 2, "image_id": 581857, "category_id": 1, "segmentation": code, "bbox": [0, 0, 1, 1], "iscrowd": 1},
        {"id": 3, "image_id": 581861, "category_id": 44, "segmentation": POLYGON, "bbox": [2, 2, 7, 6]},
    ]
    write(root / folder / "instances.json", {"images": infos, "annotations": annotations, "categories": []})
    refs = [
        {"ref_id": i, "ann_id": a, "image_id": image, "category_id": 1, "split": split, "file_name": "x_0.jpg",
         "sentences": [{"raw": text, "sent": text.lower(), "tokens": [], "sent_id": i} for text in texts]}
        for i, (a, image, split, texts) in enumerate([
            (1, 581857, "val", ["The LEFT man", "man"]), (2, 581857, "val", ["people"]),
            (3, 581861, "train", ["bottle"]), (3, 581861, "testA", ["the bottle"]),
        ])
    ]  # fmt: skip
    (root / folder / f"refs({source}).p").write_bytes(pickle.dumps(refs, 2))


@pytest.mark.parametrize("images", ["train2014", "train2017"])
@pytest.mark.parametrize(
    ("name", "folder", "source"),
    [
        ("refcoco_val_unc", "refcoco", "unc"),
        ("refcoco+_val_unc", "refer/data/refcoco+", "unc"),
        ("refcocop_val_unc", "coco/refcoco+", "unc"),
        ("refcocog_val_google", "refcocog", "google"),
        ("refcocog_umd:val", "refcocog", "umd"),
    ],
)
def test_refcoco(root, name, folder, source, images):
    ref_files(root, folder, source, images)
    record, split, (item,) = load(name)
    assert item.image_id == 581857 and (item.height, item.width) == SIZE and item.image.parent.name == images
    assert [phrase.texts for phrase in item.phrases] == [("the left man", "man"), ("people",)]
    assert [record.categories[p.category].name for p in item.phrases] == ["person", "person"]
    assert [int(decode_mask(p.mask, *SIZE).sum()) for p in item.phrases] == [42, 30]
    assert record.evaluators_for(split) == ("referring",) and record.min_size_test == 512
    assert check(name).splits[0].sentences == 2


def test_refcoco_other_splits(root):
    ref_files(root, "refcoco", "unc")
    assert [i.image_id for i in load("refcoco_testA_unc")[2]] == [581861]
    assert load("refcoco_train_unc")[2][0].phrases[0].texts == ("bottle",)
    with pytest.raises(DataError, match="no expression of split 'testB'"):
        load("refcoco_testB_unc")


def test_refcocog_as_one_json(root):
    photo(root / "coco/train2017/000000581857.jpg")
    row = {"image_id": 581857, "ann_id": 1, "category_id": 1, "segmentation": POLYGON, "sentences": [{"raw": "Man"}]}
    infos = [{"id": i, "file_name": f"{i:012d}.jpg", "height": 12, "width": 16} for i in (581857, 9)]
    write(root / "coco/annotations/refcocog_umd_val.json", {"images": infos, "annotations": [row]})
    record, _, (item,) = load("refcocog_val_umd")
    assert item.phrases[0].texts == ("man",) and record.categories[item.phrases[0].category].name == "person"
    (root / "coco/train2017/000000581857.jpg").rename(root / "coco/train2017/1.jpg")
    with pytest.raises(DataError, match=r"missing 1 images named in .*refcocog_umd_val.json \(000000581857.jpg\)"):
        load("refcocog_val_umd")


def test_coco_training_with_phrases_captions_and_finer_masks(root):
    name = "coco_2017_train_panoptic_filtrefgumdval_with_sem_seg_caption_grounding_lvis"
    coco = root / "coco"
    infos, annotations = [], []
    for number in (9, 25):
        photo(coco / f"train2017/{number:012d}.jpg")
        put(coco / f"panoptic_train2017/{number:012d}.png", id_to_rgb(labels(10).astype(np.int32)))
        infos.append({"id": number, "file_name": f"{number:012d}.jpg", "height": 12, "width": 16})
        segment = {"id": 10, "category_id": 1, "area": 192, "bbox": [0, 0, 16, 12], "iscrowd": 0}
        annotations.append({"image_id": number, "file_name": f"{number:012d}.png", "segments_info": [segment]})
    write(
        coco / "annotations/panoptic_train2017_filtrefgumdval_filtvlp.json",
        {"images": infos, "annotations": annotations},
    )
    _, split, items = load(name)
    assert [path.name for path in split.absent] == [
        "grounding_train2017_filtrefgumd.json", "captions_train2017_filtrefgumdval.json",
        "coco_train2017_filtrefgumdval_lvis.json",
    ]  # fmt: skip
    assert not items[0].phrases and not items[0].captions and not items[0].instances

    sentence = {"image_id": 9, "segmentation": POLYGON, "category_id": 1, "sentences": [{"raw": "Someone"}]}
    write(coco / "annotations/grounding_train2017_filtrefgumd.json", {"annotations": [sentence]})
    write(coco / "annotations/captions_train2017_filtrefgumdval.json", {"annotations": []})
    instance = {"image_id": 25, "segmentation": POLYGON, "bbox": [2, 2, 7, 6], "category_id": 700}
    write(root / "lvis/coco_train2017_filtrefgumdval_lvis.json", {"annotations": [instance]})
    _, split, (first, second) = load(name)
    assert split.absent == () and first.phrases[0].texts == ("someone",) and not second.phrases
    assert second.instances[0].bbox == (2, 2, 7, 6) and not first.instances
    check(name)
    write(root / "lvis/coco_train2017_filtrefgumdval_lvis.json", {"annotations": [instance | {"image_id": 3}]})
    with pytest.raises(DataError, match="none of its image ids is one of the 2 images of split 'train_filtrefgumdval'"):
        load(name)


def test_files_by_image_are_read_once_and_again_when_they_change(root, monkeypatch):
    import segfoundry.datasets.records.list_items as load_module

    ref_files(root, "refcoco", "unc")
    count = []
    monkeypatch.setattr(load_module, "read_refs", lambda *a, read=load_module.read_refs: count.append(a) or read(*a))
    for _ in range(3):
        load("refcoco_val_unc")
    assert len(count) == 1
    path = root / "refcoco/instances.json"
    path.write_text(path.read_text() + " ")
    load("refcoco_val_unc")
    assert len(count) == 2
