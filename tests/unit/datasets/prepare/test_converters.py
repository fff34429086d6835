"""COCO instance, panoptic, semantic and two-channel files into each other."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from segfoundry.datasets.formats.detection import encode_mask
from segfoundry.datasets.formats.panoptic import read_panoptic_png, segment_stats, write_panoptic_png
from segfoundry.datasets.formats.segmentation import decode_mask
from segfoundry.datasets.prepare.categories import read_categories
from segfoundry.datasets.prepare.combine import combine_predictions
from segfoundry.datasets.prepare.from_panoptic import (
    panoptic_to_detection,
    panoptic_to_semantic_json,
    panoptic_to_semantic_png,
)
from segfoundry.datasets.prepare.to_panoptic import ConvertOptions, detection_to_panoptic, two_channel_to_panoptic
from segfoundry.utils.errors import DataError

from ....support.data_sets import SAMPLE

needs_sample = pytest.mark.skipif(not SAMPLE.is_dir(), reason="no sample data (SEGFOUNDRY_DATA)")
OPTIONS = ConvertOptions(workers=0)
FORCE = ConvertOptions(workers=0, force=True)
CATEGORIES = [
    {"id": 1, "name": "cat", "isthing": 1, "color": [200, 0, 0]},
    {"id": 4, "name": "dog", "isthing": 1, "color": [0, 200, 0]},
    {"id": 9, "name": "sky", "isthing": 0, "color": [0, 0, 200]},
]


def load(path):
    return json.loads(path.read_text())


def regions(data, folder):
    """Returns {file name: {(category id, pixels)}}: everything but the ids."""
    result = {}
    for annotation in data["annotations"]:
        ids = read_panoptic_png(folder / annotation["file_name"])
        stats = segment_stats(ids)
        assert set(stats) - {0} == {s["id"] for s in annotation["segments_info"]}
        for s in annotation["segments_info"]:
            assert (s["area"], tuple(s["bbox"])) == stats[s["id"]]
        found = {(s["category_id"], (ids == s["id"]).tobytes()) for s in annotation["segments_info"]}
        result[annotation["file_name"]] = found
    return result


def instance_json(path, masks, images=None, **fields):
    """Writes an instance JSON: masks = [(category id, (H, W) bool, further fields)]."""
    height, width = masks[0][1].shape
    image = {"id": 1, "file_name": "a.b.jpg", "height": height, "width": width}
    annotations = [
        {"id": i, "image_id": 1, "category_id": c, "segmentation": encode_mask(m), **extra}
        for i, (c, m, extra) in enumerate(masks, 1)
    ]
    path.write_text(
        json.dumps({"images": images or [image], "categories": CATEGORIES, "annotations": annotations} | fields)
    )
    return path


def rect(y0, x0, y1, x1):
    mask = np.zeros((20, 30), bool)
    mask[y0:y1, x0:x1] = True
    return mask


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=30)
@given(labels=arrays(np.uint8, st.tuples(st.integers(2, 14), st.integers(2, 14)), elements=st.integers(0, 5)))
def test_panoptic_to_detection_and_back(tmp_path, labels):
    """The way there and back keeps every segment's pixels and category."""
    segments = []
    ids = np.zeros(labels.shape, np.int32)
    for value in np.unique(labels[labels > 0]).tolist():
        category = CATEGORIES[min(value - 1, 2) if value < 4 else value % 2]
        ids[labels == value] = value * 4099
        segments.append({"id": value * 4099, "category_id": category["id"]})
    write_panoptic_png(tmp_path / "p" / "a.b.png", ids)
    image = {"id": 7, "file_name": "a.b.jpg", "height": labels.shape[0], "width": labels.shape[1]}
    annotation = {"image_id": 7, "file_name": "a.b.png", "segments_info": segments}
    source = tmp_path / "p.json"
    source.write_text(json.dumps({"images": [image], "categories": CATEGORIES, "annotations": [annotation]}))
    assert panoptic_to_detection(source, tmp_path / "p", tmp_path / "d.json", FORCE) == len(segments)
    assert detection_to_panoptic(tmp_path / "d.json", tmp_path / "q.json", tmp_path / "q", FORCE) == []
    back = regions(load(tmp_path / "q.json"), tmp_path / "q")["a.b.png"]
    assert back == {(s["category_id"], (ids == s["id"]).tobytes()) for s in segments}


