"""validate on foreground masks: every kind of fault of such data is planted and found."""

import json

import numpy as np
import pytest
from PIL import Image

from segfoundry.datasets.pipelines.base import find_pipeline
from segfoundry.datasets.records.record import read_record
from segfoundry.datasets.validate.findings import KINDS
from segfoundry.datasets.validate.html_report import write_html
from segfoundry.datasets.validate.validate_record import validate_record
from segfoundry.utils.image_io import write_png

from ....support.cable_data import cable_config, write_backgrounds, write_cables


class Folders:
    """Two training sets, one with backgrounds, and a test set."""

    def __init__(self, folder):
        self.folder = folder
        for number, name in enumerate(("a", "b", "test")):
            write_cables(folder / name, seed=number)
        write_backgrounds(folder / "photos")

    def mask(self, number, name="a"):
        return self.folder / name / f"masks/c{number}.png"

    def check(self):
        entries = [
            {"data_dir": str(self.folder / "a")},
            {"data_dir": str(self.folder / "b"), "bg_paths": [str(self.folder / "photos")]},
        ]
        sets = find_pipeline(cable_config(entries, {"data_dir": str(self.folder / "test")}).typed).own_data()
        record = sets.as_record("SAM.DLO", self.folder / "data.yaml")
        return validate_record(record, list(record.splits.values()), workers=0)


@pytest.fixture
def data(tmp_path):
    return Folders(tmp_path)


def empty(data, name="a"):
    for path in (data.folder / name / "masks").iterdir():
        write_png(path, np.zeros((36, 64), np.uint8))


def soft(data):
    write_png(data.mask(0), np.arange(36 * 64, dtype=np.uint16).reshape(36, 64).astype(np.uint8))


PLANTED = {
    "foreground-missing": lambda d: d.mask(1).unlink(),
    "foreground-extra": lambda d: d.mask(1).with_name("more.png").write_bytes(d.mask(1).read_bytes()),
    "foreground-unreadable": lambda d: d.mask(1).write_bytes(b"nothing"),
    "foreground-none": empty,
    "foreground-empty": lambda d: write_png(d.mask(1), np.zeros((36, 64), np.uint8)),
    "foreground-values": soft,
    "background-unreadable": lambda d: (d.folder / "photos/b1.png").write_bytes(b""),
    "size-differs": lambda d: write_png(d.mask(1), np.ones((64, 36), np.uint8)),
    "stem-ambiguous": lambda d: Image.open(d.mask(1)).save(d.mask(1).with_suffix(".bmp")),
    "image-unreadable": lambda d: (d.folder / "a/imgs/c1.png").write_bytes(b"nothing"),
    "duplicate-in-split": lambda d: copy_image(d, "a/imgs/c1.png", "b/imgs/c2.png"),
    "duplicate-across-splits": lambda d: copy_image(d, "a/imgs/c1.png", "test/imgs/c2.png"),
}


def copy_image(data, source, target):
    (data.folder / target).write_bytes((data.folder / source).read_bytes())


@pytest.mark.parametrize("code", PLANTED)
def test_a_planted_fault_is_found(data, code):
    PLANTED[code](data)
    findings = {finding.code: finding for finding in data.check().findings}
    assert set(findings) == {code} | ({"foreground-empty"} if code == "foreground-none" else set())
    assert findings[code].count >= 1 and findings[code].places and findings[code].kind is KINDS[code]


def test_clean_folders_are_clean(data):
    write_png(data.mask(0), np.ones((18, 32), np.uint8))
    result = data.check()
    assert result.ok and not result.findings
    assert [(s.name, s.images) for s in result.splits] == [("train.0", 4), ("train.1", 4), ("test", 4)]
    assert 0.1 < result.splits[0].foreground < 0.3 and 0 < result.splits[1].foreground < 0.2


def test_values_are_shown(data):
    soft(data)
    (finding,) = data.check().findings
    assert finding.places[0].endswith("c0.png: 0, 1, 2, 3, 4, 5, ... 255")


def test_testing_on_training_images_is_unfair(data):
    cfg = cable_config([{"data_dir": str(data.folder / "a")}] * 2, {"data_dir": str(data.folder / "a")}).cfg
    record = find_pipeline(cfg).own_data().as_record("SAM.DLO", data.folder / "d.yaml")
    result = validate_record(record, list(record.splits.values()), workers=0)
    assert [(f.code, f.split, f.count) for f in result.findings] == [("duplicate-across-splits", "test", 4)]


def test_records_and_their_report(data, tmp_path):
    (tmp_path / "r.yaml").write_text(
        "splits: {train: {images: a/imgs, foreground: a/masks}, val: {images: b/imgs, foreground: b/masks}}\n"
    )
    record = read_record(tmp_path / "r.yaml")
    result = validate_record(record, list(record.splits.values()), workers=0)
    assert result.ok and not result.findings
    share = result.as_json()["splits"]["train"]["foreground_share"]
    assert share == pytest.approx(result.splits[0].foreground, abs=1e-6)
    page = write_html(result, tmp_path / "report", samples=2).read_text()
    assert "segments, 0.00 %" not in page and "samples" in page
    assert page.count("data:image/jpeg") == 4 and f"{100 * share:.2f} %" in page
    data.mask(2).unlink()
    (tmp_path / "s.yaml").write_text(
        "categories: [{id: 1, name: a, isthing: true}]\n"
        "splits: {train: {images: a/imgs, semantic: b/masks, semantic_values: {0: 1, 255: 1}, foreground: a/masks}}\n"
    )
    record = read_record(tmp_path / "s.yaml")
    found = validate_record(record, list(record.splits.values()), workers=0).findings
    assert "foreground-missing" in {f.code for f in found} and json.dumps([f.as_json() for f in found])
