"""A small architecture that is no part of the product: files for a folder of their own, and their mounting.

It counts the things in an image: a kind of sample, target, result, metric, schedule and frozen part that no other has.
"""

import importlib
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

from segfoundry import datasets, modeling
from segfoundry.datasets import pipelines, tasks
from segfoundry.datasets.tasks import registry
from segfoundry.utils.config.architectures import architectures
from segfoundry.utils.schedules import SCHEDULES

CONFIG = '''
"""Configuration of the counter."""

import math
from dataclasses import dataclass

from ...utils.config import sections
from ...utils.config.architectures import Architecture
from ...utils.config.schema import key, section
from ...utils.schedules import schedule


@schedule("half_wave")
def half_wave(solver, at):
    return math.sin(math.pi * (at.step + 1) / 10)


@dataclass(frozen=True, kw_only=True)
class Counter:
    SIDE: int = key(16, "Side of the images that the network sees, in pixels.", minimum=4)
    FEATURES: str = key("", "Weight file of the frozen features.")
    REST_UNTIL: int = key(2, "Steps before the last layer begins to train.", minimum=0)


@dataclass(frozen=True, kw_only=True)
class CounterConfig(sections.Shared):
    COUNTER: Counter = section(Counter)


class CounterArchitecture(Architecture[CounterConfig]):
    model_names = ("counter",)
    config = CounterConfig
    schedules = ("half_wave",)
    training_memory = ("COUNTER.SIDE",)

    def tiny(self):
        return {"MODEL.NAME": "counter", "SOLVER.LR_SCHEDULER_NAME": "half_wave"}

    def training_notices(self, cfg):
        return [f"things are counted on images of {cfg.COUNTER.SIDE} pixels"]
'''

MODEL = '''
"""The counter: frozen features of a file, a layer that trains, a layer that rests at first."""

from pathlib import Path

import torch
from torch import nn

from ...utils.schedules import Schedule
from ...utils.structures.results import Prediction
from ..base import START, MetaArch, ParamRule, PartFile, TrainPolicy


class CounterModel(MetaArch):
    result_kinds = frozenset({"count"})
    has_categories = False

    def __init__(self, features, rest_until):
        super().__init__()
        self.file, self.rest_until = features, rest_until
        self.features = nn.Linear(3, 8)
        self.hidden = nn.Linear(8, 8)
        self.last = nn.Linear(8, 1)

    @classmethod
    def from_config(cls, cfg, categories):
        return cls(cfg.COUNTER.FEATURES, cfg.COUNTER.REST_UNTIL)

    def reloadable(self):
        return {"features.": PartFile(Path(self.file), "COUNTER.FEATURES")}

    def counts(self, batch):
        pixels = batch.images.float().flatten(2).transpose(1, 2) / 255
        with torch.no_grad():
            found = torch.tanh(self.features(pixels))
        return self.last(torch.tanh(self.hidden(found)).mean(1))[:, 0]

    def losses(self, batch, rng, progress=START):
        truth = torch.stack([target.extra["count"] for target in batch.targets])[:, 0]
        share = (batch.totals or self.normalizers(batch))["images"]
        weight = 1.0 + progress.epoch
        return {"loss_count": weight * (self.counts(batch) - truth).square().sum() / share}

    @torch.no_grad()
    def predict(self, batch, request):
        return [Prediction(extra={"count": float(value)}) for value in self.counts(batch)]

    def train_policy(self):
        gate = Schedule("gate", lambda solver, at: float(at.step >= self.rest_until))
        rules = {name: ParamRule(1.0, 0.0) for name, _ in self.hidden.named_parameters(prefix="hidden")}
        rules |= {name: ParamRule(1.0, 0.1, schedule=gate) for name, _ in self.last.named_parameters(prefix="last")}
        return TrainPolicy(rules)
'''