def test_overlap_rules(tmp_path):
    big, small = rect(0, 0, 15, 20), rect(5, 5, 10, 10)
    source = instance_json(tmp_path / "d.json", [(1, small, {"score": 0.2}), (4, big, {"score": 0.9})])
    with pytest.raises(DataError, match="a.b.jpg overlap in 25 pixels.*--overlap"):
        detection_to_panoptic(source, tmp_path / "p.json", tmp_path / "p", OPTIONS)
    assert not (tmp_path / "p.json").exists() and not (tmp_path / "p").exists()
    top = {}
    for rule in ("area", "score", "order"):
        hidden = len(detection_to_panoptic(source, tmp_path / "p.json", tmp_path / "p", FORCE, overlap=rule))
        (annotation,) = load(tmp_path / "p.json")["annotations"]
        ids = read_panoptic_png(tmp_path / "p" / annotation["file_name"])
        top[rule] = (next(s["category_id"] for s in annotation["segments_info"] if s["id"] == ids[7, 7]), hidden)
    assert top == {"area": (1, 0), "score": (4, 1), "order": (4, 1)}


def test_stuff_fills_the_gaps_and_crowds_lie_below(tmp_path):
    cat, crowd = rect(5, 5, 10, 10), rect(4, 4, 12, 12)
    source = instance_json(tmp_path / "d.json", [(1, cat, {}), (1, crowd, {"iscrowd": 1})], categories=CATEGORIES[:2])
    stuff = instance_json(tmp_path / "s.json", [(9, rect(0, 0, 8, 30), {})], categories=CATEGORIES[2:])
    detection_to_panoptic(source, tmp_path / "p.json", tmp_path / "p", OPTIONS, stuff_json=stuff)
    data = load(tmp_path / "p.json")
    found = regions(data, tmp_path / "p")["a.b.png"]
    assert found == {
        (1, cat.tobytes()),
        (1, (crowd & ~cat).tobytes()),
        (9, (rect(0, 0, 8, 30) & ~crowd).tobytes()),
    }
    assert [s["iscrowd"] for s in data["annotations"][0]["segments_info"] if s["area"] == 39] == [1]
    assert [c["isthing"] for c in data["categories"]] == [1, 1, 0]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"images": [{"id": 2, "file_name": "a.jpg", "height": 20, "width": 30}]}, "image 1, not in"),
        ({"images": []}, "no list `images`"),
        ({"images": [{"id": 1, "file_name": "../a.jpg", "height": 20, "width": 30}]}, "leads out"),
        ({"images": [{"id": 1, "file_name": "a.jpg"}]}, "no height or width"),
        ({"categories": CATEGORIES[1:]}, "unknown category id 1"),
        (
            {
                "images": [
                    {"id": i, "file_name": f"a.{s}", "height": 20, "width": 30} for i, s in ((1, "jpg"), (2, "png"))
                ]
            },
            "share the PNG",
        ),
    ],
)
def test_faulty_instance_json(tmp_path, change, text):
    source = instance_json(tmp_path / "d.json", [(1, rect(0, 0, 5, 5), {})])
    source.write_text(json.dumps(load(source) | change))
    with pytest.raises(DataError, match=text):
        detection_to_panoptic(source, tmp_path / "p.json", tmp_path / "p", OPTIONS)


