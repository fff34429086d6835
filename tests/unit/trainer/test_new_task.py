"""A task that is one file in a folder of its own: predict, evaluate, score, report and page take it as any other."""

import importlib
import json
import re
import sys

import numpy as np
import pytest
import torch

from segfoundry.datasets import tasks
from segfoundry.datasets.evaluators.build_evaluators import build_evaluators, possible_kinds
from segfoundry.datasets.records.catalog import find_record
from segfoundry.datasets.records.record import read_record
from segfoundry.datasets.tasks import registry
from segfoundry.trainer.cli.main import main
from segfoundry.trainer.demo.open_images import OpenImages
from segfoundry.trainer.evaluation import measure
from segfoundry.trainer.machine.distributed import Processes
from segfoundry.trainer.machine.launch import Ranks
from segfoundry.trainer.machine.precision import Precision
from segfoundry.trainer.prediction.result_memory import check_result_memory, result_memory
from segfoundry.utils.config.schema import collect
from segfoundry.utils.config.sections import Shared
from segfoundry.utils.errors import UserError
from segfoundry.utils.image_io import read_image, read_label, write_png
from segfoundry.utils.structures.results import Prediction

from ...support.pointer import predictor
from ...support.tiny_data import write_dataset
from ...support.toy import Toy

BRIGHT = '''
"""Which pixels are brighter than middle grey."""

from pathlib import Path

import numpy as np

from ...utils.image_io import read_label, write_png
from ...utils.masks import encode_masks
from ..evaluators.base import ImageEvaluator
from .base import Comparison, Option, Region, ResultTask, ResultWriter, ScoreCommand, WriterOption


class BrightEvaluator(ImageEvaluator):
    table_file = "bright.txt"

    def __init__(self, categories=()):
        super().__init__()

    def process(self, sample, prediction):
        right = sample.extra["bright"] == prediction.extra["bright"]
        self._images.append({"index": sample.index, "hits": float(right.mean())})

    def summarize(self):
        return {"hits": 100 * float(np.mean([image["hits"] for image in self._images])), "images": len(self._images)}

    def options(self):
        return {"metric": "share of right pixels"}

    def table(self, summary):
        return f"bright hits {summary['hits']:.2f}"

    def write(self, folder):
        return []


def _score(args):
    truth = {path.name: read_label(path) for path in Path(args.gt_folder).iterdir()}
    hits = [float((read_label(Path(args.pred_folder) / name) == label).mean()) for name, label in truth.items()]
    scale = args.scale or 1.0
    return {"hits": scale * float(np.mean(hits)), "metric_version": 1}, "bright score table\\n"


class Panels(Comparison):
    def error_colors(self):
        return {"light taken for dark": (1, 2, 3)}

    def error_share(self, truth, result):
        return float((truth != result).mean())

    def picture(self, image, truth, kept, categories):
        out = image.copy()
        out[truth != kept] = (1, 2, 3)
        return out


class Writer(ResultWriter):
    def __init__(self, folder, inverted):
        self.folder, self.inverted, self.names = folder, inverted, []

    def add(self, image, result):
        self.names.append(image.name)
        write_png(self.folder / "bright" / f"{image.name}.png", np.uint8(255) * (result ^ self.inverted))

    def close(self):
        path = self.folder / "bright.txt"
        path.write_text("\\n".join(self.names))
        return [path]


class Bright(ResultTask):
    name = "bright"
    order = 25
    annotations = "images"
    headline = {"hits": 15}
    progress = {"Evaluation": ("hits",)}
    comparison = Panels()
    empty_note = "no light in {empty} of {images} images"
    memory_advice = "buy more"
    options = (WriterOption("inverted", "write dark pixels", keyword="inverted", misplaced="--inverted needs light"),)
    score = ScoreCommand(
        "bright",
        _score,
        options=(Option("gt_folder"), Option("pred_folder"), Option("scale", "factor", {"type": float})),
        needed=("gt_folder", "pred_folder"),
    )

    def possible(self, split):
        return True

    def evaluator(self):
        return BrightEvaluator

    def is_empty(self, result):
        return not result.any()

    def memory(self, test):
        return 3

    def writer(self, folder, categories, **options):
        return Writer(folder, options.get("inverted", False))

    def draw(self, image, result, categories):
        out = image.copy()
        out[result] = 255
        return out

    def regions(self, result, categories):
        yield Region("light", (9, 9, 9), False, None, encode_masks(result[None])[0])


TASK = Bright()
'''


@pytest.fixture
def bright(tmp_path, monkeypatch):
    """Adds the task for the length of a test; returns it."""
    (tmp_path / "more_tasks").mkdir()
    (tmp_path / "more_tasks" / "bright.py").write_text(BRIGHT)
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path / "more_tasks")])
    importlib.invalidate_caches()
    registry.all_tasks.cache_clear()
    yield registry.find_task("bright")
    monkeypatch.undo()
    del sys.modules[f"{tasks.__name__}.bright"], tasks.bright
    registry.all_tasks.cache_clear()


