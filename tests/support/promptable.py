"""A model without weights that takes prompts and whose overlaps are known in advance."""

import numpy as np
import torch

from segfoundry.modeling.base import START, MetaArch, TrainPolicy
from segfoundry.modeling.promptable import Promptable
from segfoundry.utils.structures.requests import PromptedMasks
from segfoundry.utils.structures.results import Prediction
from segfoundry.utils.structures.samples import Batch, ObjectTruth, PhraseTruth, Sample


class Oracle(MetaArch, Promptable):
    """Predicts a growing part of what it is asked for, without mistakes beyond it.

    After click k an object of an image has the overlap ``speed[object] * k`` (at most 1); a phrase's mask is whole.

    Attributes:
        calls: names of the methods in the order they were called; ``prompted`` with the number of images.
    """

    mapper = "interactive"
    prompt_kinds = frozenset({"stroke", "text"})

    def __init__(self, speed):
        super().__init__()
        self.speed = speed
        self.calls = []

    @classmethod
    def from_config(cls, cfg, categories):
        return cls({})

    def losses(self, batch, rng, progress=START):
        raise NotImplementedError

    def train_policy(self):
        return TrainPolicy()

    def predict(self, batch, request):
        self.calls.append("predict")
        return self._decode(batch.samples, request)

    def encode(self, batch):
        self.calls.append("encode")
        return list(zip(batch.samples, batch.image_sizes, strict=True))

    def select(self, encoded, places):
        return [encoded[place] for place in places]

    def decode(self, encoded, request):
        self.calls.append("decode")
        return self._decode([sample for sample, _ in encoded], request)

    def _decode(self, samples, request):
        found = []
        for place, sample in enumerate(samples):
            phrases = None
            if "phrases" in request.tasks:
                rows = [sample.phrases.texts.index(text) for text in request.texts[place]]
                phrases = sample.phrases.masks[sample.phrases.owner[rows]]
            semantic = None if sample.semantic is None else np.where(sample.semantic == 255, 0, sample.semantic)
            wanted = {"semantic": semantic, "panoptic": sample.panoptic}
            found.append(Prediction(phrases=phrases, **{k: v for k, v in wanted.items() if k in request.tasks}))
        return found

    def prompted(self, encoded, prompts, previous=None, rng=None):
        self.calls.append(("prompted", len(encoded)))
        answers = []
        for place, ((sample, size), prompt) in enumerate(zip(encoded, prompts, strict=True)):
            assert prompt.strokes.positive.shape[1:] == size
            assert not (prompt.strokes.negative & self._object_masks(sample, prompt)).any(), "a click on the object"
            numbers = [self._touched(sample, stroke) for stroke in prompt.strokes.positive]
            last = None if previous is None else previous[place]
            clicks = 1 if last is None else int(last[0, 0, 0].item()) + 1
            height, width = (-(-side // 32) * 8 for side in size)
            logits = torch.full((len(numbers) + len(prompt.texts), height, width), float(clicks))
            scores = torch.tensor([float(n) for n in numbers] + [0.0] * len(prompt.texts))
            answers.append(PromptedMasks(logits, scores))
        return answers

    def full_masks(self, encoded, answers):
        found = []
        for (sample, _), answer in zip(encoded, answers, strict=True):
            clicks = int(answer.logits[0, 0, 0])
            masks = [self.part(sample.objects.labels, int(n), clicks) for n in answer.scores]
            found.append(torch.from_numpy(np.stack(masks)))
        return found

    def part(self, labels, number, clicks):
        """Returns the first pixels of an object, as many as its overlap after that many clicks says."""
        pixels = np.flatnonzero(labels == number)
        mask = np.zeros(labels.size, bool)
        mask[pixels[: round(min(self.speed[number] * clicks, 1.0) * len(pixels))]] = True
        return mask.reshape(labels.shape)

    @staticmethod
    def _touched(sample, stroke):
        numbers = sample.objects.input_labels[stroke.numpy()]
        return int(np.bincount(numbers[numbers > 0]).argmax())

    @staticmethod
    def _object_masks(sample, prompt):
        labels = torch.from_numpy(sample.objects.input_labels)
        numbers = [Oracle._touched(sample, stroke) for stroke in prompt.strokes.positive]
        return torch.stack([labels == n for n in numbers])


def stripes(count, *, index=0, height=40, input_size=(20, 80), void=False):
    """Returns a sample with ``count`` objects side by side, each 10 x 8 pixels, and a click on each."""
    labels = np.zeros((height, 160), np.int16)
    for number in range(1, count + 1):
        labels[10:20, 16 * number - 12 : 16 * number - 4] = number
    if void:
        labels[:2] = -1
    small = np.ascontiguousarray(labels[:: height // input_size[0], :: 160 // input_size[1]])
    strokes = [np.flatnonzero(small == number)[:3].astype(np.int64) for number in range(1, count + 1)]
    objects = ObjectTruth(labels, small, strokes)
    return Sample(np.zeros((*input_size, 3), np.uint8), index, index, f"{index}.png", labels.shape, objects=objects)


def with_phrases(sample, *words):
    """Adds one phrase per object, in the order of the objects."""
    masks = np.stack([sample.objects.labels == n for n in range(1, len(words) + 1)])
    sample.phrases = PhraseTruth(list(words), masks, np.arange(len(words)))
    return sample


def batch_of(samples):
    """Returns samples of one size as a batch."""
    images = torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2)
    return Batch(images, [s.image.shape[:2] for s in samples], list(samples), positions=list(range(len(samples))))
