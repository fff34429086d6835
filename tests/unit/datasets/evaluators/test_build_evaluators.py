"""From a record to its evaluators."""

from pathlib import Path

import pytest

from segfoundry.datasets.evaluators.build_evaluators import build_evaluators
from segfoundry.datasets.evaluators.instance import InstanceEvaluator
from segfoundry.datasets.evaluators.panoptic import PanopticEvaluator
from segfoundry.datasets.evaluators.semantic import SemanticEvaluator
from segfoundry.datasets.records.record import Record
from segfoundry.datasets.records.split import Split
from segfoundry.datasets.tasks.registry import evaluator_names
from segfoundry.utils.errors import ConfigError, DataError

NOWHERE = Path("nowhere")


def record(categories):
    return Record("kitchen", NOWHERE / "kitchen.yaml", NOWHERE, categories, None, {})


def test_all_kinds_in_the_order_asked_for(categories, tmp_path):
    truth = tmp_path / "p.json"
    truth.write_text("{}")
    split = Split("val", tmp_path, panoptic_json=truth, panoptic=tmp_path)
    built = build_evaluators(record(categories), split, ["instance", "panoptic", "semantic"])
    assert list(built) == ["instance", "panoptic", "semantic"]
    assert [type(e) for e in built.values()] == [InstanceEvaluator, PanopticEvaluator, SemanticEvaluator]
    assert set(built["panoptic"].protocol()["ground_truth_sha256"]) == {"p.json"}


def test_semantic_data_has_no_panoptic_evaluator(categories):
    split = Split("val", NOWHERE, semantic=NOWHERE)
    assert list(build_evaluators(record(categories), split, ["semantic"])) == ["semantic"]
    with pytest.raises(DataError, match="split 'val' has no panoptic annotations, the instance"):
        build_evaluators(record(categories), split, ["instance"])


def test_unknown_kind_is_answered_with_the_closest(categories):
    with pytest.raises(ConfigError, match="panoptic"):
        build_evaluators(record(categories), Split("val", NOWHERE), ["panoptics"])


def test_a_task_without_annotations_is_not_measured(categories):
    assert "everything" not in evaluator_names()
    with pytest.raises(ConfigError, match="everything is not measured"):
        build_evaluators(record(categories), Split("val", NOWHERE), ["everything"])
