"""One encoding per image, whatever is measured on it; phrases with and without strokes."""

import numpy as np
import torch

from segfoundry.trainer.click_simulation import ClickProtocol
from segfoundry.trainer.evaluation_passes import EvaluationPasses
from segfoundry.utils.structures import PhraseTruth

from ...support.promptable import Oracle, batch_of, stripes, with_phrases


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


class Both(Oracle):
    """Answers texts with a whole picture, strokes with nothing."""

    def prompted(self, encoded, prompts, previous=None, rng=None):
        self.prompts = prompts
        answers = super().prompted(encoded, prompts, previous, rng)
        for answer, prompt in zip(answers, prompts, strict=True):
            answer.scores[len(prompt.strokes.positive) :] = 7.0
        return answers

    def full_masks(self, encoded, answers):
        shape = encoded[0][0].output_size
        return [torch.ones(len(a.scores), *shape).bool() & (a.scores == 7.0)[:, None, None] for a in answers]


def test_strokes_may_be_given_along_with_phrases():
    sample = with_phrases(stripes(2), "left", "right")
    sample.phrases.strokes = sample.objects.strokes
    model = Both({}).eval()
    (found,) = passes(model, "phrases")(batch_of([sample]))
    (prompt,) = model.prompts
    assert prompt.texts == ("left", "right") and prompt.strokes_explain_texts and not prompt.texts_explain_strokes
    assert [np.flatnonzero(row).tolist() for row in prompt.strokes.positive] == [
        s.tolist() for s in sample.objects.strokes
    ]
    assert found.phrases.shape == (2, 40, 160) and found.phrases.all()
