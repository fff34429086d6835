"""The three evaluators in memory: merging, absent ground truth, and their files against the verb ``score``."""

import json
import pickle

import numpy as np
import pytest

from segfoundry.datasets.evaluators.instance import InstanceEvaluator
from segfoundry.datasets.evaluators.panoptic import PanopticEvaluator
from segfoundry.datasets.evaluators.semantic import SemanticEvaluator
from segfoundry.datasets.formats.panoptic import write_panoptic_png
from segfoundry.datasets.score.score_instances import score_instances
from segfoundry.datasets.score.score_panoptic import PanopticFiles, score_panoptic
from segfoundry.datasets.score.score_semantic import score_semantic
from segfoundry.utils.errors import DataError
from segfoundry.utils.image_io import write_png
from segfoundry.utils.masks import encode_masks
from segfoundry.utils.structures.results import InstanceResult, Prediction

ALL = (PanopticEvaluator, SemanticEvaluator, InstanceEvaluator)


def filled(evaluator, images):
    for sample, prediction in images:
        evaluator.process(sample, prediction)
    return evaluator


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("cuts", [(7,), (3, 7), (0, 2, 7), (1, 2, 3, 7)])
def test_shards_merge_exactly(kind, cuts, categories, images):
    whole = filled(kind(categories), images)
    starts = (0, *cuts[:-1])
    states = [filled(kind(categories), images[a:b]).state() for a, b in zip(starts, cuts, strict=True)]
    merged = kind(categories)
    merged.merge([pickle.loads(pickle.dumps(s)) for s in states])
    assert json.dumps(merged.summarize()) == json.dumps(whole.summarize())


@pytest.mark.parametrize("kind", ALL)
def test_states_hold_no_full_masks(kind, categories, images):
    state = filled(kind(categories), images * 20).state()
    assert len(pickle.dumps(state)) < 140 * 24 * 32 * 4


@pytest.mark.parametrize("kind", ALL)
def test_summary_is_plain_and_table_shows_absent_categories(kind, categories, images):
    evaluator = filled(kind(categories), images)
    summary = evaluator.summarize()
    json.dumps(summary, allow_nan=False)
    assert all(isinstance(v, (float, int, dict, type(None))) for v in summary.values())
    assert "wall" in evaluator.table(summary) or kind is InstanceEvaluator
    assert evaluator.protocol()["metric_version"] == 1


@pytest.mark.parametrize("kind", ALL)
def test_nothing_evaluated_is_absent_not_zero(kind, categories):
    summary = kind(categories).summarize()
    name = dict(zip(ALL, ("PQ", "mIoU", "AP"), strict=True))[kind]
    assert summary[name] is None
    assert "-" in kind(categories).table(summary)


@pytest.mark.parametrize("kind", ALL)
def test_missing_ground_truth_names_the_image(kind, categories, images):
    sample, prediction = images[0]
    sample.panoptic = sample.semantic = None
    with pytest.raises(DataError, match=r"image 100 \(0.jpg\) has no"):
        kind(categories).process(sample, prediction)


def test_wrong_sizes_name_the_image(categories, images):
    sample, prediction = images[0]
    prediction.semantic = prediction.semantic[:-1]
    prediction.panoptic.ids = prediction.panoptic.ids[:-1]
    prediction.instances.masks = prediction.instances.masks[:, :-1]
    for kind in ALL:
        with pytest.raises(DataError, match="image 100"):
            kind(categories).process(sample, prediction)


def test_perfect_predictions_score_100(categories, images):
    evaluators = [kind(categories) for kind in ALL]
    for sample, _ in images:
        things = [s for s in sample.panoptic.segments if s.isthing and not s.iscrowd]
        masks = np.stack([sample.panoptic.ids == s.id for s in things])
        found = InstanceResult(masks, np.array([s.category for s in things]), np.ones(len(things), np.float32))
        labels = np.where(sample.semantic == 255, 0, sample.semantic)
        for evaluator in evaluators:
            evaluator.process(sample, Prediction(labels, sample.panoptic, found))
    panoptic, semantic, instance = (e.summarize() for e in evaluators)
    assert panoptic["PQ"] == panoptic["PQ_th"] == panoptic["PQ_st"] == 100
    assert semantic["mIoU"] == semantic["pACC"] == 100
    assert instance["AP"] == instance["bbox"]["AP"] == pytest.approx(100)
    assert panoptic["per_class"]["sky"]["PQ"] is None and semantic["IoU-c"]["sky"] is None
    assert "wall" not in instance["AP-c"]