def is_bright(image, level=128):
    return image.mean(-1) >= level


class Light(Toy):
    """Answers the task from the network's input, with another idea of what is bright than the truth."""

    result_kinds = frozenset({"bright"})

    def __init__(self, level=100):
        super().__init__()
        self.level = level

    def predict(self, batch, request):
        assert tuple(request.tasks) == ("bright",)
        found = []
        for image, (height, width) in zip(batch.images, batch.image_sizes, strict=True):
            pixels = image[:, :height, :width].permute(1, 2, 0).numpy()
            found.append(Prediction(extra={"bright": is_bright(pixels, self.level)}))
        return found


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        write_png(tmp_path / "photos" / f"{name}.png", rng.integers(0, 256, (40, 64, 3), np.uint8))
    return tmp_path / "photos"


def predict(monkeypatch, photos, out, *words, level=100):
    monkeypatch.setattr("segfoundry.trainer.prediction.predictor.load_predictor", lambda *_: predictor(Light(level)))
    return main(["predict", "--weights", str(photos / "a.png"), "--input", str(photos), "--output", str(out), *words])


def test_every_place_asks_the_registry(bright, tmp_path):
    names = [task.name for task in registry.all_tasks()]
    assert names == [
        "panoptic", "instance", "bright", "semantic", "interactive", "referring", "foreground", "everything"
    ]  # fmt: skip
    key = collect(Shared)["TEST.EVALUATORS"]
    assert "bright" in key.choices
    assert "panoptic, instance, bright, semantic, interactive (clicks), referring (phrases), foreground" in key.text
    path = write_dataset(tmp_path / "data")
    record, split = find_record(str(path), "val")
    assert "bright" in possible_kinds(split) and "bright" in record.evaluators_for(split)
    path.write_text(json.dumps({**json.loads(path.read_text()), "evaluators": ["bright"]}))
    assert read_record(path).evaluators == ("bright",)
    assert list(build_evaluators(record, split, ["bright"])) == ["bright"]
    cfg = predictor(Light()).cfg
    assert result_memory(cfg, (1000, 1000), ("bright",), 2) - result_memory(cfg, (1000, 1000), ("bright",)) == 3_000_000
    with pytest.raises(UserError, match=r"the bright results of an image .* raise TEST.MAX_RESULT_GB; buy more\)"):
        check_result_memory(cfg, (100_000, 100_000), ("bright",))


