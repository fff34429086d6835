"""The evaluation of one data set: which kinds, and the whole way from files to figures."""

import dataclasses
import json
import logging

import pytest
import torch

from segfoundry.datasets.evaluators.build_evaluators import build_evaluators
from segfoundry.datasets.pipelines.base import find_pipeline
from segfoundry.datasets.records.catalog import find_record
from segfoundry.datasets.records.split import Split
from segfoundry.datasets.stream.loaders import build_eval_loader
from segfoundry.datasets.tasks.registry import find_task
from segfoundry.trainer.evaluation.measure import measure
from segfoundry.trainer.evaluation.measured_tasks import evaluation_kinds
from segfoundry.trainer.evaluation.passes import EvaluationPasses
from segfoundry.trainer.evaluation.result_names import scalars
from segfoundry.trainer.machine.distributed import Processes
from segfoundry.trainer.machine.launch import Ranks
from segfoundry.trainer.machine.precision import Precision
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.errors import ConfigError

from ....support.promptable import Oracle
from ....support.tiny_data import write_dataset
from ....support.toy import Toy

CPU = torch.device("cpu")
PROMPTS = frozenset({"stroke", "text"})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return find_record(str(write_dataset(tmp_path_factory.mktemp("data"), val=5)), "val")


def config(**keys):
    base = {"MODEL.NAME": "seem_model_v1", "COCO.INPUT.IMAGE_SIZE": 32, "DATALOADER.NUM_WORKERS": 0}
    base |= {"TEST.BATCH_SIZE_TOTAL": 2}
    return load_mapping({**base, **{k.replace("__", "."): v for k, v in keys.items()}}).cfg


def test_without_a_wish_the_record_decides(data):
    assert evaluation_kinds(config(), *data, PROMPTS) == ["panoptic", "instance", "semantic"]
    record = dataclasses.replace(data[0], evaluators=("semantic", "interactive"))
    assert evaluation_kinds(config(), record, data[1], PROMPTS) == ["semantic", "interactive"]


def test_the_configuration_asks_for_kinds_as_far_as_the_data_allows(data, caplog):
    cfg = config(TEST__EVALUATORS=["interactive", "panoptic", "referring"])
    with caplog.at_level(logging.INFO, "segfoundry"):
        assert evaluation_kinds(cfg, *data, PROMPTS) == ["interactive", "panoptic"]
    with pytest.raises(ConfigError, match=r"offers .*interactive.*TEST.EVALUATORS \['referring'\]"):
        evaluation_kinds(config(TEST__EVALUATORS=["referring"]), *data, PROMPTS)


def test_switches_leave_kinds_out(data):
    keys = {"TEST.EVALUATORS": ["interactive", "semantic"], "MODEL.DECODER.SPATIAL.ENABLED": False}
    assert evaluation_kinds(config(**keys), *data, PROMPTS) == ["semantic"]


def test_a_model_without_prompts_cannot_be_clicked_on(data):
    with pytest.raises(ConfigError, match="TEST.EVALUATORS: the interactive evaluation needs .* stroke prompts"):
        evaluation_kinds(config(TEST__EVALUATORS=["interactive"]), *data, frozenset())
    record = dataclasses.replace(data[0], evaluators=("semantic", "interactive"))
    assert evaluation_kinds(config(), record, data[1], frozenset()) == ["semantic"]
    record = dataclasses.replace(data[0], evaluators=("interactive",))
    with pytest.raises(ConfigError, match="nothing to evaluate on 'tiny'"):
        evaluation_kinds(config(), record, data[1], frozenset())


def test_what_the_network_does_not_give_is_not_measured(data, tmp_path):
    cfg = config(**{"MODEL.DECODER.GROUNDING.ENABLED": False})
    assert evaluation_kinds(cfg, *data, PROMPTS, {"panoptic"}) == ["panoptic"]
    with pytest.raises(ConfigError, match="TEST.EVALUATORS: the semantic evaluation needs a model that gives semantic"):
        evaluation_kinds(config(TEST__EVALUATORS=["semantic"]), *data, PROMPTS, {"foreground", "everything"})
    # nothing of what the record asks for: what else the annotations allow, here clicks
    assert evaluation_kinds(cfg, *data, frozenset({"stroke"}), {"everything"}) == ["interactive"]
    # results before clicks: things are the foreground of annotations without masks of it
    assert evaluation_kinds(cfg, *data, frozenset({"stroke"}), {"everything", "foreground"}) == ["foreground"]
    with pytest.raises(ConfigError, match="nothing to evaluate on 'tiny'.* gives no such result; name another"):
        evaluation_kinds(cfg, *data, frozenset(), {"everything"})


