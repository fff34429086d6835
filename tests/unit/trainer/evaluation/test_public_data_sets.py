"""Prompted evaluation of public data sets, on miniatures of their folders: from alias to figures."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from segfoundry.datasets.records.catalog import find_record
from segfoundry.trainer.evaluation.measure import measure
from segfoundry.trainer.machine.distributed import Processes
from segfoundry.trainer.machine.launch import Ranks
from segfoundry.trainer.machine.precision import Precision
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.masks import encode_masks

from ....support.promptable import Oracle

CPU = torch.device("cpu")


def run(name, model, **keys):
    keys = {"MODEL.NAME": "seem_model_v1", "DATALOADER.NUM_WORKERS": 0, "TEST.BATCH_SIZE_TOTAL": 2} | keys
    processes = Processes(Ranks(), CPU)
    return measure(
        model, *find_record(name, "val"), load_mapping(keys).cfg, processes=processes, precision=Precision("fp32", CPU)
    )


@pytest.fixture
def voc(tmp_path, monkeypatch):
    """Two images of Pascal VOC: seven objects with a boundary around each, and one object."""
    root = tmp_path / "PascalVOC"
    for folder in ("JPEGImages", "SegmentationObject", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for name, count in (("2007_000033", 7), ("2007_000042", 1)):
        objects = np.zeros((60, 100), np.uint8)
        for number in range(count):
            objects[10:40, 12 * number + 4 : 12 * number + 14] = 255
            objects[12:38, 12 * number + 6 : 12 * number + 12] = number + 1
        classes = np.where((objects > 0) & (objects < 255), 15, objects).astype(np.uint8)
        for folder, labels in (("SegmentationObject", objects), ("SegmentationClass", classes)):
            picture = Image.fromarray(labels, "P")
            picture.putpalette([v for i in range(256) for v in (i, 255 - i, i // 2)])
            picture.save(root / folder / f"{name}.png")
        Image.fromarray(np.zeros((60, 100, 3), np.uint8)).save(root / "JPEGImages" / f"{name}.jpg")
    (root / "ImageSets/Segmentation/val.txt").write_text("2007_000033\n2007_000042\n")
    monkeypatch.setenv("DATASET", str(tmp_path))
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)


@pytest.mark.parametrize("start", ["Point", "Box", "Scribble", "Polygon", "Circle"])
def test_pascal_voc_by_alias(voc, start):
    model = Oracle(dict.fromkeys(range(1, 8), 0.5))
    summary = run(f"pascalvoc_val_{start}", model)
    assert list(summary) == ["interactive"]
    assert summary["interactive"]["counts"] == {"images": 2, "objects": 8}
    assert summary["interactive"]["noc@0.5"] == 1.0 and summary["interactive"]["noc@0.9"] == 2.0
    assert summary["interactive"]["iou_by_click"]["20"] == 100.0
    assert model.calls.count("encode") == 1  # both images have one size


def test_pascal_voc_semantic_with_ignored_boundaries(voc):
    summary = run("pascalvoc_val_Point", Oracle({}), **{"TEST.EVALUATORS": ["semantic"]})
    assert summary["semantic"]["pACC"] == 100.0
    assert summary["semantic"]["counts"]["person"]["TP"] == 8 * 26 * 6


def test_refcoco_as_json(tmp_path, monkeypatch):
    root = tmp_path / "coco"
    (root / "train2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(root / "train2017" / "000000000009.jpg")
    mask = np.zeros((40, 60), bool)
    mask[5:20, 10:30] = True
    polygon = [[5.0, 22.0, 55.0, 22.0, 55.0, 38.0, 5.0, 38.0]]
    annotations = [
        {"image_id": 9, "segmentation": encode_masks(mask[None])[0], "sentences": [{"raw": "A box"}, {"raw": "it"}]},
        {"image_id": 9, "segmentation": polygon, "sentences": [{"raw": "the lower one"}]},
    ]
    images = [{"id": 9, "file_name": "COCO_train2014_000000000009.jpg", "height": 40, "width": 60}]
    path = root / "annotations" / "refcocog_umd_val.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    monkeypatch.setenv("DATASET", str(tmp_path))
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    summary = run("refcocog_val_umd", Oracle({}))["referring"]
    assert summary["counts"] == {"images": 1, "phrases": 2, "no_target": 0}
    assert summary["cIoU"] == 100.0 and summary["precision@0.9"] == 100.0
    every = run("refcocog_val_umd", Oracle({}), **{"TEST.SENTENCES": "all"})["referring"]
    assert every["counts"]["phrases"] == 3
