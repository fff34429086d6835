"""A meta-architecture of a few weights, and batches for it: for tests of the trainer that need no real network."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from segfoundry.modeling.base import START, MetaArch, ParamRule, TrainPolicy
from segfoundry.trainer.machine.distributed import Processes
from segfoundry.trainer.machine.launch import Ranks
from segfoundry.trainer.machine.precision import Precision
from segfoundry.trainer.machine.signals import StopSignals
from segfoundry.trainer.training.ema import Ema
from segfoundry.trainer.training.loop import Loop, LoopSettings
from segfoundry.trainer.training.optimizer import build_optimizer, parameter_names
from segfoundry.trainer.training.state import TrainState
from segfoundry.utils.config.sections import Shared
from segfoundry.utils.structures.results import Prediction
from segfoundry.utils.structures.samples import Batch, Sample

CPU = torch.device("cpu")


class Toy(MetaArch):
    """Predicts a number from an image's mean colour; the loss has two terms, dropout and a frozen part."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.frozen = nn.Linear(3, 4)
        self.hidden = nn.Linear(4, 4)
        self.out = nn.Linear(4, 1)
        self.dropout = nn.Dropout(dropout)
        self.vocabulary = None

    @classmethod
    def from_config(cls, cfg, categories):
        return cls()

    def _value(self, batch):
        x = batch.images.float().mean((2, 3)) / 255
        with torch.no_grad():
            x = self.frozen(x)
        return self.out(self.dropout(torch.tanh(self.hidden(x))))[:, 0]

    def losses(self, batch, rng, progress=START):
        target = torch.tensor([float(s.index % 5) for s in batch.samples])
        noise = torch.stack([rng.uniform("noise", (), sample=p) for p in batch.positions])
        value = self._value(batch)
        count = (batch.totals or self.normalizers(batch))["images"]
        self.monitors = {"mean_output": value.detach().mean()}
        return {
            "loss_fit": ((value - target + 0.1 * noise) ** 2).sum() / count,
            "loss_size": 0.01 * value.abs().sum() / count,
        }

    def predict(self, batch, request):
        return [Prediction(extra={"value": float(v)}) for v in self._value(batch)]

    def train_policy(self):
        return TrainPolicy({n: ParamRule(1.0, 0.01) for n, _ in self.named_parameters() if not n.startswith("frozen")})

    def set_vocabulary(self, categories):
        self.vocabulary = list(categories)


def batch(step, positions, total=4):
    """One micro-batch of a step: the images are a function of step and position."""
    indices = [step * total + p for p in positions]
    images = torch.stack(
        [torch.from_numpy(np.random.default_rng(i).integers(0, 256, (3, 8, 8), dtype=np.uint8)) for i in indices]
    )
    samples = [Sample(np.zeros((0, 0, 3), np.uint8), i, i, f"image_{i}.png", (8, 8)) for i in indices]
    return Batch(images, [(8, 8)] * len(indices), samples, None, list(positions))


def data(max_steps, parts=((0, 1, 2, 3),)):
    """Returns the loop's data function: per step one micro-batch for each tuple of positions."""
    return lambda start: ([batch(step, p) for p in parts] for step in range(start, max_steps))


def toy_state(*, seed=0, ema=0.0, dropout=0.0, optimizer="ADAMW", precision="fp32"):
    """Returns a fresh training state around a Toy."""
    torch.manual_seed(seed)
    model = Toy(dropout)
    rules = model.train_policy().rules
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in rules)
    solver = replace(Shared().SOLVER, OPTIMIZER=optimizer, BASE_LR=0.01)
    groups = [{"params": [p for p in model.parameters() if p.requires_grad], "lr": 0.01, "weight_decay": 0.01}]
    built = build_optimizer(solver, groups, CPU)
    average = Ema(parameter_names(model, built), ema) if ema else None
    return TrainState(model, built, Precision(precision, CPU), average)


def toy_loop(
    state, max_steps, *, parts=((0, 1, 2, 3),), callbacks=(), source=None, seed=3, clip=1.0, nonfinite_max=2, **settings
):
    """Returns a loop over a toy state, in one process."""
    settings = LoopSettings(seed, max_steps, lambda step: 1.0 - step / (2 * max_steps), clip, nonfinite_max, **settings)
    processes = Processes(Ranks(), CPU)
    return Loop(
        state.model,
        state,
        source or data(max_steps, parts),
        settings,
        processes=processes,
        stop=StopSignals(),
        callbacks=callbacks,
    )


def equal(a, b):
    """True when two dictionaries of tensors have the same names and bits."""
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def copy(tensors):
    """Returns a deep copy of a dictionary of tensors."""
    return {n: t.detach().clone() for n, t in tensors.items()}
