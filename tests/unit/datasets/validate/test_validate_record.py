"""Every kind of fault is planted, alone and many at once; validate finds it."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from segfoundry.datasets.formats.panoptic import read_panoptic_png, write_panoptic_png
from segfoundry.datasets.records.catalog import find_data_set
from segfoundry.datasets.validate.findings import KINDS
from segfoundry.datasets.validate.html_report import write_html
from segfoundry.datasets.validate.scan import Limits
from segfoundry.datasets.validate.validate_record import validate_record

from ....support.data_sets import color_mask, photo, prepare, write_raw

NAMES = [f"p{i:02d}" for i in range(12)]


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    raw = write_raw(tmp_path_factory.mktemp("clean"), NAMES)
    prepare(raw, raw / "set", split=0.75, copy=True)
    return raw / "set"


@pytest.fixture
def data(clean, tmp_path):
    shutil.copytree(clean, tmp_path / "set")
    return Planter(tmp_path / "set")


class Planter:
    """A data set of 9 training images and ways to damage them."""

    def __init__(self, folder):
        self.folder, self.train = folder, folder / "train"
        self.json = json.loads((self.train / "panoptic.json").read_text())
        self.names = [i["file_name"] for i in self.json["images"]]

    def image(self, n):
        return self.train / "images" / self.names[n]

    def png(self, n):
        return (self.train / "panoptic" / self.names[n]).with_suffix(".png")

    def semantic(self, n):
        return (self.train / "semantic" / self.names[n]).with_suffix(".png")

    def segment(self, n, place=0):
        return self.json["annotations"][n]["segments_info"][place]

    def paint(self, n, ids):
        write_panoptic_png(self.png(n), ids)

    def replace_id(self, n, old, new):
        ids = read_panoptic_png(self.png(n))
        ids[ids == old] = new
        self.paint(n, ids)

    def record_text(self, old, new):
        path = self.folder / "set.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def check(self, **limits):
        (self.train / "panoptic.json").write_text(json.dumps(self.json))
        record, _ = find_data_set(str(self.folder / "set.yaml"))
        return validate_record(record, list(record.splits.values()), Limits(**limits), workers=0)


def codes(result):
    return {f.code for f in result.findings}


NOISE = {"category-rare"}  # nine images are few


def test_a_clean_set_is_clean(data):
    result = data.check()
    assert result.ok and codes(result) <= NOISE
    assert [s.images for s in result.splits] == [9, 3] and result.splits[0].segments.tolist() == [9, 9, 18]
    mask = color_mask()
    assert result.splits[0].void == pytest.approx((mask == 0).all(axis=-1).mean())


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def missing_id(d):
    d.replace_id(0, d.segment(0)["id"], 77)


def exif(d):
    tag = Image.Exif()
    tag[0x0112] = 3
    Image.open(d.image(0)).save(d.image(0), exif=tag)


def duplicate(d, target):
    shutil.copy(d.image(0), target)


def ambiguous(d):
    for suffix in (".png", ".bmp"):
        Image.fromarray(photo(40)).save(d.image(0).with_suffix(suffix))
    d.json["images"][0]["file_name"] = d.image(0).stem + ".tif"


def alike(d):
    """Two cups whose boxes are the same: one is the frame of the other."""
    ids = read_panoptic_png(d.png(0))
    cups = [s for s in d.json["annotations"][0]["segments_info"] if s["category_id"] == 3]
    wall = d.segment(0)["id"]
    for cup in cups:
        ids[ids == cup["id"]] = wall
    ids[2:12, 2:12] = np.where(np.eye(10, dtype=bool), cups[0]["id"], cups[1]["id"])
    d.paint(0, ids)


def grounding(d):
    path = d.train / "grounding.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["sentences"] = []
    content["annotations"][1]["image_id"] = 999
    content["annotations"][2]["segmentation"] = [[1, 2, 3]]
    path.write_text(json.dumps(content))


def shrink(d):
    ids = read_panoptic_png(d.png(0))
    cup = d.segment(0, 2)["id"]
    ids[ids == cup] = d.segment(0)["id"]
    ids[0, 0] = cup
    d.paint(0, ids)


def drop_category(d, category):
    for annotation in d.json["annotations"]:
        annotation["segments_info"] = [s for s in annotation["segments_info"] if s["category_id"] != category]


def resize_json(d):
    d.json["images"][0]["height"] += 1


def split_entry(d, text):
    """Adds keys to the training split."""
    d.record_text("  train: {", "  train: {" + text + ", ")


def objects(d):
    """Gives the training split object PNGs; returns their folder."""
    shutil.copytree(d.train / "semantic", d.train / "objects")
    split_entry(d, "objects: train/objects")
    return d.train / "objects"


def write_json(d, key, content):
    (d.train / f"{key}.json").write_text(json.dumps(content))
    split_entry(d, f"{key}: train/{key}.json")


def deep(d, number, largest):
    """Replaces an image by a 16-bit one with values up to ``largest``."""
    values = np.linspace(0, largest, 40 * 60).round().astype(np.uint16).reshape(40, 60)
    Image.fromarray(values).save(d.image(number), format="TIFF")


def garble(path):
    """Puts 40 bytes of garbage into the middle of a JPEG."""
    Image.fromarray(np.kron(photo(7), np.ones((4, 4, 1), np.uint8))).resize((60, 40)).save(path, format="JPEG")
    data = path.read_bytes()
    garbage = np.random.default_rng(1).integers(0, 255, 40, np.uint8).tobytes()
    path.write_bytes(data[: -len(data) // 4] + garbage + data[-len(data) // 4 :])


def pages(path):
    first, second = Image.open(path).copy(), Image.fromarray(photo(8))
    first.save(path, format="TIFF", save_all=True, append_images=[second])


def clear(path):
    """Makes the first rows of a semantic PNG transparent."""
    values = np.array(Image.open(path))
    alpha = np.where(np.arange(40)[:, None] < 3, 0, np.full_like(values, 255))
    Image.fromarray(np.dstack([values, alpha]).astype(np.uint8), "LA").save(path)


PLANTED = {
    # files
    "objects-missing": lambda d: (objects(d) / d.semantic(0).name).unlink(),
    "objects-extra": lambda d: shutil.copy(d.semantic(0), objects(d) / "extra.png"),
    "objects-unreadable": lambda d: Image.fromarray(photo(1)).save(objects(d) / d.semantic(0).name),
    "list-invalid": lambda d: split_entry(d, "image_list: train/images.txt"),
    "file-absent": lambda d: split_entry(d, "captions: train/captions.json, optional: [captions]"),
    "captions-invalid": lambda d: write_json(d, "captions", {"annotations": [{"image_id": 1}]}),
    "instances-invalid": lambda d: write_json(d, "instances", {"annotations": [{"image_id": 1, "segmentation": []}]}),
    "folder-missing": lambda d: shutil.rmtree(d.train / "semantic"),
    "json-invalid": lambda d: d.json.pop("annotations"),
    "path-outside-root": lambda d: d.record_text("root: .", "root: ./val\naliases: {}") or reroot(d),
    "file-name-unsafe": lambda d: d.json["annotations"][0].update(file_name="../panoptic/x.png"),
    "file-name-foreign": lambda d: d.json["images"][0].update(file_name=f"D:\\scans\\{d.names[0]}"),
    "image-missing": lambda d: d.image(0).unlink(),
    "png-missing": lambda d: d.png(0).unlink(),
    "semantic-missing": lambda d: d.semantic(0).unlink(),
    "image-extra": lambda d: Image.fromarray(photo(50)).save(d.train / "images" / "extra.jpg"),
    "png-extra": lambda d: shutil.copy(d.png(0), d.png(0).with_name("extra.png")),
    "semantic-extra": lambda d: shutil.copy(d.semantic(0), d.semantic(0).with_name("extra.png")),
    "image-unreadable": lambda d: truncate(d.image(0)),
    "png-unreadable": lambda d: truncate(d.png(0)),
    "semantic-unreadable": lambda d: Image.fromarray(photo(1)).save(d.semantic(0)),
    "stem-ambiguous": ambiguous,
    "case-collision": lambda d: Image.fromarray(photo(51)).save(d.image(0).with_name(d.names[0].upper())),
    # pictures
    "size-differs": resize_json,
    "exif-rotated": exif,
    "decoder-warning": lambda d: garble(d.image(0)),
    "image-dark": lambda d: deep(d, 0, 900),
    "depth-differs": lambda d: (deep(d, 0, 4095), deep(d, 1, 60_000)),
    "pages-unread": lambda d: pages(d.image(0)),
    "label-transparent": lambda d: clear(d.semantic(0)),
    "image-mode": lambda d: Image.open(d.image(0)).convert("CMYK").save(d.image(0)),
    "png-mode": lambda d: Image.open(d.png(0)).quantize(16).save(d.png(0)),
    "duplicate-in-split": lambda d: duplicate(d, d.image(1)),
    "duplicate-across-splits": lambda d: duplicate(d, sorted((d.folder / "val" / "images").iterdir())[0]),
    # JSON
    "image-id-duplicate": lambda d: d.json["images"].append({**d.json["images"][0], "file_name": "other.jpg"}),
    "file-name-duplicate": lambda d: d.json["images"][1].update(file_name=d.names[0]),
    "annotations-empty": lambda d: d.json.update(images=[], annotations=[]),
    "annotation-missing": lambda d: d.json["annotations"].pop(),
    "annotation-duplicate": lambda d: d.json["annotations"].append(d.json["annotations"][0]),
    "annotation-orphan": lambda d: d.json["images"].pop(),
    "number-invalid": lambda d: d.segment(0).update(bbox=[0, 0, float("nan"), 1]),
    "category-unknown": lambda d: d.segment(0).update(category_id=99),
    "category-differs": lambda d: d.json["categories"][0].update(name="wand"),
    "segment-id-invalid": lambda d: d.segment(0).update(id=1 << 24),
    "segment-id-duplicate": lambda d: d.segment(0).update(id=d.segment(0, 1)["id"]),
    "id-not-in-json": missing_id,
    "id-not-in-png": lambda d: d.segment(0).update(id=77),
    "area-wrong": lambda d: d.segment(0).update(area=1),
    "bbox-wrong": lambda d: d.segment(0).update(bbox=[0, 0, 5, 5]),
    "bbox-outside": lambda d: d.segment(0).update(bbox=[0, 0, 500, 5]),
    "boxes-alike": alike,
    "stuff-twice": lambda d: d.segment(0).update(category_id=2),
    "crowd-stuff": lambda d: d.segment(0).update(iscrowd=1),
    "crowd": lambda d: d.segment(0, 2).update(iscrowd=1),
    # content
    "image-empty": lambda d: d.paint(0, np.zeros((40, 60), np.int32)),
    "nothing-annotated": lambda d: [drop_category(d, c) for c in (1, 2, 3)],
    "segment-tiny": shrink,
    "void-share": lambda d: [
        d.paint(n, np.where(np.arange(60) < 40, 0, read_panoptic_png(d.png(n)))) for n in range(9)
    ],
    "category-absent": lambda d: drop_category(d, 3),
    "category-rare": lambda d: None,
    "balance": lambda d: drop_category(d, 3),
    "semantic-value": lambda d: Image.fromarray(np.full((40, 60), 3, np.uint8)).save(d.semantic(0)),
    "semantic-differs": lambda d: Image.fromarray(np.full((40, 60), 1, np.uint8)).save(d.semantic(0)),
    "grounding-invalid": grounding,
    "names-alike": lambda d: rename(d, "cup", "Wall"),
}


def rename(d, name, other):
    path = d.folder / "set.yaml"
    path.write_text(path.read_text().replace(f"name: {name}", f"name: {other}"))


def reroot(d):
    """Keeps the files reachable from the narrower root."""
    text = (d.folder / "set.yaml").read_text()
    (d.folder / "set.yaml").write_text(text.replace("train/", "../train/").replace(": val/", ": "))


def test_every_kind_is_planted():
    foreground = {code for code in KINDS if code.startswith(("foreground-", "background-"))}  # have tests of their own
    assert set(PLANTED) == set(KINDS) - foreground


@pytest.mark.parametrize("code", PLANTED)
def test_a_planted_fault_is_found(data, code):
    PLANTED[code](data)
    result = data.check()
    assert code in codes(result)
    finding = next(f for f in result.findings if f.code == code)
    assert finding.count >= 1 and finding.places and finding.kind.fix
    assert result.ok == all(f.kind.level != "error" for f in result.findings)
    if KINDS[code].level == "error":
        assert not result.ok


# Faults that do not touch each other, each on its own image, all at once.
TOGETHER = [
    ("area-wrong", lambda d: d.segment(0).update(area=1)),
    ("bbox-outside", lambda d: d.segment(0, 1).update(bbox=[-90, 0, 9, 9])),
    ("bbox-wrong", lambda d: d.segment(0, 2).update(bbox=[0, 0, 9, 9])),
    ("crowd", lambda d: d.segment(0, 3).update(iscrowd=1)),
    ("image-unreadable", lambda d: truncate(d.image(1))),
    ("id-not-in-json", lambda d: d.replace_id(1, d.segment(1)["id"], 77)),
    ("id-not-in-png", lambda d: None),  # follows from the one above
    ("png-unreadable", lambda d: truncate(d.png(2))),
    ("semantic-unreadable", lambda d: truncate(d.semantic(2))),
    ("size-differs", lambda d: d.json["images"][2].update(width=61)),
    ("png-missing", lambda d: d.png(3).unlink()),
    ("semantic-missing", lambda d: d.semantic(3).unlink()),
    ("duplicate-in-split", lambda d: shutil.copy(d.image(4), d.image(3))),
    ("category-unknown", lambda d: d.segment(4).update(category_id=99)),
    ("stuff-twice", lambda d: d.segment(5).update(category_id=2)),
    ("crowd-stuff", lambda d: d.segment(5, 1).update(iscrowd=1)),
    ("image-mode", lambda d: Image.open(d.image(5)).convert("CMYK").save(d.image(5))),
    ("png-mode", lambda d: Image.open(d.png(6)).quantize(16).save(d.png(6))),
    ("semantic-value", lambda d: Image.fromarray(np.full((40, 60), 3, np.uint8)).save(d.semantic(6))),
    ("image-missing", lambda d: d.image(7).unlink()),
    ("image-empty", lambda d: d.paint(8, np.zeros((40, 60), np.int32))),
    ("image-extra", lambda d: Image.fromarray(photo(50)).save(d.train / "images" / "extra.jpg")),
    ("png-extra", lambda d: shutil.copy(d.png(0), d.png(0).with_name("extra.png"))),
    ("category-differs", lambda d: d.json["categories"][0].update(isthing=1)),
    ("grounding-invalid", grounding),
    ("duplicate-across-splits", lambda d: duplicate(d, sorted((d.folder / "val" / "images").iterdir())[0])),
]


def test_many_faults_at_once_are_all_found(data):
    for _, plant in TOGETHER:
        plant(data)
    found = {f.code: f for f in data.check().findings}
    assert len(TOGETHER) >= 20 and {code for code, _ in TOGETHER} <= set(found)
    assert found["area-wrong"].count == 1 and found["grounding-invalid"].count == 3
    assert str(data.image(7)) in found["image-missing"].places[0]
    assert found["duplicate-in-split"].count == 1


def test_bombs_are_refused_by_their_header(data):
    from ...utils.test_image_io import bomb

    data.image(0).unlink()
    bomb(data.image(0).with_suffix(".png"), 15_000)
    finding = next(f for f in data.check().findings if f.code == "image-unreadable")
    assert "225000000 pixels" in finding.places[0]


def test_how_deep_images_are_read_is_said(data):
    for number, largest in enumerate((4095, 60_000, 900)):
        deep(data, number, largest)
    found = {f.code: f.places for f in data.check().findings}
    read = [place.partition("mode ")[2] for place in found["image-mode"]]
    assert (
        read[0] == "I;16, 16 bits (read as 12 bits: 4095 is white; the largest value is 4095, 99.9 % are at most 4092)"
    )
    assert "read as 16 bits: 65535 is white; the largest value is 60000" in read[1]
    assert len(found["image-dark"]) == 1 and "at most 56 of 255" in found["image-dark"][0]
    assert [place.partition(",")[0] for place in found["depth-differs"]] == [
        "2 images as 12 bits",
        "1 images as 16 bits",
    ]


def test_a_damaged_jpeg_is_told_with_the_words_of_its_decoder(data):
    garble(data.image(0))
    (place,) = next(f.places for f in data.check().findings if f.code == "decoder-warning")
    assert place.startswith(f"{data.image(0)}: Corrupt JPEG data")


def test_a_broken_colour_profile_is_no_damage(data):
    Image.fromarray(photo(7)).save(data.image(0), format="PNG", icc_profile=bytes(200))
    assert "decoder-warning" not in codes(data.check())


def test_limits_are_options(data):
    assert "void-share" in codes(data.check(max_void=0.01))
    assert "segment-tiny" in codes(data.check(min_area=101))


def test_places_are_capped_but_counted(data):
    for annotation in data.json["annotations"]:
        for segment in annotation["segments_info"]:
            segment["area"] += 1
    finding = next(f for f in data.check().findings if f.code == "area-wrong")
    assert finding.count == 36 and len(finding.places) == 20


def test_semantic_only_record(data):
    text = (data.folder / "set.yaml").read_text().split("splits:")[0]
    (data.folder / "set.yaml").write_text(text + "splits:\n  train: {images: train/images, semantic: train/semantic}\n")
    assert data.check().ok
    Image.fromarray(np.full((40, 60), 3, np.uint8)).save(data.semantic(0))
    result = data.check()
    place = next(f for f in result.findings if f.code == "semantic-value").places[0]
    assert "count from 1" in place and not result.ok


def test_html_report_is_whole_and_escaped(data, tmp_path):
    data.record_text("name: cup", 'name: "<script>alert(1)</script>"')
    data.segment(0).update(area=1)
    page = write_html(data.check(), tmp_path / "report", samples=4).read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert page.count("data:image/jpeg;base64,") == 4 + 3 and "<svg" in page
    assert "http://" not in page and "https://" not in page
    assert "area-wrong" in page and "Training would go wrong" in page


def test_json_holds_plain_numbers(data):
    content = json.loads(json.dumps(data.check().as_json(), allow_nan=False))
    assert content["ok"] and content["splits"]["train"]["segments"] == {"wall": 9, "floor": 9, "cup": 18}
    assert set(content["found"]) == {"error", "warning", "note"} and os.path.exists(content["record"])
