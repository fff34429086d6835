"""Smallest SAM networks and batches for tests."""

from pathlib import Path

import numpy as np
import torch

from segfoundry.datasets.formats.record import Record
from segfoundry.datasets.mappers.build import eval_resize
from segfoundry.modeling.base import MetaArch
from segfoundry.modeling.build import build_model
from segfoundry.modeling.finetune import apply_policy, param_groups
from segfoundry.modeling.sam.config import tiny
from segfoundry.trainer.precision import build_precision
from segfoundry.trainer.predictor import Predictor
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.draws import Draws
from segfoundry.utils.structures import Batch, Sample, Targets


def config(**values):
    """Returns a frozen configuration: the smallest one with other values, ``__`` for the dots."""
    return load_mapping(tiny() | {name.replace("__", "."): value for name, value in values.items()}).cfg


def model(seed: int = 0, **values) -> MetaArch:
    """Builds the network of :func:`config` with seeded random weights."""
    torch.manual_seed(seed)
    return build_model(config(**values), ())


def predictor(**values) -> Predictor:
    """Returns a Predictor around :func:`model`."""
    cfg, cpu = config(**values), torch.device("cpu")
    resize = eval_resize(cfg, Record("", Path(), Path(), (), None, {}))
    return Predictor(model(**values).eval(), cfg, (), resize, build_precision(cfg, cpu), cpu, Path("sam.pt"))


def batch(seed: int = 0, count: int = 2, objects: int = 3, side: int = 64) -> Batch:
    """Returns images with noise, discs as objects and a disc as foreground."""
    rng = np.random.default_rng(seed)
    targets, samples = [], []
    size = (side, side * 3 // 4)
    for index in range(count):
        masks = np.stack([_disc(rng, size) for _ in range(objects)]) if objects else np.zeros((0, *size), bool)
        foreground = torch.from_numpy(_disc(rng, size)[None])
        labels = torch.zeros(objects, dtype=torch.int64)
        targets.append(Targets(torch.from_numpy(masks), labels, foreground=foreground))
        samples.append(Sample(np.zeros((0, 0, 3), np.uint8), index, index, f"{index}.jpg", size))
    images = torch.from_numpy(rng.integers(0, 256, (count, 3, *size), dtype=np.uint8))
    return Batch(images, [size] * count, samples, targets, list(range(count)))


def step(network: MetaArch, data: Batch, rate: float = 1e-2, number: int = 0) -> dict[str, float]:
    """Makes one training step by the network's own policy; returns the losses."""
    policy = network.train_policy()
    apply_policy(network, policy)
    network.train()
    optimizer = torch.optim.Adam(param_groups(network, policy, rate))
    losses = network(data, rng=Draws(0, number))
    sum(losses.values()).backward()
    optimizer.step()
    return {name: float(value.detach()) for name, value in losses.items()}


def _disc(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    row, column, radius = rng.uniform(0.3, 0.7) * size[0], rng.uniform(0.3, 0.7) * size[1], rng.uniform(0.1, 0.25)
    return (rows - row) ** 2 + (columns - column) ** 2 < (radius * size[1]) ** 2
