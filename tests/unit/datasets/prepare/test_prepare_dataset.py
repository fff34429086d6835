"""Colour masks to a data set: the results, and the refusals."""

import json
import os

import numpy as np
import pytest
import yaml
from PIL import Image

from segfoundry.datasets.formats.panoptic import read_panoptic_png, segment_stats
from segfoundry.datasets.formats.segmentation import decode_mask
from segfoundry.datasets.prepare.color_masks import MaskRules
from segfoundry.datasets.prepare.image_splits import split_names
from segfoundry.datasets.records.list_items import list_items
from segfoundry.datasets.records.record import read_record
from segfoundry.utils.errors import DataError

from ....support.data_sets import CUP, TABLE, VOID, WALL, color_mask, prepare, write_raw


@pytest.fixture
def raw(tmp_path):
    return write_raw(tmp_path / "raw")


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def read(folder, name):
    return json.loads((folder / name).read_text())


def test_files_agree_with_each_other(raw, tmp_path):
    summary = prepare(raw, tmp_path / "out", split=0.6)
    assert summary.images == {"train": 3, "val": 2}
    assert summary.segments == {"wall": 5, "floor": 5, "cup": 10}
    for part in ("train", "val"):
        folder = tmp_path / "out" / part
        data, grounding = read(folder, "panoptic.json"), read(folder, "grounding.json")
        for info, annotation in zip(data["images"], data["annotations"], strict=True):
            assert (folder / "images" / info["file_name"]).is_file()
            ids = read_panoptic_png(folder / "panoptic" / annotation["file_name"])
            semantic = np.asarray(Image.open(folder / "semantic" / annotation["file_name"]))
            mask = color_mask()
            np.testing.assert_array_equal(ids == 0, (mask == VOID).all(axis=-1))
            np.testing.assert_array_equal(semantic == 255, ids == 0)
            np.testing.assert_array_equal(semantic == 2, (mask == CUP).all(axis=-1))
            stats = segment_stats(ids)
            for segment in annotation["segments_info"]:
                assert (segment["area"], tuple(segment["bbox"])) == stats[segment["id"]]
                assert (semantic[ids == segment["id"]] == segment["category_id"] - 1).all()
            rows = [r for r in grounding["annotations"] if r["image_id"] == info["id"]]
            assert {r["segment_id"] for r in rows} == set(stats) - {0}
            for row in rows:
                mask = decode_mask(row["segmentation"], 40, 60)
                np.testing.assert_array_equal(mask, ids == row["segment_id"])
                assert row["sentences"] and all(s["raw"] for s in row["sentences"])


def test_ids_follow_the_colour_rule(raw, tmp_path):
    prepare(raw, tmp_path / "out")
    for segments in (a["segments_info"] for a in read(tmp_path / "out" / "train", "panoptic.json")["annotations"]):
        wall, floor, first, second = segments
        assert wall["id"] == 120 * (1 + 256 + 65536) and floor["id"] == 80 + 50 * 256 + 50 * 65536
        assert first["id"] == 220 + 20 * 256 + 60 * 65536
        color = [second["id"] & 255, second["id"] >> 8 & 255, second["id"] >> 16]
        assert max(abs(a - b) for a, b in zip(color, CUP, strict=True)) <= 30


def test_same_seed_same_bytes(raw, tmp_path):
    prepare(raw, tmp_path / "x" / "out")
    prepare(raw, tmp_path / "y" / "out")
    assert tree(tmp_path / "x") == tree(tmp_path / "y")
    prepare(raw, tmp_path / "z" / "out", seed=1)
    assert tree(tmp_path / "x") != tree(tmp_path / "z")


def test_worker_processes_give_the_same(raw, tmp_path):
    prepare(raw, tmp_path / "x" / "out")
    prepare(raw, tmp_path / "y" / "out", workers=2)
    assert tree(tmp_path / "x") == tree(tmp_path / "y")


def test_split_is_stable_and_never_empty():
    names = [f"{i}.jpg" for i in range(100)]
    parts = split_names(names, 0.8, 0)
    assert len(parts["train"]) == 80 and sorted(parts["train"] + parts["val"]) == sorted(names)
    assert split_names([n.replace("jpg", "png") for n in names], 0.8, 0)["val"] == [
        n.replace("jpg", "png") for n in parts["val"]
    ]
    assert {k: len(v) for k, v in split_names(["a", "b"], 0.99, 0).items()} == {"train": 1, "val": 1}
    assert set(split_names(["a", "b"], 1, 0)) == {"train"}


