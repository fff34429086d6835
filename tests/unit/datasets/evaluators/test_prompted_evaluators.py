"""Clicks and phrases: hand-made overlaps, exact figures."""

import json

import numpy as np
import pytest

from segfoundry.datasets.evaluators.interactive import InteractiveEvaluator, click_summary
from segfoundry.datasets.evaluators.referring import ReferringEvaluator
from segfoundry.datasets.score.score_prompted import score_interactive
from segfoundry.utils.errors import DataError
from segfoundry.utils.structures.results import Prediction
from segfoundry.utils.structures.samples import ObjectTruth, PhraseTruth, Sample


def sample(index=0, *, objects=None, phrases=None, size=(4, 5)):
    return Sample(
        np.zeros((0, 0, 3), np.uint8), index, index + 10, f"{index}.png", size, objects=objects, phrases=phrases
    )


def clicked(index, *rows):
    labels = np.zeros((4, 5), np.int16)
    objects = ObjectTruth(labels, labels, [np.zeros(1, np.int64)] * len(rows))
    return sample(index, objects=objects), Prediction(click_ious=np.array(rows, np.float64).reshape(len(rows), 4))


CLICKS = [clicked(0, [0.4, 0.5, 0.86, 0.95], [0.8, 0.8, 0.8, 0.8]), clicked(1), clicked(2, [0.0, 0.0, 0.1, 0.2])]


def gathered(evaluator, pairs):
    for pair in pairs:
        evaluator.process(*pair)
    return evaluator


def test_clicks_until_each_threshold_and_objects_that_fail():
    summary = gathered(InteractiveEvaluator(max_clicks=4), CLICKS).summarize()
    assert summary["noc@0.5"] == (2 + 1 + 4) / 3
    assert summary["noc@0.8"] == (3 + 1 + 4) / 3
    assert summary["noc@0.85"] == (3 + 4 + 4) / 3
    assert summary["noc@0.9"] == (4 + 4 + 4) / 3
    assert [summary[f"nof@{t}"] for t in ("0.5", "0.8", "0.85", "0.9")] == [1, 1, 2, 2]
    assert summary["counts"] == {"images": 3, "objects": 3}
    assert summary["miou@iter1"] == pytest.approx(100 * (0.4 + 0.8) / 3)
    assert list(summary["iou_by_click"]) == ["1", "2", "3", "4"]
    assert summary["iou_by_click"]["4"] == pytest.approx(100 * (0.95 + 0.8 + 0.2) / 3)


def test_the_reported_click_is_named():
    summary = gathered(InteractiveEvaluator(max_clicks=4, iou_click=3), CLICKS).summarize()
    assert summary["miou@iter3"] == summary["iou_by_click"]["3"] and "miou@iter1" not in summary


def test_no_object_gives_no_figure():
    summary = gathered(InteractiveEvaluator(max_clicks=4), [clicked(0)]).summarize()
    assert summary["noc@0.9"] is None and summary["nof@0.9"] is None and summary["iou_by_click"]["1"] is None
    assert "-" in InteractiveEvaluator(max_clicks=4).table(summary)


@pytest.mark.parametrize("make", [lambda: InteractiveEvaluator(max_clicks=4), ReferringEvaluator])
def test_shards_of_any_order_give_the_same_bits(make):
    rng = np.random.default_rng(0)
    pairs = [clicked(i, *rng.random((3, 4))) for i in range(9)]
    for index, (image, prediction) in enumerate(pairs):
        masks = rng.random((2, 4, 5)) > 0.5
        image.phrases = PhraseTruth(["a", "b", "c"], masks, np.array([0, 1, 1]))
        prediction.phrases = rng.random((3, 4, 5)) > 0.5
        image.index = index
    whole = gathered(make(), pairs)
    parts = [gathered(make(), pairs[start::2]).state() for start in (1, 0)]
    merged = make()
    merged.merge(parts)
    assert merged.summarize() == whole.summarize()


def test_a_wrong_number_of_overlaps_is_a_bug():
    with pytest.raises(ValueError, match=r"\(1, 4\), expected \(1, 20\)"):
        InteractiveEvaluator().process(*clicked(0, [0.1] * 4))
    with pytest.raises(DataError, match="has no objects"):
        InteractiveEvaluator().process(sample(), Prediction())


def test_the_written_overlaps_give_the_figures_again(tmp_path):
    evaluator = gathered(InteractiveEvaluator(max_clicks=4, iou_click=2, start="Box"), CLICKS)
    (path,) = evaluator.write(tmp_path)
    scored = score_interactive(path)
    expected = evaluator.summarize()
    assert {k: scored[k] for k in expected if k != "counts"} == {k: v for k, v in expected.items() if k != "counts"}
    assert scored["unit"] == "percent" and len(scored["units"]) == 9
    assert [scored["units"][name] for name in ("noc@0.85", "nof@0.9", "counts")] == ["clicks", "objects", "numbers"]
    assert scored["counts"]["objects"] == 3 and scored["protocol"]["first_prompt"] == "Box"


