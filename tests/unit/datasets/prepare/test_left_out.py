"""Objects that conversions leave out are named; nothing left is an error."""

import json

import pytest

from segfoundry.datasets.formats.panoptic import read_panoptic_png
from segfoundry.datasets.prepare.categories import coco_categories
from segfoundry.datasets.prepare.combine import CombineRules, combine_predictions
from segfoundry.datasets.prepare.from_panoptic import panoptic_to_detection
from segfoundry.datasets.prepare.left_out import EMPTY, HIDDEN, NO_MASK, OUTSIDE, SHARES, LostRow, left_out_lines
from segfoundry.datasets.prepare.to_panoptic import ConvertOptions, detection_to_panoptic
from segfoundry.utils.errors import DataError

OPTIONS = ConvertOptions(workers=0, force=True)
CATEGORIES = [{"id": 1, "name": "cup", "isthing": 1}, {"id": 2, "name": "wall", "isthing": 0}]
GOOD = [[5, 5, 25, 5, 25, 25, 5, 25]]
SHARED = [[0.06, 0.08, 0.3, 0.08, 0.3, 0.4, 0.06, 0.4]]
MAP = [[500000, 4500000, 500040, 4500000, 500040, 4500040]]
IMAGES = [{"id": 1, "file_name": "a.jpg", "height": 60, "width": 80}]


def convert(tmp_path, *segmentations, **options):
    rows = [
        {"id": n, "image_id": 1, "category_id": 1}
        | (value if isinstance(value, dict) and "size" not in value else {"segmentation": value})
        for n, value in enumerate(segmentations, 1)
    ]
    (tmp_path / "d.json").write_text(json.dumps({"images": IMAGES, "categories": CATEGORIES, "annotations": rows}))
    lost = detection_to_panoptic(tmp_path / "d.json", tmp_path / "p.json", tmp_path / "p", OPTIONS, **options)
    (annotation,) = json.loads((tmp_path / "p.json").read_text())["annotations"]
    return lost, annotation["segments_info"]


@pytest.mark.parametrize(
    ("segmentation", "cause"),
    [
        (SHARED, SHARES),
        ([[0.1, 0.1, 1, 0.1, 1, 1, 0.1, 1]], SHARES),
        (MAP, OUTSIDE),
        ([[-30, 1, -20, 1, -20, 9]], OUTSIDE),
        ([], NO_MASK),
        ({"size": [60, 80], "counts": [4800]}, EMPTY),
        ([[30.1, 30.1, 30.2, 30.1, 30.2, 30.2]], EMPTY),
    ],
)
def test_masks_without_a_pixel_are_named_with_their_cause(tmp_path, segmentation, cause):
    lost, segments = convert(tmp_path, GOOD, segmentation)
    assert lost == [LostRow("annotation 2 of a.jpg", cause)] and [s["area"] for s in segments] == [400]
    (tmp_path / "p.json").unlink()
    with pytest.raises(DataError, match=r"d\.json: nothing would be left(.|\n)*annotation 1 of a\.jpg"):
        convert(tmp_path, segmentation)
    assert not (tmp_path / "p.json").exists()


def test_hidden_objects_are_named(tmp_path):
    lost, segments = convert(tmp_path, GOOD, GOOD, overlap="order")
    assert lost == [LostRow("annotation 1 of a.jpg", HIDDEN)] and len(segments) == 1


def test_a_pixel_at_the_corner_is_no_share(tmp_path):
    lost, segments = convert(tmp_path, [[0, 0, 1, 0, 1, 1, 0, 1]], GOOD)
    assert not lost and [s["area"] for s in segments] == [1, 400]


