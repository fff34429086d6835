"""What of the built-in records decides published figures: names that texts are made of, and sizes of images."""

import pytest

from segfoundry.datasets.pipelines.base import find_pipeline
from segfoundry.datasets.records.catalog import find_data_set
from segfoundry.datasets.validate.findings import Findings
from segfoundry.datasets.validate.panoptic_json import check_panoptic_json
from segfoundry.utils.config.engine import load_mapping


@pytest.mark.parametrize(("theirs", "differs"), [("road, route", 0), ("road", 0), ("railroad, route", 1)])
def test_names_make_texts_and_a_json_may_list_more_synonyms(theirs, differs):
    record, _ = find_data_set("ade20k_panoptic_val")
    assert record.categories[6].name == "road" and not any("," in c.name for c in record.categories)
    findings = Findings()
    listed = {"categories": [{"id": 6, "name": theirs, "isthing": 0}], "images": [], "annotations": []}
    check_panoptic_json(record, record.splits["val"], listed, findings)
    assert [f.code for f in findings.sorted()] == ["category-differs"] * differs


@pytest.mark.parametrize(
    ("name", "image", "expected", "bicubic"),
    [
        ("bdd10k_val_sem_seg", (720, 1280), (800, 1422), True),
        ("bdd10k_40_panoptic_val", (720, 1280), (800, 1422), True),
        ("scannet_21_val_seg", (968, 1296), (512, 685), True),
        ("sunrgbd_37_val_seg", (530, 730), (512, 705), True),
        ("pascalvoc_val_Point", (300, 600), (667, 1333), True),
        ("cityscapes_fine_sem_seg_val", (1024, 2048), (1024, 2048), False),
        ("refcocog_val_umd", (480, 640), (512, 683), False),
        ("coco_2017_val_panoptic", (480, 640), (800, 1067), False),
    ],
)
def test_images_are_resized_as_in_the_published_evaluation(name, image, expected, bicubic):
    cfg = load_mapping({"MODEL.NAME": "seem_model_v1"}).typed
    resize = find_pipeline(cfg).eval_resize(find_data_set(name)[0])
    assert (resize.output_size(*image), resize.bicubic) == (expected, bicubic)