def test_damaged_overlaps_are_named(tmp_path):
    path = tmp_path / "clicks.json"
    for content, message in (
        ([], "interactive_clicks.json"),
        ({"objects": [{"iou": [0.5]}]}, r"objects\[0\].iou: expected 20"),
        ({"max_clicks": 1, "objects": [{"iou": ["x"]}]}, "numbers"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(DataError, match=message):
            score_interactive(path)


def mask(*pixels):
    found = np.zeros((4, 5), bool)
    found.ravel()[list(pixels)] = True
    return found


def phrase_image(index, truth, predicted, owner=None):
    owner = np.arange(len(predicted)) if owner is None else np.array(owner)
    phrases = PhraseTruth([f"text {i}" for i in range(len(predicted))], np.stack(truth), owner)
    return sample(index, phrases=phrases), Prediction(phrases=np.stack(predicted))


def test_precision_cumulative_and_mean_overlap():
    first = phrase_image(0, [mask(0, 1, 2, 3), mask(5, 6)], [mask(0, 1, 2), mask(6, 7, 8)])  # 3/4, 1/4
    second = phrase_image(1, [mask(*range(10))], [mask(*range(10)), mask(0)], owner=[0, 0])  # 1, 1/10
    summary = gathered(ReferringEvaluator(), [first, second]).summarize()
    assert summary["mIoU"] == pytest.approx(100 * (0.75 + 0.25 + 1 + 0.1) / 4, abs=1e-4)
    assert summary["cIoU"] == 100 * (3 + 1 + 10 + 1) / (4 + 4 + 10 + 10)
    assert [summary[f"precision@{t}"] for t in ("0.5", "0.6", "0.7", "0.8", "0.9")] == [50.0, 50.0, 50.0, 25.0, 25.0]
    assert summary["counts"] == {"images": 2, "phrases": 4, "no_target": 0}


def test_phrases_that_name_nothing():
    nothing = mask()
    hit = phrase_image(0, [nothing], [nothing])
    miss = phrase_image(1, [nothing], [mask(1, 2)])
    found = phrase_image(2, [mask(0, 1)], [mask(0, 1)])
    summary = gathered(ReferringEvaluator(), [hit, miss, found]).summarize()
    assert summary["mIoU"] == pytest.approx(100 * 2 / 3, abs=1e-4)
    assert summary["cIoU"] == 100 * 2 / (2 + 2)
    assert summary["counts"]["no_target"] == 2
    alone = gathered(ReferringEvaluator(), [hit]).summarize()
    assert alone["cIoU"] is None and alone["mIoU"] == 100.0


def test_an_image_without_phrases_counts_nothing():
    empty = PhraseTruth([], np.zeros((0, 4, 5), bool), np.zeros(0, np.int64))
    pair = sample(phrases=empty), Prediction(phrases=np.zeros((0, 4, 5), bool))
    summary = gathered(ReferringEvaluator(), [pair]).summarize()
    assert summary["mIoU"] is None and summary["precision@0.5"] is None and summary["counts"]["phrases"] == 0
    assert ReferringEvaluator().table(summary).count("-") >= 7


def test_masks_are_written_with_image_object_and_text(tmp_path):
    pair = phrase_image(3, [mask(0, 1)], [mask(0, 1), mask(4)], owner=[0, 0])
    (path,) = gathered(ReferringEvaluator(), [pair]).write(tmp_path)
    rows = json.loads(path.read_text())
    assert [(r["image_id"], r["object"], r["text"]) for r in rows] == [(13, 0, "text 0"), (13, 0, "text 1")]
    assert rows[0]["segmentation"]["size"] == [4, 5]


def test_faulty_phrases_are_named():
    with pytest.raises(DataError, match="has no phrases"):
        ReferringEvaluator().process(sample(), Prediction())
    good, _ = phrase_image(0, [mask(1)], [mask(1)])
    with pytest.raises(ValueError, match="None masks for 1 phrases"):
        ReferringEvaluator().process(good, Prediction())
    with pytest.raises(DataError, match="ground truth"):
        ReferringEvaluator().process(good, Prediction(phrases=np.zeros((1, 4, 6), bool)))


def test_a_curve_without_objects_is_empty():
    assert click_summary(np.zeros((0, 2)), 0)["iou_by_click"] == {"1": None, "2": None}
