"""Scoring panoptic files: real COCO data, the other implementations, and faulty files."""

import json
import shutil

import numpy as np
import pytest

from segfoundry.datasets.formats.panoptic import read_panoptic_png, write_panoptic_png
from segfoundry.datasets.metrics.panoptic_quality import PanopticProtocol
from segfoundry.datasets.score.score_panoptic import PanopticFiles, panoptic_table, score_panoptic
from segfoundry.utils.errors import DataError

REFERENCE = PanopticProtocol(reference_area=True)


def sides(root, name="pred_damaged"):
    return PanopticFiles(root / "gt.json", root / "gt"), PanopticFiles.at(root / f"{name}.json")


@pytest.fixture
def copy(coco_sample, tmp_path):
    """A copy of the sample whose files a test may damage."""
    root = shutil.copytree(coco_sample.root, tmp_path / "sample")
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755)
    return root


def edit(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize("name", ["pred_exact", "pred_damaged"])
@pytest.mark.parametrize(
    "options", [{}, {"workers": 3}, {"protocol": REFERENCE}, {"protocol": REFERENCE, "accelerate": False}]
)
def test_real_images_give_the_known_figures(coco_sample, name, options):
    expected = coco_sample.expected[name]
    result = score_panoptic(*sides(coco_sample.root, name), **options)
    for group in ("All", "Things", "Stuff"):
        if group in expected:
            assert result[group]["n"] == expected[group]["n"]
            assert {k: result[group][k] for k in ("pq", "sq", "rq")} == pytest.approx(
                {k: expected[group][k] for k in ("pq", "sq", "rq")}, abs=1e-12
            )
    for category, raw in expected["raw"].items():
        counts = result["counts"][int(category)]
        assert {k: counts[k] for k in ("tp", "fp", "fn")} == {k: raw[k] for k in ("tp", "fp", "fn")}
        assert counts["iou_sum"] == pytest.approx(raw["iou_sum"], abs=1e-12)
    for category, figures in expected["per_class"].items():
        assert result["per_class"][int(category)] == pytest.approx(figures, abs=1e-12)
    occurring = [c for c in result["counts"].values() if c["tp"] + c["fp"] + c["fn"]]
    assert len(occurring) == result["All"]["n"]


def test_worker_count_changes_nothing(coco_sample):
    assert score_panoptic(*sides(coco_sample.root)) == score_panoptic(*sides(coco_sample.root), workers=4)


def test_equals_panopticapi(coco_sample):
    evaluation = pytest.importorskip("panopticapi.evaluation")
    root = coco_sample.root
    truth = json.loads((root / "gt.json").read_text())
    predicted = {a["image_id"]: a for a in json.loads((root / "pred_damaged.json").read_text())["annotations"]}
    pairs = [(a, predicted[a["image_id"]]) for a in truth["annotations"]]
    things = {c["id"]: c for c in truth["categories"]}
    stat = evaluation.pq_compute_single_core(0, pairs, str(root / "gt"), str(root / "pred_damaged"), things)
    result = score_panoptic(*sides(root), protocol=REFERENCE, accelerate=False)
    for category in things:
        counts = result["counts"][category]
        theirs = stat[category]
        assert (counts["tp"], counts["fp"], counts["fn"]) == (theirs.tp, theirs.fp, theirs.fn)
    for group, isthing in (("All", None), ("Things", True), ("Stuff", False)):
        average, _ = stat.pq_average(things, isthing=isthing)
        assert result[group] == pytest.approx(average, abs=1e-12)


def test_hotcoco_counts_the_same(coco_sample):
    pytest.importorskip("hotcoco")
    fast = score_panoptic(*sides(coco_sample.root), protocol=REFERENCE)
    own = score_panoptic(*sides(coco_sample.root), protocol=REFERENCE, accelerate=False)
    assert (fast["protocol"]["engine"], own["protocol"]["engine"]) == ("hotcoco", "own")
    assert fast["All"] == pytest.approx(own["All"], abs=1e-12)
    assert fast["per_class"].keys() == own["per_class"].keys()


def test_wrong_areas_are_recounted_with_a_warning_or_believed(copy):
    def shrink(data):
        data["annotations"][0]["segments_info"][0]["area"] = 10

    exact = score_panoptic(*sides(copy, "pred_exact"))
    edit(copy / "gt.json", shrink)
    with pytest.warns(UserWarning, match="1 ground-truth areas differ"):
        recounted = score_panoptic(*sides(copy, "pred_exact"))
    assert recounted["All"] == exact["All"]
    believed = score_panoptic(*sides(copy, "pred_exact"), protocol=REFERENCE)
    assert believed["All"]["sq"] > 1


@pytest.mark.parametrize("accelerate", [True, False])
def test_an_area_of_nothing_is_counted_again_or_refused(copy, accelerate):
    edit(copy / "gt.json", lambda d: d["annotations"][0]["segments_info"][0].update(area=0))
    with pytest.warns(UserWarning, match="1 ground-truth areas differ"):
        score_panoptic(*sides(copy), accelerate=accelerate)
    with pytest.raises(DataError, match=r"gt\.json: image \d+: segment \d+ has the area 0"):
        score_panoptic(*sides(copy), protocol=REFERENCE, accelerate=accelerate)


def test_missing_area_and_iscrowd_and_text_ids_are_fine(copy):
    def strip(data):
        for annotation in data["annotations"]:
            annotation["image_id"] = f"x{annotation['image_id']}"
            for segment in annotation["segments_info"]:
                segment.pop("area", None)
                if not segment.get("iscrowd"):
                    segment.pop("iscrowd", None)

    before = score_panoptic(*sides(copy))
    edit(copy / "gt.json", strip), edit(copy / "pred_damaged.json", strip)
    for protocol in (PanopticProtocol(), REFERENCE):
        assert score_panoptic(*sides(copy), protocol=protocol)["All"] == before["All"]


def test_things_only_data_is_absent_stuff(copy):
    edit(copy / "gt.json", lambda d: [c.update(isthing=1) for c in d["categories"]])
    result = score_panoptic(*sides(copy))
    assert result["Stuff"] == {"pq": None, "sq": None, "rq": None, "n": 0}
    assert panoptic_table(result, {1: "person"}).splitlines()[4].split() == ["Stuff", "-", "-", "-", "0"]


def test_predictions_for_other_images_and_order_do_not_matter(copy):
    before = score_panoptic(*sides(copy))
    edit(copy / "gt.json", lambda d: d["annotations"].pop())
    one = score_panoptic(*sides(copy))
    assert one["images"] == 1 and one != before
    edit(copy / "pred_damaged.json", lambda d: d["annotations"].reverse())
    assert score_panoptic(*sides(copy)) == one


FAULTS = [
    (lambda d: d["annotations"].pop(), "no prediction for image 439180"),
    (lambda d: d["annotations"].append(d["annotations"][0]), "image 142238 is listed twice"),
    (lambda d: d["annotations"][0]["segments_info"].pop(), "image 142238 .*in the picture but not in the list"),
    (lambda d: d["annotations"][0]["segments_info"][0].update(category_id=4711), "142238: segment .*category 4711"),
    (
        lambda d: d["annotations"][0]["segments_info"].append(dict(d["annotations"][0]["segments_info"][0])),
        "listed twice",
    ),
    (lambda d: d["annotations"][0]["segments_info"].append({"id": 3, "category_id": 1}), "id 3 is in the list"),
    (lambda d: d["annotations"][0].update(file_name="nix.png"), "nix.png: no such"),
]


@pytest.mark.parametrize(("change", "text"), FAULTS)
@pytest.mark.parametrize("protocol", [PanopticProtocol(), REFERENCE])
def test_faulty_predictions_name_image_and_id(copy, change, text, protocol):
    edit(copy / "pred_damaged.json", change)
    with pytest.raises(DataError, match=text):
        score_panoptic(*sides(copy), protocol=protocol)


def test_other_size_names_the_image(copy):
    path = copy / "pred_damaged" / "000000142238.png"
    write_panoptic_png(path, np.ascontiguousarray(read_panoptic_png(path)[:, :-2]))
    with pytest.raises(DataError, match=r"image 142238 .*the prediction is"):
        score_panoptic(*sides(copy))


def test_ground_truth_category_that_is_not_defined_is_an_error(copy):
    edit(copy / "gt.json", lambda d: d["categories"].pop(0))
    with pytest.raises(DataError, match="category 1, which the ground truth does not define"):
        score_panoptic(*sides(copy))


def test_unknown_image_ids_are_joined_by_the_names_of_the_pngs(copy):
    expected = score_panoptic(*sides(copy))

    def rename(data):
        for entry in [*data["annotations"], *data.get("images", [])]:
            key = "image_id" if "image_id" in entry else "id"
            entry[key] = f"picture {entry[key]}"

    edit(copy / "pred_damaged.json", rename)
    for protocol in (PanopticProtocol(), REFERENCE):
        with pytest.warns(UserWarning, match="joined by the names"):
            result = score_panoptic(*sides(copy), protocol=protocol)
        assert result["All"] == expected["All"]
    edit(copy / "pred_damaged.json", lambda data: data["annotations"].pop())
    with pytest.raises(DataError, match="2 of 2 images"):
        score_panoptic(*sides(copy))
