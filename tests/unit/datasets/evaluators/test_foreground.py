"""Figures of foreground masks, against straightforward computations."""

import csv
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage
from skimage.morphology import thin

from segfoundry.datasets.embedded.cables import draw_cables
from segfoundry.datasets.evaluators.build_evaluators import possible_kinds
from segfoundry.datasets.evaluators.foreground import ForegroundEvaluator
from segfoundry.datasets.formats.foreground import read_foreground, write_foreground
from segfoundry.datasets.metrics.foreground_overlap import boundary_iou, cl_dice, image_scores, summarize_images
from segfoundry.datasets.metrics.skeleton import skeleton
from segfoundry.datasets.records.split import Split
from segfoundry.datasets.score.score_foreground import score_foreground
from segfoundry.trainer.cli.main import main
from segfoundry.utils.errors import DataError
from segfoundry.utils.structures.results import ForegroundResult, Prediction
from segfoundry.utils.structures.samples import Sample

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))
PAIRS = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)
NOTHING = np.zeros((6, 9), bool)
SOMETHING = NOTHING.copy()
SOMETHING[2:4, 1:8] = True


def thinned_pixel_by_pixel(mask):
    """Guo and Hall's algorithm A1 as the paper writes it."""
    m = np.pad(mask, 1).astype(int)
    while True:
        gone = 0
        for half in (0, 1):
            marked = []
            for y, x in zip(*np.nonzero(m), strict=True):
                p1, p2, p3, p4 = m[y - 1, x - 1], m[y - 1, x], m[y - 1, x + 1], m[y, x + 1]
                p5, p6, p7, p8 = m[y + 1, x + 1], m[y + 1, x], m[y + 1, x - 1], m[y, x - 1]
                ring = ((p2, p3, p4), (p4, p5, p6), (p6, p7, p8), (p8, p1, p2))
                c = sum(a == 0 and (b or d) > 0 for a, b, d in ring)
                n = min((p1 | p2) + (p3 | p4) + (p5 | p6) + (p7 | p8), (p2 | p3) + (p4 | p5) + (p6 | p7) + (p8 | p1))
                kept = (p2 | p3 | (1 - p5)) & p4 if half == 0 else (p6 | p7 | (1 - p1)) & p8
                if c == 1 and 2 <= n <= 3 and not kept:
                    marked.append((y, x))
            for place in marked:
                m[place] = 0
            gone += len(marked)
        if not gone:
            return m[1:-1, 1:-1] > 0


def band_by_distance(mask, width):
    """Pixels of the mask whose chessboard distance to what is not mask, or outside, is at most ``width``."""
    distance = ndimage.distance_transform_cdt(np.pad(mask, 1), "chessboard")[1:-1, 1:-1]
    return mask & (distance <= width)


def by_hand(prediction, truth):
    both, either = (prediction & truth).sum(), (prediction | truth).sum()
    if either == 0:
        return dict.fromkeys(("iou", "dice", "precision", "recall", "accuracy"), 1.0)
    return {
        "iou": both / either,
        "dice": 2 * both / (prediction.sum() + truth.sum()),
        "precision": both / prediction.sum() if prediction.any() else 0.0,
        "recall": both / truth.sum() if truth.any() else 0.0,
        "accuracy": (prediction == truth).mean(),
    }


@given(MASKS)
def test_the_skeleton_is_the_papers(mask):
    line = skeleton(mask)
    np.testing.assert_array_equal(line, thinned_pixel_by_pixel(mask))
    assert line.any() == mask.any()


def test_the_skeleton_is_that_of_scikit_image():
    mask = draw_cables(0, 2).mask
    np.testing.assert_array_equal(skeleton(mask), thin(mask))


def test_the_skeleton_of_cables_is_thin_and_connected_as_they_are():
    mask = draw_cables(0, 3, size=(96, 160)).mask
    line = skeleton(mask)
    eight = np.ones((3, 3))
    assert (line <= mask).all() and line.sum() < 0.35 * mask.sum()
    assert ndimage.label(line, eight)[1] == ndimage.label(mask, eight)[1]