def test_written_panoptic_files_score_the_same(tmp_path, categories, images):
    evaluator = filled(PanopticEvaluator(categories), reversed(images))
    summary = evaluator.summarize()
    assert [p.name for p in evaluator.write(tmp_path)] == ["predictions.json", "predictions"]
    truth = {
        "images": [],
        "annotations": [],
        "categories": [{"id": c.id, "isthing": int(c.isthing)} for c in categories],
    }
    for sample, _ in images:
        write_panoptic_png(tmp_path / "gt" / f"{sample.index}.png", sample.panoptic.ids)
        segments = [
            {"id": s.id, "category_id": categories[s.category].id, "iscrowd": int(s.iscrowd)}
            for s in sample.panoptic.segments
        ]
        present = set(np.unique(sample.panoptic.ids).tolist())
        segments = [s for s in segments if s["id"] in present]
        entry = {"image_id": sample.image_id, "file_name": f"{sample.index}.png", "segments_info": segments}
        truth["annotations"].append(entry)
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    scored = score_panoptic(PanopticFiles.at(tmp_path / "gt.json"), PanopticFiles.at(tmp_path / "predictions.json"))
    assert 100 * scored["All"]["pq"] == summary["PQ"]
    assert scored["counts"][20]["tp"] == summary["per_class"]["cup"]["TP"]
    written = json.loads((tmp_path / "predictions.json").read_text())["annotations"]
    assert [a["image_id"] for a in written] == [s.image_id for s, _ in images]


def test_image_ids_that_are_paths_stay_inside_the_folder(tmp_path, categories, images):
    sample, prediction = images[0]
    sample.image_id = "../../etc/a b"
    evaluator = PanopticEvaluator(categories)
    evaluator.process(sample, prediction)
    evaluator.write(tmp_path / "out")
    files = [p.relative_to(tmp_path) for p in tmp_path.rglob("*.png")]
    assert len(files) == 1 and files[0].parts[:2] == ("out", "predictions") and len(files[0].parts) == 3


def test_written_semantic_results_score_the_same(tmp_path, categories, images):
    evaluator = filled(SemanticEvaluator(categories, boundary=True), images)
    summary = evaluator.summarize()
    (path,) = evaluator.write(tmp_path)
    for sample, _ in images:
        write_png(tmp_path / "gt" / f"{sample.index}.png", sample.semantic.astype(np.uint8))
    scored = score_semantic(tmp_path / "gt", path, categories, boundary=True, workers=2)
    for name in ("mIoU", "mIoU_gt", "fwIoU", "mACC", "pACC", "BoundaryIoU"):
        assert 100 * scored[name] == summary[name]
    assert scored["counts"] == summary["counts"]


def test_written_instances_score_the_same(tmp_path, categories, images):
    evaluator = filled(InstanceEvaluator(categories), images)
    summary = evaluator.summarize()
    (path,) = evaluator.write(tmp_path)
    annotations = []
    for sample, _ in images:
        for s in sample.panoptic.segments:
            mask = sample.panoptic.ids == s.id
            if s.isthing and mask.any():
                annotations.append(
                    {
                        "image_id": sample.image_id,
                        "category_id": categories[s.category].id,
                        "segmentation": encode_masks(mask[None])[0],
                        "iscrowd": int(s.iscrowd),
                    }
                )
    truth = {
        "images": [{"id": s.image_id, "height": 24, "width": 32} for s, _ in images],
        "annotations": annotations,
        "categories": [{"id": c.id, "name": c.name} for c in categories if c.isthing],
    }
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    scored = score_instances(tmp_path / "gt.json", path)
    assert 100 * scored["AP"] == pytest.approx(summary["AP"], abs=1e-12)
    assert 100 * scored["bbox"]["AP50"] == pytest.approx(summary["bbox"]["AP50"], abs=1e-12)


def test_more_categories_than_eight_bits_hold_are_refused(categories):
    with pytest.raises(DataError, match="at most 255"):
        SemanticEvaluator(categories * 64)
