"""The verb ``score`` as a user calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segfoundry.datasets.formats.panoptic import write_panoptic_png
from segfoundry.trainer.cli.main import main
from segfoundry.utils.image_io import write_png
from segfoundry.utils.masks import encode_masks

ROOT = Path(__file__).resolve().parents[2]
LABELS = np.repeat(np.array([[0, 1, 2, 2]], np.uint8), 4, axis=0)


@pytest.fixture
def files(tmp_path):
    """One image, right but for a missed cup, as files of all three kinds."""
    truth = LABELS.astype(np.int32) * 70000 + 1
    found = np.where(LABELS == 1, 0, truth)
    segments = lambda ids, cats: [{"id": i, "category_id": c} for i, c in zip(ids, cats, strict=True)]  # noqa: E731
    write_panoptic_png(tmp_path / "gt/a.png", truth)
    write_panoptic_png(tmp_path / "pred/a.png", found)
    categories = [{"id": i, "name": n, "isthing": i == 5} for i, n in ((4, "wall"), (5, "cup"), (6, "sky"))]
    entry = {"image_id": 1, "file_name": "a.png"}
    gt = {**entry, "segments_info": segments((1, 70001, 140001), (4, 5, 6))}
    pred = {**entry, "segments_info": segments((1, 140001), (4, 6))}
    (tmp_path / "gt.json").write_text(json.dumps({"annotations": [gt], "categories": categories}))
    (tmp_path / "pred.json").write_text(json.dumps({"annotations": [pred]}))
    write_png(tmp_path / "sem_gt/a.png", LABELS)
    write_png(tmp_path / "sem_pred/a.png", np.where(LABELS == 1, 0, LABELS).astype(np.uint8))
    code = encode_masks((LABELS == 1)[None])[0]
    instance = {"image_id": 1, "category_id": 5, "segmentation": code}
    image = {"id": 1, "height": 4, "width": 4}
    (tmp_path / "inst.json").write_text(
        json.dumps({"images": [image], "annotations": [instance], "categories": categories})
    )
    (tmp_path / "results.json").write_text(json.dumps([{**instance, "score": 0.5}]))
    return tmp_path


def score(*words):
    return main(["score", *map(str, words)])


def test_panoptic_prints_a_table_and_writes_the_known_layout(files, capsys):
    out = files / "out" / "metrics.json"
    assert score("panoptic", "--gt_json", files / "gt.json", "--pred_json", files / "pred.json", "--output", out) == 0
    assert "Things" in (text := capsys.readouterr().out) and "cup" in text and str(out) in text
    result = json.loads(out.read_text())
    assert result["All"] == {"pq": 2 / 3, "sq": 2 / 3, "rq": 2 / 3, "n": 3}
    assert result["Stuff"] == {"pq": 1.0, "sq": 1.0, "rq": 1.0, "n": 2}
    assert result["per_class"]["5"] == {"pq": 0.0, "sq": 0.0, "rq": 0.0}
    assert result["counts"]["5"] == {"tp": 0, "fp": 0, "fn": 1, "iou_sum": 0.0}
    assert result["unit"] == "fraction" and set(result["ground_truth_sha256"]) == {"json", "png"}


def test_panoptic_folders_may_be_named(files):
    (files / "gt").rename(files / "elsewhere")
    words = ["panoptic", "--gt_json", files / "gt.json", "--pred_json", files / "pred.json", "--workers", 2]
    assert score(*words) == 2
    assert score(*words, "--gt_folder", files / "elsewhere", "--pred_folder", files / "pred") == 0


def test_semantic_by_number_of_classes_and_by_record(files, capsys):
    out = files / "m.json"
    words = ["semantic", "--gt_folder", files / "sem_gt", "--pred_folder", files / "sem_pred", "--output", out]
    assert score(*words, "--num_classes", 3, "--boundary") == 0
    result = json.loads(out.read_text())
    assert result["mIoU"] == pytest.approx((0.5 + 0 + 1) / 3) and result["IoU-c"]["2"] == 1.0
    rows = [f"  - {{id: {i}, name: {n}, isthing: false}}" for i, n in enumerate(("wall", "cup", "sky"), 1)]
    split = "splits: {val: {images: sem_gt, semantic: sem_gt}}"
    (files / "r.yaml").write_text("\n".join(["categories:", *rows, split]))
    assert score(*words, "--record", files / "r.yaml") == 0
    assert json.loads(out.read_text())["IoU-c"] == {"wall": 0.5, "cup": 0.0, "sky": 1.0}


def test_instances(files, capsys):
    out = files / "m.json"
    words = ["instances", "--gt_json", files / "inst.json", "--pred_json", files / "results.json", "--output", out]
    assert score(*words) == score(*words, "--no_accelerator") == 0
    result = json.loads(out.read_text())
    assert result["AP"] == pytest.approx(1.0) and result["APl"] is None


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["panoptic", "--gt_json", "x.json"], "score panoptic needs --pred_json"),
        (["panoptic", "--gt_json", "x.json", "--pred_json", "y.json"], "x.json: no such file"),
        (["panoptic", "--gt_json", "x", "--pred_json", "y", "--num_classes", "3"], "does not read --num_classes"),
        (["semantic", "--gt_folder", "x", "--num_classes", "3"], "either --pred_folder or --pred_json"),
        (["semantic", "--gt_folder", "x", "--pred_folder", "y"], "either --record or --num_classes"),
        (["semantic", "--gt_folder", "x", "--pred_folder", "y", "--num_classes", "0"], "expected 1..255"),
        (["semantic", "--gt_folder", "nix", "--pred_folder", "y", "--num_classes", "3"], "nix: no such folder"),
        (["instances", "--gt_json", "x", "--pred_json", "y", "--workers", "0"], "--workers is 0"),
        (["panoptik"], "panoptik"),
        (["panoptic", "--pred_jsn", "x"], "--pred_json"),
    ],
)
def test_bad_input_is_one_line_and_code_2(capsys, words, text):
    assert score(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and text in error and "Traceback" not in error


def test_a_failed_run_leaves_the_old_output(files):
    out = files / "m.json"
    out.write_text("old")
    (files / "pred" / "a.png").unlink()
    assert score("panoptic", "--gt_json", files / "gt.json", "--pred_json", files / "pred.json", "--output", out) == 2
    assert out.read_text() == "old"


def test_scoring_needs_no_torch(files):
    code = (
        "import sys; from segfoundry.trainer.cli.main import main\n"
        "for task, gt, pred in (('panoptic', 'gt', 'pred'), ('instances', 'inst', 'results')):\n"
        "    assert main(['score', task, '--gt_json', gt + '.json', '--pred_json', pred + '.json']) == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=files, capture_output=True)


def test_a_result_replaces_only_an_earlier_result(files, capsys):
    words = ["panoptic", "--gt_json", files / "gt.json", "--pred_json", files / "pred.json", "--output"]
    before = (files / "gt.json").read_bytes()
    assert score(*words, files / "gt.json") == 2
    assert "something else than an earlier result" in capsys.readouterr().err
    assert (files / "gt.json").read_bytes() == before
    assert score(*words, files) == 2 and "is a folder" in capsys.readouterr().err
    assert score(*words, files / "m.json") == score(*words, files / "m.json") == 0


@pytest.fixture
def phrases(tmp_path):
    """A data set of two images with phrases, in a grounding JSON."""
    for name in ("000000000001", "000000000002"):
        write_png(tmp_path / f"images/{name}.png", np.zeros((4, 4, 3), np.uint8))
    cup, sky = encode_masks(np.stack([LABELS == 1, LABELS == 2]))
    images = [{"id": n, "file_name": f"{n:012d}.png", "height": 4, "width": 4} for n in (1, 2)]
    annotation = lambda n, image, code, *texts: {  # noqa: E731
        "id": n, "image_id": image, "segmentation": code, "sentences": [{"raw": text} for text in texts]
    }  # fmt: skip
    annotations = [annotation(1, 1, cup, "a cup", "the cup"), annotation(2, 2, sky, "the sky")]
    (tmp_path / "grounding.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    categories = [{"id": i, "name": n, "isthing": i == 5} for i, n in ((4, "wall"), (5, "cup"), (6, "sky"))]
    split = {"images": "images", "grounding": "grounding.json"}
    (tmp_path / "set.yaml").write_text(json.dumps({"categories": categories, "splits": {"val": split}}))
    rows = [
        {"image_id": 1, "object": 0, "text": "a cup", "segmentation": cup},
        {"image_id": 1, "object": 0, "text": "the cup", "segmentation": sky},
        {"image_id": 2, "object": 0, "text": "the sky", "segmentation": encode_masks((LABELS > 0)[None])[0]},
    ]
    (tmp_path / "found.json").write_text(json.dumps(rows))
    return tmp_path


def test_referring_scores_the_first_sentence_or_all(phrases, capsys):
    words = ["referring", "--record", phrases / "set.yaml", "--pred_json", phrases / "found.json"]
    out = phrases / "metrics.json"
    assert score(*words, "--output", out) == 0
    assert "P@0.5" in capsys.readouterr().out
    first = json.loads(out.read_text())
    assert first["mIoU"] == pytest.approx((1 + 8 / 12) / 2, abs=1e-5) and first["cIoU"] == 12 / 16
    assert first["counts"] == {"images": 2, "phrases": 2, "no_target": 0} and first["unit"] == "fraction"
    assert set(first["ground_truth_sha256"]) == {"grounding.json"}
    assert score(*words, "--sentences", "all", "--output", out) == 0
    every = json.loads(out.read_text())
    assert every["counts"]["phrases"] == 3 and every["mIoU"] == pytest.approx((1 + 0 + 8 / 12) / 3, abs=1e-5)


def test_a_phrase_without_a_mask_is_named(phrases, capsys):
    rows = json.loads((phrases / "found.json").read_text())[:2]
    (phrases / "found.json").write_text(json.dumps(rows))
    assert score("referring", "--record", phrases / "set.yaml", "--pred_json", phrases / "found.json") == 2
    assert "no mask of 'the sky' (object 0 of image 2)" in capsys.readouterr().err


def test_interactive_figures_come_from_the_overlaps(tmp_path, capsys):
    rows = [{"image_id": 1, "object": 0, "iou": [0.5, 0.9]}, {"image_id": 1, "object": 1, "iou": [0.85, 0.85]}]
    (tmp_path / "clicks.json").write_text(json.dumps({"max_clicks": 2, "iou_click": 2, "objects": rows}))
    out = tmp_path / "metrics.json"
    assert score("interactive", "--pred_json", tmp_path / "clicks.json", "--output", out) == 0
    assert "NoC" in capsys.readouterr().out
    result = json.loads(out.read_text())
    assert result["noc@0.85"] == 1.5 and result["noc@0.9"] == 2.0 and result["nof@0.9"] == 1
    assert result["miou@iter2"] == pytest.approx(87.5) and result["counts"] == {"images": 1, "objects": 2}