@given(PAIRS)
def test_overlaps(pair):
    scores = image_scores(*pair)
    expected = by_hand(*pair)
    assert {name: scores[name] for name in expected} == pytest.approx(expected)
    assert scores["tp"] + scores["fp"] + scores["fn"] + scores["tn"] == pair[0].size


@given(PAIRS)
def test_boundary_iou(pair):
    width = max(1, round(0.02 * math.hypot(*pair[0].shape)))
    a, b = (band_by_distance(mask, width) for mask in pair)
    expected = (a & b).sum() / (a | b).sum() if (a | b).any() else 1.0
    assert boundary_iou(*pair) == pytest.approx(expected)


def test_the_boundary_is_two_percent_of_the_diagonal_wide():
    truth = np.zeros((300, 400), bool)
    truth[50:250, 50:350] = True
    ring = truth.copy()
    ring[60:240, 60:340] = False  # what is left is 10 pixels wide, 2 % of the diagonal of 500
    assert boundary_iou(ring, truth) == 1
    ring[59:241, 59:341] = False
    assert 0.9 < boundary_iou(ring, truth) == pytest.approx(ring.sum() / band_by_distance(truth, 10).sum())


@given(PAIRS)
def test_cl_dice(pair):
    prediction, truth = pair
    line, true_line = thinned_pixel_by_pixel(prediction), thinned_pixel_by_pixel(truth)
    if not prediction.any() or not truth.any():
        expected = float(not prediction.any() and not truth.any())
    else:
        precision, sensitivity = (line & truth).sum() / line.sum(), (true_line & prediction).sum() / true_line.sum()
        expected = 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0
    assert cl_dice(prediction, truth) == pytest.approx(expected)


def test_cl_dice_sees_a_cut_that_dice_hardly_sees():
    truth = np.zeros((40, 100), bool)
    truth[10:14, 5:95] = truth[26:30, 5:95] = True
    thin = truth.copy()
    thin[[10, 13, 26, 29]] = False  # the same lines, thinner
    cut = truth.copy()
    cut[:, 30:70] = False  # as many pixels fewer, but gaps
    assert image_scores(thin, truth)["dice"] < image_scores(cut, truth)["dice"]
    assert cl_dice(thin, truth) > 0.95 > 0.75 > cl_dice(cut, truth)


@pytest.mark.parametrize(("prediction", "truth", "value"), [(NOTHING, NOTHING, 1), (NOTHING, SOMETHING, 0)])
def test_without_foreground(prediction, truth, value):
    names = ("iou", "dice", "precision", "recall", "boundary_iou", "cldice")
    for pair in ((prediction, truth), (truth, prediction)):
        assert [image_scores(*pair)[name] for name in names] == [value] * 6


def sample(index, truth, **fields):
    empty = np.zeros((0, 0, 3), np.uint8)
    return Sample(empty, index, f"a/{index}", f"/data/{index}.jpg", truth.shape, foreground=truth, **fields)


def cases(count=5):
    rng = np.random.default_rng(0)
    for index in range(count):
        truth = rng.random((12, 16)) < 0.3
        mask = truth ^ (rng.random((12, 16)) < 0.1)
        yield sample(index, truth), Prediction(foreground=ForegroundResult(mask, mask.astype(np.float32), 0.1 * index))


def test_the_figures_of_a_data_set():
    evaluator = ForegroundEvaluator()
    for case in cases():
        evaluator.process(*case)
    summary = evaluator.summarize()
    pairs = [(p.foreground.mask, s.foreground) for s, p in cases()]
    together = by_hand(np.concatenate([p for p, _ in pairs]), np.concatenate([t for _, t in pairs]))
    assert {name: summary[name] for name in together} == pytest.approx({n: 100 * v for n, v in together.items()})
    each = [by_hand(*pair) for pair in pairs]
    assert summary["mean_dice"] == pytest.approx(100 * np.mean([e["dice"] for e in each]))
    assert summary["mean_iou"] == pytest.approx(100 * np.mean([e["iou"] for e in each]))
    assert summary["cldice"] == pytest.approx(100 * np.mean([cl_dice(*pair) for pair in pairs]))
    assert summary["boundary_iou"] == pytest.approx(100 * np.mean([boundary_iou(*pair) for pair in pairs]))
    assert summary["loss"] == pytest.approx(0.2) and summary["images"] == 5
    assert "dice" in evaluator.table(summary) and "0.2000" in evaluator.table(summary)