def test_results_are_not_overwritten_and_other_folders_never(tmp_path):
    source = instance_json(tmp_path / "d.json", [(1, rect(0, 0, 5, 5), {})])
    detection_to_panoptic(source, tmp_path / "p.json", tmp_path / "p", OPTIONS)
    with pytest.raises(DataError, match="--force"):
        detection_to_panoptic(source, tmp_path / "p.json", tmp_path / "p", OPTIONS)
    (tmp_path / "p" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="other files"):
        detection_to_panoptic(source, tmp_path / "p.json", tmp_path / "p", FORCE)
    assert (tmp_path / "p" / "thesis.txt").exists()


@needs_sample
@pytest.mark.parametrize("dataset_ids", [True, False])
def test_semantic_pixel_counts_of_the_coco_sample(tmp_path, dataset_ids):
    panoptic_to_semantic_png(SAMPLE / "gt.json", SAMPLE / "gt", tmp_path / "s", OPTIONS, dataset_ids=dataset_ids)
    expected = load(SAMPLE / "expected.json")["semantic_png_of_gt"]
    ids = [c["id"] for c in load(SAMPLE / "gt.json")["categories"]]
    for image in ("142238", "439180"):
        label = np.asarray(Image.open(tmp_path / "s" / f"{image:0>12}.png"))
        values, counts = np.unique(label, return_counts=True)
        name = (lambda v: v) if dataset_ids else (lambda v: 0 if v == 255 else ids[v])
        assert {str(name(v)): n for v, n in zip(values.tolist(), counts.tolist(), strict=True)} == expected[image]


@needs_sample
def test_semantic_json_and_things_other(tmp_path):
    count = panoptic_to_semantic_json(
        SAMPLE / "gt.json", SAMPLE / "gt", tmp_path / "s.json", OPTIONS, things_other=True
    )
    data = load(tmp_path / "s.json")
    assert count == len(data["annotations"]) and [a["id"] for a in data["annotations"]] == list(range(1, count + 1))
    expected = load(SAMPLE / "expected.json")["semantic_png_of_gt"]
    things = {str(c["id"]) for c in load(SAMPLE / "gt.json")["categories"] if c["isthing"]}
    sizes = {i["id"]: (i["height"], i["width"]) for i in data["images"]}
    for row in data["annotations"]:
        areas = expected[str(row["image_id"])]
        other = sum(n for key, n in areas.items() if key in things)
        assert row["area"] == (other if row["category_id"] == 183 else areas[str(row["category_id"])])
        assert decode_mask(row["segmentation"], *sizes[row["image_id"]]).sum() == row["area"]
    assert {c["id"] for c in data["categories"]} >= {183} and not {c["id"] for c in data["categories"]} & set(
        map(int, things)
    )


@needs_sample
def test_two_channel_sample(tmp_path):
    categories = read_categories(SAMPLE / "gt.json")
    two_channel_to_panoptic(
        SAMPLE / "two_channel", SAMPLE / "gt.json", tmp_path / "t.json", tmp_path / "t", categories, OPTIONS
    )
    assert regions(load(tmp_path / "t.json"), tmp_path / "t") == regions(load(SAMPLE / "gt.json"), SAMPLE / "gt")


def test_two_channel_faults(tmp_path):
    (tmp_path / "i.json").write_text(json.dumps({"images": [{"id": 1, "file_name": "a.jpg", "height": 2, "width": 2}]}))
    (tmp_path / "c.json").write_text(json.dumps(CATEGORIES))
    (tmp_path / "src").mkdir()

    def convert():
        categories = read_categories(tmp_path / "c.json")
        two_channel_to_panoptic(
            tmp_path / "src", tmp_path / "i.json", tmp_path / "t.json", tmp_path / "t", categories, OPTIONS
        )

    with pytest.raises(DataError, match="a.png: no such"):
        convert()
    Image.fromarray(np.full((2, 2, 3), 77, np.uint8)).save(tmp_path / "src" / "a.png")
    with pytest.raises(DataError, match=r"R = 77 \(4 pixels\) is no category"):
        convert()


