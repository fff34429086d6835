"""A meta-architecture that answers prompts by the colour under them: for tests of everything around a network."""

import numpy as np
import torch
from torch import nn

from segfoundry.modeling.base import START, MetaArch, TrainPolicy
from segfoundry.modeling.promptable import Promptable
from segfoundry.utils.structures.requests import PromptedMasks
from segfoundry.utils.structures.results import InstanceResult, PanopticResult, Prediction, Segment

COLORS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


class Pointer(MetaArch, Promptable):
    """Finds the pixels whose colour is near the mean colour of the strokes, or of the name in a text.

    Memory: the last round's logits are added with a small weight, so that a round differs from the same prompts asked
    afresh. ``encoded`` counts the calls of ``encode``; ``rounds`` those of ``prompted``.
    """

    mask_stride = 1

    def __init__(self, kinds=("stroke", "text")):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.prompt_kinds = frozenset(kinds)
        self.encoded = self.rounds = 0

    @classmethod
    def from_config(cls, cfg, categories):
        return cls()

    def losses(self, batch, rng, progress=START):
        return {"loss": self.weight.sum()}

    def train_policy(self):
        return TrainPolicy()

    def predict(self, batch, request):
        return self.decode(self.encode(batch), request)

    def encode(self, batch):
        self.encoded += 1
        assert not self.training and not torch.is_grad_enabled()
        return batch

    def decode(self, encoded, request):
        return [self._everything(s.output_size) for s in encoded.samples]

    def _everything(self, size):
        """Left half: the first category; the rest: the second; whatever the image shows."""
        ids = np.full(size, 2, np.int32)
        ids[:, : max(1, size[1] // 2)] = 1
        segments = [
            Segment(i, i - 1, i == 1, area=int((ids == i).sum()), score=0.9) for i in (1, 2) if (ids == i).any()
        ]
        instances = InstanceResult((ids == 1)[None], np.array([0]), np.array([0.9], np.float32))
        return Prediction((ids - 1).astype(np.int64), PanopticResult(ids, segments), instances)

    def prompted(self, encoded, prompts, previous=None, rng=None):
        self.rounds += 1
        answers = []
        for i, asked in enumerate(prompts):
            height, width = encoded.image_sizes[i]
            image = encoded.images[i, :, :height, :width].float()
            logits = []
            if asked.strokes is not None:
                for n, (yes, no) in enumerate(zip(asked.strokes.positive, asked.strokes.negative, strict=True)):
                    found = near(image, image[:, yes].mean(1))
                    if no.any():
                        found = torch.minimum(found, -near(image, image[:, no].mean(1)))
                    if previous is not None and previous[i] is not None:
                        found = found + 0.1 * previous[i][n]
                    logits.append(found)
            for text in asked.texts:
                color = next((c for name, c in COLORS.items() if name in text), (0, 0, 0))
                logits.append(near(image, torch.tensor(color).float()))
            stack = torch.stack(logits)
            answers.append(PromptedMasks(stack, stack.amax((1, 2)).sigmoid()))
        return answers

    def select(self, encoded, places):
        assert list(places) == list(range(len(encoded))), "nothing here looks at parts of a batch"
        return encoded

    def full_masks(self, encoded, answers):
        sizes = [s.output_size for s in encoded.samples]
        return [
            nn.functional.interpolate(a.logits[None], size, mode="bilinear")[0] > 0
            for a, size in zip(answers, sizes, strict=True)
        ]


def near(image, color):
    """Returns (H, W) logits, above 0 where an image (3, H, W) is less than 60 levels from a colour (3,)."""
    return (60 - (image - color[:, None, None]).abs().amax(0)) / 10


def picture(height=48, width=64):
    """Returns an image (H, W, 3) of grey ground with a red, a green and a blue square from left to right."""
    image = np.full((height, width, 3), 128, np.uint8)
    for place, color in enumerate(COLORS.values()):
        left = width * (2 * place + 1) // 8
        image[height // 4 : height * 3 // 4, left : left + width // 8] = color
    return image


def square(place, height=48, width=64):
    """Returns the mask of the square at a place, 0..2, of :func:`picture`."""
    return (picture(height, width) == np.array(list(COLORS.values())[place])).all(-1)


def predictor(model=None, **keys):
    """Returns a Predictor around a Pointer that sees images at their own size up to 64 pixels; ``__`` for dots."""
    from pathlib import Path

    from segfoundry.datasets.transforms.resize import ResizeLongest
    from segfoundry.modeling.seem.config import tiny
    from segfoundry.trainer.machine.precision import Precision
    from segfoundry.trainer.prediction.predictor import Predictor
    from segfoundry.utils.config.engine import load_mapping
    from segfoundry.utils.structures.category import Category

    settings = {**tiny(), "DEVICE": "cpu", **{name.replace("__", "."): value for name, value in keys.items()}}
    categories = (Category(1, "cup", True, (220, 20, 60)), Category(2, "table", False, (90, 70, 40)))
    cpu = torch.device("cpu")
    cfg = load_mapping(settings).cfg
    return Predictor(
        model or Pointer(), cfg, categories, ResizeLongest(64), Precision("fp32", cpu), cpu, Path("pointer.safetensors")
    )