PIPELINE = '''
"""Samples of the counter: a small square image and the number of things in it."""

from dataclasses import dataclass

import cv2
import numpy as np

from ...modeling.counter.config import CounterConfig
from ...utils.image_io import read_image
from ...utils.structures.samples import Sample, Targets
from ..transforms.resize import FixedResize
from .base import Pipeline


@dataclass(frozen=True)
class Square:
    side: int

    def output_size(self, height, width):
        return self.side, self.side

    def __call__(self, image):
        return cv2.resize(image, (self.side, self.side), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class CountMapper:
    resize: Square

    def __call__(self, item, index, rng=None):
        image = read_image(item.image)
        count = np.float32([sum(segment.isthing for segment in item.segments)])
        small = self.resize(image)
        sample = Sample(small, index, item.image_id, str(item.image), image.shape[:2], extra={"count": float(count[0])})
        if rng is not None:
            nothing = np.zeros((0, *small.shape[:2]), bool)
            sample.targets = Targets(nothing, np.zeros(0, np.int64), extra={"count": count})
        return sample

    def input_size(self, item):
        return self.resize.output_size(0, 0)


class CounterPipeline(Pipeline[CounterConfig]):
    def train_mapper(self, record):
        return CountMapper(self.eval_resize(record))

    def eval_mapper(self, record, split, kinds=()):
        return CountMapper(self.eval_resize(record))

    def eval_resize(self, record):
        return Square(self.cfg.COUNTER.SIDE)

    def training_notices(self, train, written):
        return [f"{record.name} is counted" for record, _ in train]
'''

TASK = '''
"""How many things an image shows."""

import json

import cv2

from .base import Deciding, ResultTask, ResultWriter


class Writer(ResultWriter):
    def __init__(self, folder):
        self.path, self.counts = folder / "counts.json", {}

    def add(self, image, result):
        self.counts[image.name] = result

    def close(self):
        self.path.write_text(json.dumps(self.counts))
        return [self.path]


class Count(ResultTask):
    name = "count"
    order = 35
    annotations = "panoptic annotations"
    headline = {"mae": 35}
    deciding = Deciding("mae", 1)
    fewer_is_better = ("mae",)

    def possible(self, split):
        return split.panoptic_json is not None

    def evaluator(self):
        from ..evaluators.base import ImageEvaluator

        class CountEvaluator(ImageEvaluator):
            table_file = "count.txt"

            def __init__(self, categories=()):
                super().__init__()

            def process(self, sample, prediction):
                error = abs(sample.extra["count"] - prediction.extra["count"])
                self._images.append({"index": sample.index, "error": error})

            def summarize(self):
                errors = [image["error"] for image in self._images]
                return {"mae": sum(errors) / len(errors), "images": len(errors)}

            def options(self):
                return {"metric": "mean absolute error of the number of things"}

            def table(self, summary):
                return f"mae {summary['mae']:.3f}"

            def write(self, folder):
                return []

        return CountEvaluator

    def memory(self, test):
        return 0

    def writer(self, folder, categories, **options):
        return Writer(folder)

    def draw(self, image, result, categories):
        out = image.copy()
        cv2.putText(out, f"{result:.1f}", (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255))
        return out

    def regions(self, result, categories):
        yield from ()


TASK = Count()
'''

FILES = {
    "modeling/counter/__init__.py": "",
    "modeling/counter/config.py": CONFIG,
    "modeling/counter/model.py": MODEL,
    "datasets/pipelines/counter.py": PIPELINE,
    "datasets/tasks/count.py": TASK,
}
PACKAGES = {"modeling": modeling, "datasets/pipelines": pipelines, "datasets/tasks": tasks}


def write_architecture(folder: Path) -> Path:
    """Writes the architecture's files below a folder, as they would lie in the product, and returns the folder."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip())
    return folder


def write_features(path: Path, seed: int = 0) -> Path:
    """Writes the weight file of the frozen features."""
    generator = torch.Generator().manual_seed(seed)
    save_file({"weight": torch.randn(8, 3, generator=generator), "bias": torch.randn(8, generator=generator)}, path)
    return path


@contextmanager
def mounted(folder: Path):
    """Lets the product find what lies in a folder of :func:`write_architecture`, inside the block."""
    assert datasets.__name__ == "segfoundry.datasets"
    before, paths = set(sys.modules), {name: list(package.__path__) for name, package in PACKAGES.items()}
    for name, package in PACKAGES.items():
        package.__path__ = [*package.__path__, str(folder / name)]
    importlib.invalidate_caches()
    architectures.cache_clear()
    registry.all_tasks.cache_clear()
    try:
        yield
    finally:
        for name, package in PACKAGES.items():
            package.__path__ = paths[name]
        for name in set(sys.modules) - before:
            if name.split(".")[-1] in ("counter", "count") or ".counter." in name:
                del sys.modules[name]
        for package, name in ((modeling, "counter"), (pipelines, "counter"), (tasks, "count")):
            vars(package).pop(name, None)
        SCHEDULES._entries.pop("half_wave", None)
        architectures.cache_clear()
        registry.all_tasks.cache_clear()