def test_ids_that_differ_are_refused(tmp_path):
    write_panoptic_png(tmp_path / "p" / "a.png", np.array([[5, 6]]))
    annotation = {"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 5, "category_id": 1}]}
    (tmp_path / "p.json").write_text(json.dumps({"images": [], "categories": CATEGORIES, "annotations": [annotation]}))
    with pytest.raises(DataError, match=r"missing in .*\(6\)"):
        panoptic_to_detection(tmp_path / "p.json", tmp_path / "p", tmp_path / "d.json", OPTIONS)


def test_combine_is_greedy_by_score(tmp_path):
    better, worse, low = rect(0, 0, 10, 10), rect(0, 4, 10, 14), rect(12, 0, 14, 5)
    instances = instance_json(
        tmp_path / "i.json", [(4, worse, {"score": 0.6}), (1, better, {"score": 0.9}), (1, low, {"score": 0.1})]
    )
    semantic = instance_json(tmp_path / "s.json", [(9, rect(0, 0, 20, 30), {}), (1, rect(15, 0, 20, 5), {})])
    (tmp_path / "c.json").write_text(json.dumps(CATEGORIES))
    categories = read_categories(tmp_path / "c.json")
    arguments = (semantic, instances, instances, tmp_path / "p.json", tmp_path / "p", categories, FORCE)
    from segfoundry.datasets.prepare.combine import CombineRules

    combine_predictions(*arguments, CombineRules(max_hidden=0.7, min_stuff_area=100))
    found = regions(load(tmp_path / "p.json"), tmp_path / "p")["a.b.png"]
    rest = rect(0, 0, 20, 30) & ~better & ~worse
    assert found == {(1, better.tobytes()), (4, (worse & ~better).tobytes()), (9, rest.tobytes())}
    combine_predictions(*arguments, CombineRules(max_hidden=0.5, min_stuff_area=10_000))
    assert regions(load(tmp_path / "p.json"), tmp_path / "p")["a.b.png"] == {(1, better.tobytes())}


# ---- against panopticapi ---------------------------------------------------------------------------------------------


def panopticapi_tool(name, *arguments):
    """Runs one of panopticapi's converters, which are installed as the package ``converters`` or lie beside it."""
    from pathlib import Path

    api = pytest.importorskip("panopticapi")
    script = Path(api.__file__).parents[1] / "converters" / name
    if not script.is_file():
        pytest.skip("panopticapi is installed without its converters")
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=script.parents[1])
    assert done.returncode == 0, done.stderr


@pytest.mark.interop
@needs_sample
def test_detection_equals_panopticapi(tmp_path):
    pytest.importorskip("panopticapi")
    (tmp_path / "c.json").write_text(json.dumps(load(SAMPLE / "gt.json")["categories"]))
    panopticapi_tool(
        "panoptic2detection_coco_format.py", "--input_json_file", SAMPLE / "gt.json", "--segmentations_folder",
        SAMPLE / "gt", "--output_json_file", tmp_path / "d.json", "--categories_json_file", tmp_path / "c.json",
    )  # fmt: skip
    panoptic_to_detection(SAMPLE / "gt.json", SAMPLE / "gt", tmp_path / "o.json", OPTIONS)
    keys = ("image_id", "category_id", "segmentation", "area", "bbox", "iscrowd")
    theirs, ours = ([{k: a[k] for k in keys} for a in load(tmp_path / n)["annotations"]] for n in ("d.json", "o.json"))
    assert ours == theirs