def test_foreground_is_measured_where_there_are_masks(data, tmp_path):
    split = Split("val", tmp_path, foreground=tmp_path)
    record = dataclasses.replace(data[0], splits={"val": split})
    assert evaluation_kinds(config(), record, split, PROMPTS, {"foreground", "everything"}) == ["foreground"]


def test_unknown_kinds_are_refused_with_the_key():
    with pytest.raises(ConfigError, match=r"TEST.EVALUATORS"):
        config(TEST__EVALUATORS=["clicks"])


def test_a_reported_click_beyond_the_last_is_refused(data):
    cfg = config(STROKE_SAMPLER__EVAL__MAX_ITER=3, STROKE_SAMPLER__EVAL__IOU_ITER=4)
    with pytest.raises(ConfigError, match=r"IOU_ITER is 4, expected at most MAX_ITER \(3"):
        find_pipeline(cfg).evaluator_options(data[1], ["interactive"])


class Fair(Oracle):
    """An overlap of 0.3 per click for every object."""

    def __init__(self):
        super().__init__(dict.fromkeys(range(1, 50), 0.3))

    def part(self, labels, number, clicks):
        mask = super().part(labels, number, clicks)
        return mask if clicks < 4 else labels == number


def run(model, data, cfg, folder=None):
    processes = Processes(Ranks(), CPU)
    return measure(model, *data, cfg, processes=processes, precision=Precision("fp32", CPU), folder=folder, pictures=2)


def test_from_files_to_figures(data, tmp_path):
    cfg = config(TEST__EVALUATORS=["panoptic", "interactive"], STROKE_SAMPLER__EVAL__MAX_ITER=5)
    model = Fair()
    summary = run(model, data, cfg, tmp_path)
    assert summary["panoptic"]["PQ"] == 100.0
    assert summary["interactive"]["noc@0.85"] == pytest.approx(3, abs=0.4)
    assert model.calls.count("encode") == 3 and "predict" not in model.calls
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["interactive"] == summary["interactive"]
    assert content["protocol"]["interactive"]["max_clicks"] == 5
    assert {p.name for p in tmp_path.iterdir()} >= {
        "interactive.txt",
        "interactive_clicks.json",
        "panoptic_per_class.txt",
    }
    names = scalars("tiny", summary)
    assert names["tiny/interactive/noc@0.9"] >= names["tiny/interactive/noc@0.5"]
    assert "tiny/interactive/miou@iter1" in names and not any("counts" in name for name in names)


def test_two_shards_merge_to_the_same_bits(data):
    cfg = config(TEST__EVALUATORS=["panoptic", "interactive"], STROKE_SAMPLER__EVAL__START="Scribble")
    kinds = ["panoptic", "interactive"]
    whole = run(Fair(), data, cfg)

    def shard(rank):
        pipeline = find_pipeline(cfg)
        evaluators = build_evaluators(*data, kinds, pipeline.evaluator_options(data[1], kinds))
        asked = tuple(find_task(kind).asks for kind in kinds)
        passes = EvaluationPasses(Fair().eval(), asked, pipeline.click_protocol(), CPU)
        for batch in build_eval_loader(pipeline, *data, rank=rank, world=2, kinds=kinds):
            for sample, prediction in zip(batch.samples, passes(batch), strict=True):
                for evaluator in evaluators.values():
                    evaluator.process(sample, prediction)
        return [evaluator.state() for evaluator in evaluators.values()]

    shards = [shard(0), shard(1)]
    merged = build_evaluators(*data, kinds, find_pipeline(cfg).evaluator_options(data[1], kinds))
    for number, evaluator in enumerate(merged.values()):
        evaluator.merge([states[number] for states in shards])
    assert {kind: evaluator.summarize() for kind, evaluator in merged.items()} == whole


def test_a_model_without_prompts_is_evaluated_as_ever(data):
    class Plain(Toy):
        def predict(self, batch, request):
            return Oracle({}).predict(batch, request)

    cfg = config(**{"TEST.EVALUATORS": ["semantic"]})
    assert run(Plain(), data, cfg)["semantic"]["mIoU"] == 100.0