def test_instances_by_component_and_by_colour(raw, tmp_path):
    mask = np.zeros((40, 60, 3), np.uint8)
    mask[:] = WALL
    mask[5:10, 5:10] = CUP
    mask[10:15, 10:15] = CUP  # touches the corner: one component with 8 neighbours
    mask[5:20, 40:50] = (220, 20, 61)
    mask[5:20, 50:55] = (220, 20, 62)
    table = yaml.safe_load((raw / "colors.yaml").read_text())
    table["categories"][2]["range"] = [[220, 20, 60], [220, 20, 70]]
    (raw / "colors.yaml").write_text(yaml.safe_dump(table))
    for path in (raw / "masks").iterdir():
        Image.fromarray(mask).save(path)
    assert prepare(raw, tmp_path / "x").segments["cup"] == 10
    assert prepare(raw, tmp_path / "y", rules=MaskRules(instances="color")).segments["cup"] == 15
    table["categories"][2]["instances"] = "color"
    (raw / "colors.yaml").write_text(yaml.safe_dump(table))
    assert prepare(raw, tmp_path / "z").segments["cup"] == 15
    small = prepare(raw, tmp_path / "s", rules=MaskRules(min_area=60))
    assert small.segments["cup"] == 10 and small.dropped == 5


@pytest.mark.parametrize("isthing", [True, False])
def test_things_only_and_stuff_only(raw, tmp_path, isthing):
    table = yaml.safe_load((raw / "colors.yaml").read_text())
    for entry in table["categories"]:
        entry["isthing"] = isthing
    (raw / "colors.yaml").write_text(yaml.safe_dump(table))
    summary = prepare(raw, tmp_path / "out")
    assert summary.segments["cup"] == (10 if isthing else 5)


def test_own_sentences_win(raw, tmp_path):
    own = {
        "categories": {"wall": ["the white wall"]},
        "images": {
            "a.jpg": [{"point": [6, 6], "sentences": ["the left cup"]}, {"category": "floor", "sentences": "tiles"}]
        },
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(own))
    prepare(raw, tmp_path / "out", sentences=tmp_path / "s.yaml", split=1)
    data = read(tmp_path / "out" / "train", "grounding.json")
    image = next(i["id"] for i in data["images"] if i["file_name"] == "a.jpg")
    texts = {r["segment_id"]: [s["raw"] for s in r["sentences"]] for r in data["annotations"] if r["image_id"] == image}
    ids = read_panoptic_png(tmp_path / "out" / "train" / "panoptic" / "a.png")
    assert texts[ids[6, 6]] == ["the left cup"]
    assert texts[ids[39, 0]] == ["tiles"] and texts[ids[0, 0]] == ["the white wall"]
    assert any("cup" in text for text in texts[ids[20, 35]])
    others = [r for r in data["annotations"] if r["image_id"] != image and r["category_id"] == 1]
    assert all(r["sentences"][0]["raw"] == "the white wall" for r in others)


@pytest.mark.parametrize(
    ("own", "text"),
    [
        ({"categories": {"wal": ["x"]}}, "did you mean 'wall'"),
        ({"images": {"zzz.jpg": []}}, "not in the data set"),
        ({"images": {"a.jpg": [{"point": [99, 0], "sentences": ["x"]}]}}, "outside"),
        ({"images": {"a.jpg": [{"point": [59, 0], "sentences": ["x"]}]}}, "unlabelled"),
        ({"images": {"a.jpg": [{"sentences": ["x"]}]}}, "point"),
        ({"sentence": {}}, "categories and images"),
    ],
)
def test_faulty_sentences(raw, tmp_path, own, text):
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(own))
    with pytest.raises(DataError, match=text):
        prepare(raw, tmp_path / "out", sentences=tmp_path / "s.yaml")


def fails(raw, tmp_path, text, **options):
    before = tree(tmp_path)
    with pytest.raises(DataError, match=text) as error:
        prepare(raw, tmp_path / "out", **options)
    assert tree(tmp_path) == before and not list(tmp_path.glob(".*")), "something was left behind"
    return str(error.value)


def test_unknown_colours_are_counted_and_placed(raw, tmp_path):
    mask = color_mask()
    mask[2, 3:7] = (1, 2, 3)
    Image.fromarray(mask).save(raw / "masks" / "b.png")
    text = fails(raw, tmp_path, "4 pixels in 1 masks have 1 colours")
    assert "b.png: [1, 2, 3] at x 3, y 2" in text and "closest is ignored [0, 0, 0]" in text and "Add them" in text


def test_smoothed_and_jpeg_masks_are_recognised(raw, tmp_path):
    blurred = Image.fromarray(color_mask()).resize((120, 80), Image.Resampling.BILINEAR).resize((60, 40))
    blurred.save(raw / "masks" / "b.png")
    assert "anti-aliased" in fails(raw, tmp_path, "not in the table")
    (raw / "masks" / "b.png").unlink()
    Image.fromarray(color_mask()).save(raw / "masks" / "b.jpg", quality=90)
    assert "JPEG changes colours" in fails(raw, tmp_path, "not in the table")


