"""One encoding per image, whatever is measured on it; phrases with and without strokes."""

import numpy as np
import torch

from segfoundry.trainer.evaluation.passes import EvaluationPasses
from segfoundry.utils.structures.requests import ClickProtocol
from segfoundry.utils.structures.results import Prediction
from segfoundry.utils.structures.samples import PhraseTruth

from ....support.promptable import Oracle, batch_of, stripes, with_phrases


def passes(model, *tasks):
    return EvaluationPasses(model, tasks, ClickProtocol(max_clicks=2), torch.device("cpu"))


def test_without_prompts_the_model_is_called_as_ever():
    model = Oracle({}).eval()
    passes(model, "semantic", "panoptic")(batch_of([stripes(1)]))
    assert model.calls == ["predict"]


def test_all_kinds_share_one_encoding():
    model = Oracle({1: 1.0, 2: 1.0}).eval()
    samples = [with_phrases(stripes(2, index=i), "left", "right") for i in range(2)]
    found = passes(model, "semantic", "phrases", "clicks")(batch_of(samples))
    assert model.calls == ["encode", "decode", "decode", ("prompted", 2)]
    for sample, prediction in zip(samples, found, strict=True):
        np.testing.assert_array_equal(prediction.phrases, sample.phrases.masks)
        assert prediction.click_ious.tolist() == [[1.0, 1.0]] * 2


def test_images_without_phrases_are_not_asked_about():
    model = Oracle({}).eval()
    none = stripes(0, index=0)
    none.phrases = PhraseTruth([], np.zeros((0, 40, 160), bool), np.zeros(0, np.int64))
    some = with_phrases(stripes(1, index=1), "it")
    first, second = passes(model, "phrases")(batch_of([none, some]))
    assert first.phrases.shape == (0, 40, 160)
    assert second.phrases[0].sum() == 80
    assert model.calls == ["encode", "decode"]
    assert passes(model, "phrases")(batch_of([none]))[0].phrases.shape == (0, 40, 160)


class Words(Oracle):
    """Remembers which texts were asked for together; a text's mask tells its length."""

    def _decode(self, samples, request):
        self.asked = [*getattr(self, "asked", []), request.texts]
        shape = samples[0].output_size
        return [Prediction(phrases=np.stack([mask_of(text, shape) for text in texts])) for texts in request.texts]


def mask_of(text, shape):
    return np.arange(shape[0] * shape[1]).reshape(shape) < len(text)


def test_sentences_about_one_object_are_not_asked_for_together():
    samples = [with_phrases(stripes(2), "left", "right"), with_phrases(stripes(1, index=1), "alone")]
    many = samples[0].phrases
    many.texts, many.owner = ["a", "bbb", "cc", "dddd", "bbb", "a"], np.array([0, 0, 1, 0, 0, 1])
    model = Words({}).eval()
    found = passes(model, "phrases")(batch_of(samples))
    assert model.asked == [[["a", "cc"], ["alone"]], [["bbb", "a"]], [["dddd"]]]
    assert [int(mask.sum()) for mask in found[0].phrases] == [1, 3, 2, 4, 3, 1]
    assert found[1].phrases.shape == (1, 40, 160) and found[1].phrases.sum() == 5


class Both(Oracle):
    """Answers a text with the whole object that the stroke beside it touches, strokes with nothing."""

    def prompted(self, encoded, prompts, previous=None, rng=None):
        self.prompts = [*getattr(self, "prompts", ()), *prompts]
        answers = super().prompted(encoded, prompts, previous, rng)
        for answer in answers:
            answer.scores[1:] = answer.scores[0]
        return answers

    def full_masks(self, encoded, answers):
        labels = [sample.objects.labels for sample, _ in encoded]
        return [
            torch.from_numpy(np.stack([m == int(n) for n in a.scores])) for m, a in zip(labels, answers, strict=True)
        ]


def test_a_phrase_is_asked_with_the_stroke_of_its_own_object_alone():
    samples = [with_phrases(stripes(2), "left", "right"), with_phrases(stripes(1, index=1), "alone")]
    for sample in samples:
        sample.phrases.strokes = sample.objects.strokes
    first = samples[0].phrases
    first.texts, first.owner = ["left", "again left", "right"], np.array([0, 0, 1])
    model = Both({}).eval()
    found = passes(model, "phrases")(batch_of(samples))
    assert [prompt.texts for prompt in model.prompts] == [("left",), ("again left",), ("right",), ("alone",)]
    assert all(prompt.strokes_explain_texts and not prompt.texts_explain_strokes for prompt in model.prompts)
    strokes = [samples[0].objects.strokes[n] for n in (0, 0, 1)] + samples[1].objects.strokes
    for prompt, stroke in zip(model.prompts, strokes, strict=True):
        assert [np.flatnonzero(row).tolist() for row in prompt.strokes.positive] == [stroke.tolist()]
    for prediction, sample in zip(found, samples, strict=True):
        np.testing.assert_array_equal(prediction.phrases, sample.phrases.masks[sample.phrases.owner])