FAULTS = [
    ({"segmentation": [], "bbox": [12.0, 15.0, 19.0, 20.0]}, r"boxes alone cannot.*\(id 2, image 1; 1 of 2"),
    ({"segmentation": [], "area": 384.0}, "boxes alone"),
    ({"bbox": [12.0, 15.0, 19.0, 20.0]}, "boxes alone"),
    ([[1e12, 5, 25, 5, 25, 25]], r"annotation 2 of a\.jpg: a polygon reaches 1e\+12"),
    ({"size": [60, 80], "counts": [5, 10]}, "15 of 4800 pixels"),
    ({"segmentation": GOOD, "iscrowd": "0"}, "`iscrowd` is the text '0'"),
    ({"segmentation": GOOD, "image_id": 9}, r"annotations\[1\] belongs to image 9"),
    ({"segmentation": GOOD, "category_id": 9}, "unknown category id 9"),
    ({"segmentation": GOOD, "category_id": [1]}, r"`category_id` is \[1\]"),
]


@pytest.mark.parametrize(("fault", "text"), FAULTS)
def test_faulty_annotations_end_the_conversion_or_are_skipped_and_named(tmp_path, fault, text):
    with pytest.raises(DataError, match=rf"d\.json: .*{text}.*; --skip-bad leaves such annotations out"):
        convert(tmp_path, GOOD, fault)
    (lost,), segments = convert(tmp_path, GOOD, fault, skip_bad=True)
    assert lost.cause == "" and [s["area"] for s in segments] == [400]
    with pytest.raises(DataError, match=r"nothing would be left(.|\n)*1 faulty"):
        convert(tmp_path, fault, skip_bad=True)


def test_lines_hold_number_cause_and_the_first_places():
    rows = [LostRow(f"annotation {n} of a.jpg", OUTSIDE) for n in range(7)] + [LostRow("d.json: broken")]
    first, second, third = left_out_lines(rows)
    assert first.startswith(f"7 segments were left out: {OUTSIDE} (annotation 0 of a.jpg, ")
    assert first.endswith("annotation 4 of a.jpg, ...)")
    assert (second, third) == ("1 faulty annotations were left out:", "  d.json: broken")


def combined(tmp_path, instances, stuff=(), **options):
    for name, content in (("i", list(instances)), ("s", list(stuff)), ("l", {"images": IMAGES})):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    files = [tmp_path / f"{name}.json" for name in "sil"]
    categories = coco_categories(CATEGORIES, "c", isthing=None)
    return combine_predictions(
        *files, tmp_path / "o.json", tmp_path / "o", categories, OPTIONS, CombineRules(min_stuff_area=1), **options
    )


def test_combined_results_of_other_images_and_faulty_ones_are_named(tmp_path):
    good = {"image_id": 1, "category_id": 1, "score": 0.9, "segmentation": GOOD}
    wrong = [good | {"segmentation": [[1, 2]]}, good | {"score": float("nan")}, good | {"category_id": 7}]
    assert combined(tmp_path, [good]) == []
    assert left_out_lines(combined(tmp_path, [good, good | {"image_id": "1"}])) == [
        "1 segments were left out: their image is not in the list of images (1 results of image 1)"
    ]
    for fault in wrong:
        with pytest.raises(DataError, match="--skip-bad"):
            combined(tmp_path, [good, fault])
    assert len(combined(tmp_path, [good, *wrong], skip_bad=True)) == 3
    assert (read_panoptic_png(tmp_path / "o" / "a.png") > 0).sum() == 400
    for nothing in ([good | {"score": 0.1}], [good | {"image_id": 2}]):
        with pytest.raises(DataError, match="nothing would be left"):
            combined(tmp_path, nothing)


def test_stuff_alone_has_no_things(tmp_path):
    _, segments = convert(tmp_path, {"segmentation": GOOD, "category_id": 2})
    assert len(segments) == 1
    with pytest.raises(DataError, match="nothing would be left of its 1 segments, all are stuff"):
        panoptic_to_detection(tmp_path / "p.json", tmp_path / "p", tmp_path / "t.json", OPTIONS, things_only=True)