def test_tolerance_accepts_small_differences(raw, tmp_path):
    mask = color_mask()
    mask[0, 0] = (122, 119, 120)
    Image.fromarray(mask).save(raw / "masks" / "b.png")
    fails(raw, tmp_path, "not in the table", rules=MaskRules(tolerance=1))
    fails(raw, tmp_path, "--tolerance -1: expected 0 or more", rules=MaskRules(tolerance=-1))
    prepare(raw, tmp_path / "out", rules=MaskRules(tolerance=2), split=1)
    assert read_panoptic_png(tmp_path / "out" / "train" / "panoptic" / "b.png")[0, 0] == 120 * (1 + 256 + 65536)


def test_all_faulty_files_are_named(raw, tmp_path):
    Image.fromarray(color_mask(30, 60)).save(raw / "masks" / "a.png")
    Image.fromarray(color_mask(60, 40)).save(raw / "masks" / "b.png")
    data = (raw / "images" / "c.jpg").read_bytes()
    (raw / "images" / "c.jpg").write_bytes(data[: len(data) // 2])
    (raw / "masks" / "d.png").write_bytes(b"")
    text = fails(raw, tmp_path, "4 of 5 images cannot be used")
    for part in ("a.png: 60 x 30 pixels", "b.png.*EXIF", "c.jpg: truncated", "d.png: the file is empty"):
        assert part.split(".*")[-1] in text


def test_orphans_are_listed_or_skipped(raw, tmp_path):
    (raw / "masks" / "a.png").unlink()
    (raw / "images" / "b.jpg").unlink()
    text = fails(raw, tmp_path, "2 files without a partner")
    assert "images/a.jpg" in text and "masks/b.png" in text
    summary = prepare(raw, tmp_path / "out", skip_orphans=True)
    assert sum(summary.images.values()) == 3 and len(summary.orphans) == 2


def test_nothing_is_overwritten_unasked(raw, tmp_path):
    prepare(raw, tmp_path / "out")
    fails(raw, tmp_path, "--force")
    (raw / "masks" / "e.png").unlink()
    assert sum(prepare(raw, tmp_path / "out", force=True, skip_orphans=True).images.values()) == 4
    (tmp_path / "out" / "prepare.json").unlink()
    fails(raw, tmp_path, "does not replace", force=True, skip_orphans=True)


def test_force_never_removes_a_file_that_somebody_added(raw, tmp_path):
    prepare(raw, tmp_path / "out")
    (tmp_path / "out" / "train" / "notes.txt").write_text("mine")
    fails(raw, tmp_path, "holds other files than an earlier result", force=True)
    (tmp_path / "out" / "train" / "notes.txt").unlink()
    prepare(raw, tmp_path / "out", force=True)


def test_failure_with_force_keeps_the_old_result(raw, tmp_path):
    prepare(raw, tmp_path / "out")
    (raw / "masks" / "e.png").write_bytes(b"")
    fails(raw, tmp_path, "empty", force=True)


def test_output_over_the_input_is_refused(raw, tmp_path):
    with pytest.raises(DataError, match="holds the input"):
        prepare(raw, raw, force=True)


def test_images_are_linked_or_copied(raw, tmp_path):
    prepare(raw, tmp_path / "linked", split=1)
    prepare(raw, tmp_path / "copied", split=1, copy=True)
    assert os.path.samefile(raw / "images" / "a.jpg", tmp_path / "linked" / "train" / "images" / "a.jpg")
    assert not os.path.samefile(raw / "images" / "a.jpg", tmp_path / "copied" / "train" / "images" / "a.jpg")


def test_sub_folders_dots_and_mask_suffix(tmp_path):
    raw = write_raw(tmp_path / "raw", names=("v1.2.a", "b"))
    for kind in ("images", "masks"):
        (raw / kind / "s").mkdir()
        for path in [p for p in (raw / kind).iterdir() if p.is_file()]:
            extra = "_mask" if kind == "masks" else ""
            path.rename(raw / kind / "s" / f"{path.stem}{extra}{path.suffix}")
    prepare(raw, tmp_path / "out", split=1, mask_suffix="_mask")
    assert (tmp_path / "out" / "train" / "panoptic" / "s" / "v1.2.a.png").is_file()


@pytest.mark.parametrize("share", [0, -0.1, 1.5])
def test_split_outside_the_range(raw, tmp_path, share):
    fails(raw, tmp_path, "share of training images", split=share)


def test_empty_folder(raw, tmp_path):
    for path in (raw / "images").iterdir():
        path.unlink()
    fails(raw, tmp_path, "no image files")


def test_names_that_are_numbers_become_the_image_ids(raw, tmp_path):
    for kind in ("images", "masks"):
        for number, path in enumerate(sorted((raw / kind).iterdir())):
            path.rename(path.with_name(f"{number * 10:04d}{path.suffix}"))
    prepare(raw, tmp_path / "out", split=1.0)
    ids = {i["file_name"]: i["id"] for i in read(tmp_path / "out" / "train", "panoptic.json")["images"]}
    assert ids and all(int(name.split(".")[0]) == image_id for name, image_id in ids.items())


def test_transparent_pixels_are_unlabelled_whatever_their_colour(raw, tmp_path):
    mask = color_mask()
    alpha = np.full(mask.shape[:2], 255, np.uint8)
    alpha[:12, :12] = 0
    mask[:12, :6] = (1, 2, 3)  # no colour of the table
    Image.fromarray(np.dstack([mask, alpha])).save(raw / "masks" / "a.png")
    summary = prepare(raw, tmp_path / "out", split=1)
    assert summary.transparent == [str(raw / "masks" / "a.png")]
    ids = read_panoptic_png(tmp_path / "out" / "train" / "panoptic" / "a.png")
    np.testing.assert_array_equal(ids == 0, (alpha == 0) | (mask == VOID).all(axis=-1))
    semantic = np.asarray(Image.open(tmp_path / "out" / "train" / "semantic" / "a.png"))
    np.testing.assert_array_equal(semantic == 255, ids == 0)


def test_names_that_are_no_utf8(raw, tmp_path):
    for kind, suffix in (("images", "jpg"), ("masks", "png")):
        os.rename(raw / kind / f"a.{suffix}", os.path.join(os.fsencode(raw / kind), b"caf\xe9." + suffix.encode()))
    prepare(raw, tmp_path / "out", split=1)
    names = [info["file_name"] for info in read(tmp_path / "out" / "train", "panoptic.json")["images"]]
    assert os.fsdecode(b"caf\xe9.jpg") in names
    assert all((tmp_path / "out" / "train" / "images" / name).is_file() for name in names)


def test_sentences_for_names_of_other_machines(raw, tmp_path):
    own = tmp_path / "own.json"
    entry = [{"point": [10, 10], "sentences": ["the upper cup"]}]
    own.write_text(json.dumps({"images": {"C:\\set\\images\\a.jpg": entry}}))
    prepare(raw, tmp_path / "named", sentences=own, split=1)
    rows = read(tmp_path / "named" / "train", "grounding.json")["annotations"]
    assert [["the upper cup"]] == [
        [s["raw"] for s in r["sentences"]] for r in rows if r["sentences"][0]["raw"].startswith("the upper")
    ]
    own.write_text(json.dumps({"images": {"C:\\set\\images\\aa.jpg": entry}}))
    fails(raw, tmp_path, "it is an absolute path, did you mean", sentences=own)


def test_folders_of_splits_are_never_mixed(tmp_path):
    raw = write_raw(tmp_path / "raw", ("train/a", "train/b", "val/a", "val/c", "test/d"))
    summary = prepare(raw, tmp_path / "out", aliases={"mine": "test"})
    assert summary.images == {"train": 2, "val": 2, "test": 1}
    record = read_record(summary.record)
    for part, expected in (("train", ["train/a", "train/b"]), ("val", ["val/a", "val/c"]), ("test", ["test/d"])):
        images = [item.image for item in list_items(record, record.splits[part])]
        assert images == [tmp_path / "out" / part / "images" / f"{name}.jpg" for name in expected]


def test_an_alias_of_no_split_is_refused(raw, tmp_path):
    fails(raw, tmp_path, "--alias mine:test: the splits are train and val", aliases={"mine": "test"})


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_masks_of_class_numbers_are_recognised(raw, tmp_path, mode):
    for name in "abcde":
        colors = color_mask()
        numbers = np.zeros(colors.shape[:2], np.uint8)
        for number, color in enumerate((WALL, CUP), start=1):
            numbers[(colors == color).all(axis=-1)] = number
        Image.fromarray(numbers).convert(mode).save(raw / "masks" / f"{name}.png")
    fails(raw, tmp_path, r"class numbers \(1, 2\) instead of colours.*name: wall, color: \[1, 1, 1\]")
    table = TABLE.replace('"#787878"', "[1, 1, 1]").replace("[220, 20, 60]", "[2, 2, 2]")
    (raw / "colors.yaml").write_text(table)
    assert prepare(raw, tmp_path / "out").segments == {"wall": 5, "floor": 0, "cup": 10}


def test_forgotten_grey_is_a_colour(raw, tmp_path):
    mask = color_mask()
    mask[2, 3] = (90, 90, 90)
    Image.fromarray(mask).save(raw / "masks" / "b.png")
    fails(raw, tmp_path, "Add them to the table")