def test_predict(bright, photos, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert predict(monkeypatch, photos, out, "--tasks", "bright") == 0
    for name in ("a", "b"):
        image = read_image(photos / f"{name}.png")
        assert (read_label(out / "bright" / f"{name}.png") == 255 * is_bright(image, 100)).all()
        drawn = read_image(out / "overlay" / f"{name}.jpg")
        assert drawn[is_bright(image, 100)].mean() > 190 > 110 > drawn[~is_bright(image, 100)].mean()
    assert (out / "bright.txt").read_text() == "a\nb"
    assert predict(monkeypatch, photos, tmp_path / "dark", "--inverted") == 0  # unasked: all that the network does
    dark = read_label(tmp_path / "dark" / "bright" / "a.png")
    assert (dark == 255 * ~is_bright(read_image(photos / "a.png"), 100)).all()
    assert predict(monkeypatch, photos, tmp_path / "none", level=256) == 0
    assert "no light in 2 of 2 images" in capsys.readouterr().err
    assert predict(monkeypatch, photos, tmp_path / "wrong", "--tasks", "panoptic", "--inverted") == 2
    assert "gives no panoptic result; it offers bright" in capsys.readouterr().err
    assert predict(monkeypatch, photos, tmp_path / "small", "--tasks", "bright,brightt") == 2
    assert "expected some of panoptic, instance, bright, semantic" in capsys.readouterr().err


def test_page(bright, photos):
    opened = OpenImages(used := predictor(Light()), 1, 10.0).open("a.png", image := read_image(photos / "a.png"))[1]
    (segment,) = opened.find_everything(used, "")
    assert segment["name"] == "light" and segment["mask"]["size"] == list(image.shape[:2])


def evaluate(network, record, split, monkeypatch, **options):
    original = measure.build_eval_loader

    def with_truth(*args, **keywords):  # a data pipeline that reads the task's ground truth
        batches = list(original(*args, **keywords))
        for sample in (sample for batch in batches for sample in batch.samples):
            sample.extra["bright"] = is_bright(read_image(sample.file_name))
        return batches

    monkeypatch.setattr(measure, "build_eval_loader", with_truth)
    cpu, cfg = torch.device("cpu"), predictor(network).cfg
    processes, precision = Processes(Ranks(), cpu), Precision("fp32", cpu)
    return measure.measure(network, record, split, cfg, processes=processes, precision=precision, **options)


def test_evaluate_and_report(bright, tmp_path, monkeypatch, capsys):
    record, split = find_record(str(write_dataset(tmp_path / "data", val=3)), "val")
    run = tmp_path / "run"
    summary = evaluate(Light(), record, split, monkeypatch, folder=run / "eval" / "tiny", pictures=2)
    images = [read_image(path) for path in sorted(split.images.iterdir())]
    hits = [float((is_bright(image) == is_bright(image, 100)).mean()) for image in images]
    assert list(summary) == ["bright"] and summary["bright"]["hits"] == pytest.approx(100 * np.mean(hits))
    assert 0 < min(hits) < 1
    metrics = json.loads((run / "eval" / "tiny" / "metrics.json").read_text())
    assert metrics["bright"] == summary["bright"]
    assert metrics["protocol"]["bright"]["metric"] == "share of right pixels"
    assert (run / "eval" / "tiny" / "bright.txt").read_text() == f"bright hits {summary['bright']['hits']:.2f}\n"
    pictures = sorted((run / "eval" / "tiny" / "pictures").iterdir())
    wrong = sorted((1 - hit for hit in hits), reverse=True)[:2]
    assert [path.stem.split("wrong")[1] for path in pictures] == [f"{100 * share:.1f}" for share in wrong]
    assert (read_image(pictures[0]) == (1, 2, 3)).all(-1).mean() == pytest.approx(wrong[0])

    assert main(["report", "--run", str(run)]) == 0
    page = (run / "report" / "index.html").read_text()
    tiles = dict(re.findall(r"<b>([^<]*)</b><span>([^<]*)</span>", page))
    assert tiles == {f"{summary['bright']['hits']:.2f}": "hits"}
    assert "light taken for dark" in page and page.count("data:image/jpeg") == 2


class Looking(Light):
    """Answers the task from the image itself."""

    def predict(self, batch, request):
        self.originals = [sample.original for sample in batch.samples]
        return [Prediction(extra={"bright": is_bright(image)}) for image in self.originals]


def test_evaluate_with_the_image_itself(bright, tmp_path, monkeypatch):
    record, split = find_record(str(write_dataset(tmp_path / "data", val=3)), "val")
    asked = []

    def recorded(path, *limits):
        asked.append(limits)
        return read_image(path, *limits)

    monkeypatch.setattr("segfoundry.datasets.stream.loaders.read_image", recorded)
    evaluate(Light(), record, split, monkeypatch)
    assert not asked  # nobody needs it
    monkeypatch.setattr(type(bright), "needs_original", True)
    summary = evaluate(network := Looking(), record, split, monkeypatch)
    assert summary["bright"] == {"hits": 100.0, "images": 3}
    keys = predictor(network).cfg.INPUT
    assert asked == [(keys.MAX_PIXELS, keys.BIT_DEPTH)] * 3
    assert all(image.shape == read_image(next(split.images.iterdir())).shape for image in network.originals)
    monkeypatch.setattr("segfoundry.datasets.stream.loaders.read_image", lambda path, *_: read_image(path)[1:])
    with pytest.raises(UserError, match="measured at another size or with other pixels than its file has"):
        evaluate(Looking(), record, split, monkeypatch)


def test_score(bright, photos, tmp_path, monkeypatch, capsys):
    for name in ("a", "b"):
        truth = np.uint8(255) * is_bright(read_image(photos / f"{name}.png"), 100)
        write_png(tmp_path / "truth" / f"{name}.png", truth)
    assert predict(monkeypatch, photos, tmp_path / "out") == 0
    words = ["score", "bright", "--gt_folder", str(tmp_path / "truth"), "--output", str(tmp_path / "m.json")]
    assert main([*words, "--pred_folder", str(tmp_path / "out" / "bright"), "--scale", "2"]) == 0
    assert "bright score table" in capsys.readouterr().out
    assert json.loads((tmp_path / "m.json").read_text())["hits"] == 2.0
    assert main(words) == 2 and "score bright needs --pred_folder" in capsys.readouterr().err
    assert main(["score", "foreground", "--gt_folder", "x", "--pred_folder", "y", "--scale", "2"]) == 2
    assert "score foreground does not read --scale" in capsys.readouterr().err


def test_help(bright, capsys):
    assert main(["predict", "--help"]) == 0
    text = capsys.readouterr().out
    assert "panoptic,instance,bright,semantic" in text and "--inverted" in text and "write dark pixels" in text
    assert main(["score", "--help"]) == 0
    text = capsys.readouterr().out
    assert "bright: factor" in text and "{panoptic,instances,bright,semantic" in text