@pytest.mark.interop
@needs_sample
def test_semantic_equals_panopticapi(tmp_path):
    pytest.importorskip("panopticapi")
    (tmp_path / "c.json").write_text(json.dumps(load(SAMPLE / "gt.json")["categories"]))
    panopticapi_tool(
        "panoptic2semantic_segmentation.py", "--input_json_file", SAMPLE / "gt.json", "--segmentations_folder",
        SAMPLE / "gt", "--semantic_seg_folder", tmp_path / "s", "--categories_json_file", tmp_path / "c.json",
    )  # fmt: skip
    panoptic_to_semantic_png(SAMPLE / "gt.json", SAMPLE / "gt", tmp_path / "o", OPTIONS, dataset_ids=True)
    names = [p.name for p in sorted((tmp_path / "s").glob("*.png"))]
    assert len(names) == 2
    for name in names:
        ours, theirs = (np.asarray(Image.open(tmp_path / folder / name)) for folder in ("o", "s"))
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.interop
@needs_sample
def test_two_channel_equals_panopticapi(tmp_path):
    pytest.importorskip("panopticapi")
    (tmp_path / "c.json").write_text(json.dumps(load(SAMPLE / "gt.json")["categories"]))
    panopticapi_tool(
        "2channels2panoptic_coco_format.py", "--source_folder", SAMPLE / "two_channel", "--images_json_file",
        SAMPLE / "gt.json", "--predictions_json_file", tmp_path / "t.json", "--segmentations_folder", tmp_path / "t",
        "--categories_json_file", tmp_path / "c.json",
    )  # fmt: skip
    categories = read_categories(SAMPLE / "gt.json")
    two_channel_to_panoptic(
        SAMPLE / "two_channel", SAMPLE / "gt.json", tmp_path / "o.json", tmp_path / "o", categories, OPTIONS
    )
    stuff = {c.id for c in categories if not c.isthing}
    for ours, theirs in zip(
        load(tmp_path / "o.json")["annotations"], load(tmp_path / "t.json")["annotations"], strict=True
    ):
        a = read_panoptic_png(tmp_path / "o" / ours["file_name"])
        b = read_panoptic_png(tmp_path / "t" / theirs["file_name"])
        pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1).T.tolist()
        assert len(pairs) == len(np.unique(a)) == len(np.unique(b)), "the same segments under other ids"
        names = [{s["id"]: s["category_id"] for s in side["segments_info"]} for side in (ours, theirs)]
        for x, y in pairs:
            assert names[0].get(x) == names[1].get(y)
            assert x == y or names[0][x] not in stuff, "stuff ids are the category's colour on both sides"


def test_names_of_other_machines_give_paths_of_this_one(tmp_path):
    masks = [(1, rect(0, 0, 5, 5), {})]
    for name, png in (("images\\a.b.jpg", "images/a.b.png"), ("C:\\set\\a.jpg", "a.png"), ("/set/a.jpg", "a.png")):
        source = instance_json(tmp_path / "i.json", masks, [{"id": 1, "file_name": name, "height": 20, "width": 30}])
        detection_to_panoptic(source, tmp_path / "p.json", tmp_path / "p", FORCE)
        assert load(tmp_path / "p.json")["annotations"][0]["file_name"] == png
        assert [path.relative_to(tmp_path / "p").as_posix() for path in (tmp_path / "p").rglob("*.png")] == [png]
    foreign = load(tmp_path / "p.json")
    foreign["annotations"][0]["file_name"] = "D:\\masks\\a.png"
    (tmp_path / "p.json").write_text(json.dumps(foreign))
    panoptic_to_semantic_png(tmp_path / "p.json", tmp_path / "p", tmp_path / "s", FORCE)
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["C:\\x\\a.jpg", "C:\\y\\a.jpg"], "would share the PNG a.png"),
        (["..\\a.jpg"], "leads out"),
        (["\ud800.jpg"], "(half a|no whole) character"),
    ],
)
def test_names_that_no_png_can_have(tmp_path, names, text):
    images = [{"id": i, "file_name": name, "height": 20, "width": 30} for i, name in enumerate(names, 1)]
    source = instance_json(tmp_path / "i.json", [(1, rect(0, 0, 5, 5), {})], images)
    with pytest.raises(DataError, match=text):
        detection_to_panoptic(source, tmp_path / "p.json", tmp_path / "p", OPTIONS)
    (tmp_path / "none.json").write_text("[]")
    with pytest.raises(DataError, match=text):
        results = tmp_path / "none.json"
        combine_predictions(
            results, results, source, tmp_path / "p.json", tmp_path / "p", read_categories(source), OPTIONS
        )
