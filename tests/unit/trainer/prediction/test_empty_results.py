"""Images in which nothing was found."""

import numpy as np

from segfoundry.trainer.prediction.empty_results import EmptyResults
from segfoundry.utils.structures.results import (
    ForegroundResult,
    InstanceResult,
    PanopticResult,
    Prediction,
    Segment,
)


def panoptic(count):
    return PanopticResult(np.ones((2, 3), np.int32), [Segment(n + 1, 0, True) for n in range(count)])


def instances(count):
    return InstanceResult(np.ones((count, 2, 3), bool), np.zeros(count, np.int64), np.ones(count, np.float32))


def test_some_without_result_are_a_note_and_all_are_a_warning(caplog):
    caplog.set_level("INFO")
    ranks = [EmptyResults(), EmptyResults()]
    ranks[0].add(Prediction(panoptic=panoptic(0), instances=instances(0), semantic=np.zeros((2, 3), np.int64)))
    ranks[1].add(Prediction(panoptic=panoptic(2), instances=instances(0)))
    ranks[0].merge([rank.state() for rank in ranks])
    assert ranks[0].barren() == ["instance"]
    ranks[0].report({"panoptic": "lower it", "instance": "raise it"})
    (first, second) = caplog.records
    assert first.levelname == "INFO" and first.getMessage().startswith("note: no segment at all in 1 of 2 images")
    assert first.getMessage().endswith("; lower it")
    assert second.levelname == "WARNING" and "no instance in 2 of 2 images" in second.getMessage()


def test_foreground_without_a_pixel_is_nothing(caplog):
    found = EmptyResults()
    mask = np.zeros((2, 3), bool)
    found.add(Prediction(foreground=ForegroundResult(mask, mask.astype(np.float32))))
    found.report({})
    assert [r.getMessage() for r in caplog.records] == ["no foreground at all in 1 of 1 images"]


def test_what_was_found_is_not_told(caplog):
    caplog.set_level("INFO")
    found = EmptyResults()
    found.add(Prediction(panoptic=panoptic(1), instances=instances(1)))
    found.report({})
    assert not caplog.records and not found.barren()