def test_how_images_are_spread_over_processes_does_not_matter():
    alone, one, two = ForegroundEvaluator(), ForegroundEvaluator(), ForegroundEvaluator()
    for case in cases():
        alone.process(*case)
        (two if case[0].index in (0, 3) else one).process(*case)
    one.merge([one.state(), two.state()])
    assert one.summarize() == alone.summarize()


def test_files_of_an_evaluation_can_be_scored_again(tmp_path):
    evaluator = ForegroundEvaluator()
    for case in cases():
        evaluator.process(*case)
        write_foreground(tmp_path / "truth" / f"{case[0].image_id}.png", case[0].foreground)
    written = evaluator.write(tmp_path / "eval")
    rows = list(csv.DictReader((tmp_path / "eval" / "foreground_images.csv").open()))
    assert [row["image_id"] for row in rows] == [f"a/{n}" for n in range(5)] and written[0].name.endswith(".csv")
    first = next(cases())
    scores = image_scores(first[1].foreground.mask, first[0].foreground)
    assert int(rows[0]["tp"]) == scores["tp"] and float(rows[0]["dice"]) == pytest.approx(
        100 * scores["dice"], abs=1e-3
    )
    np.testing.assert_array_equal(read_foreground(written[1]), first[1].foreground.mask)
    again = score_foreground(tmp_path / "truth", tmp_path / "eval" / "foreground", workers=2)
    summary = evaluator.summarize()
    for name in ("iou", "dice", "accuracy", "mean_dice", "boundary_iou", "cldice"):
        assert 100 * again[name] == pytest.approx(summary[name])
    assert again["per_image"]["a/0"]["dice"] == pytest.approx(scores["dice"])


def test_no_images_no_figures():
    assert summarize_images([])["dice"] is None


def test_faulty_cases_name_the_image():
    evaluator = ForegroundEvaluator()
    found = Prediction(foreground=ForegroundResult(SOMETHING, SOMETHING.astype(np.float32)))
    with pytest.raises(DataError, match=r"a/3 .*9 x 6.*7 x 6"):
        evaluator.process(sample(3, np.zeros((6, 7), bool)), found)
    lacking = sample(3, SOMETHING)
    lacking.foreground = None
    with pytest.raises(DataError, match="no foreground ground truth"):
        evaluator.process(lacking, found)


def test_the_annotations_decide(tmp_path):
    split = Split("val", tmp_path, foreground=tmp_path)
    assert possible_kinds(split) == ["foreground"]


@pytest.fixture
def folders(tmp_path):
    for s, p in cases(3):
        write_foreground(tmp_path / "truth" / f"{s.index}.png", s.foreground)
        write_foreground(tmp_path / "pred" / f"{s.index}.png", p.foreground.mask)
    return tmp_path


def test_scoring_from_the_command_line(folders, capsys):
    words = ["score", "foreground", "--gt_folder", str(folders / "truth"), "--pred_folder", str(folders / "pred")]
    assert main([*words, "--output", str(folders / "scores.json")]) == 0
    result = json.loads((folders / "scores.json").read_text())
    pairs = [(p.foreground.mask, s.foreground) for s, p in cases(3)]
    assert result["dice"] == pytest.approx(by_hand(*(np.concatenate(m) for m in zip(*pairs, strict=True)))["dice"])
    assert f"{result['cldice']:.2f}" in capsys.readouterr().out


def test_what_is_missing_is_named(folders, capsys):
    (folders / "pred" / "1.png").unlink()
    words = ["score", "foreground", "--gt_folder", str(folders / "truth"), "--pred_folder", str(folders / "pred")]
    assert main(words) == 2
    assert "no prediction for 1 of 3 masks: 1" in capsys.readouterr().err
    write_foreground(folders / "pred" / "1.png", np.ones((3, 3), bool))
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "1.png" in error and "3 x 3" in error
    assert main([*words[:3], str(folders / "truth")]) == 2
    assert "--pred_folder" in capsys.readouterr().err
