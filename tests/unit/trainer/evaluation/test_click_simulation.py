"""Interactive evaluation of a batch, with a model whose overlaps are known."""

import numpy as np
import pytest
import torch

from segfoundry.trainer.evaluation.click_simulation import simulate_clicks
from segfoundry.utils.structures.requests import ClickProtocol, PromptedMasks
from segfoundry.utils.structures.samples import ObjectTruth, Sample

from ....support.promptable import Oracle, batch_of, stripes

CPU = torch.device("cpu")


def simulate(model, samples, **protocol):
    batch = batch_of(samples)
    return simulate_clicks(model, model.encode(batch), batch.samples, ClickProtocol(**protocol), CPU)


def test_overlaps_click_by_click_and_the_last_one_is_repeated():
    model = Oracle({1: 0.25, 2: 0.5})
    (ious,) = simulate(model, [stripes(2)], max_clicks=6)
    assert ious.tolist() == [[0.25, 0.5, 0.75, 1.0, 1.0, 1.0], [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]]
    assert [call for call in model.calls if call != "encode"] == [("prompted", 1)] * 4


def test_a_record_goes_on_until_its_last_object_is_good_and_never_beyond_the_limit():
    model = Oracle({1: 1.0, 2: 0.1})
    (ious,) = simulate(model, [stripes(2)], max_clicks=5)
    assert ious[0].tolist() == [1.0] * 5
    np.testing.assert_allclose(ious[1], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert model.calls.count(("prompted", 1)) == 5


def test_records_of_five_objects_stop_on_their_own():
    model = Oracle({n: 1.0 for n in range(1, 6)} | {6: 0.25, 7: 0.5})
    (ious,) = simulate(model, [stripes(7)], max_clicks=20)
    assert ious.shape == (7, 20)
    assert ious[:5].min() == 1.0
    assert ious[5, :4].tolist() == [0.25, 0.5, 0.75, 1.0]
    assert model.calls.count(("prompted", 1)) == 1 + 4  # the first record needs one round


def test_finished_images_leave_the_batch():
    model = Oracle({1: 0.5, 2: 0.25})
    fast, slow = stripes(1, index=0), stripes(2, index=1)
    first, second = simulate(model, [fast, slow], max_clicks=20)
    assert first.shape == (1, 20) and second.shape == (2, 20)
    assert [call for call in model.calls if call != "encode"] == [("prompted", 2)] * 2 + [("prompted", 1)] * 2


def test_what_an_image_gives_does_not_depend_on_its_batch():
    model = Oracle({1: 0.3, 2: 0.11, 3: 0.2, 4: 0.9, 5: 0.05, 6: 0.07})
    samples = [stripes(n, index=n) for n in (6, 1, 0, 3)]
    together = simulate(model, samples, max_clicks=8)
    for sample, ious in zip(samples, together, strict=True):
        np.testing.assert_array_equal(simulate(model, [sample], max_clicks=8)[0], ious)
    assert together[2].shape == (0, 8)


def test_void_pixels_count_neither_way():
    class Everything(Oracle):
        def full_masks(self, encoded, answers):
            return [
                torch.ones(len(a.scores), *s.output_size, dtype=torch.bool)
                for (s, _), a in zip(encoded, answers, strict=True)
            ]

    (without,) = simulate(Everything({1: 1.0}), [stripes(1)], max_clicks=1)
    (with_void,) = simulate(Everything({1: 1.0}), [stripes(1, void=True)], max_clicks=1)
    assert without[0, 0] == 80 / (40 * 160)
    assert with_void[0, 0] == 80 / (38 * 160)


class Clicked(Oracle):
    """Predicts the upper half of the object, for ever; remembers the strokes it was given."""

    def __init__(self):
        super().__init__({1: 0.5})
        self.strokes = []

    def prompted(self, encoded, prompts, previous=None, rng=None):
        self.strokes.append(prompts[0].strokes)
        self.texts = prompts[0].texts, prompts[0].texts_explain_strokes
        logits = torch.full((1 + len(prompts[0].texts), 8, 24), -1.0)
        logits[0, :, : logits.shape[2] // 2] = 1.0  # the left half of the padded input
        return [PromptedMasks(logits, torch.ones(len(logits)))]


def square(size=(30, 90)):
    labels = np.zeros(size, np.int16)
    labels[4:25, 30:81] = 1
    objects = ObjectTruth(labels, labels, [np.array([10 * 90 + 35])], ["a square"])
    return Sample(np.zeros((*size, 3), np.uint8), 3, 3, "3.png", size, objects=objects)


def test_clicks_go_to_the_larger_error_in_its_middle():
    model = Clicked()
    simulate(model, [square()], max_clicks=3)
    # The prediction covers columns 0..47 of all rows; missed: columns 48..80 of rows 4..24.
    first, second, _ = model.strokes
    assert first.positive.sum() == 1 and not first.negative.any()
    wrong, missed = 30 * 48 - 21 * 18, 21 * 33
    assert wrong > missed  # so the click is negative, where nothing of the object is
    assert torch.equal(second.positive, first.positive) and second.negative.sum() == 9
    rows, columns = torch.nonzero(second.negative[0], as_tuple=True)
    assert columns.max() < 30 and rows.min() > 3


def test_random_clicks_are_repeatable_and_differ_by_image():
    def strokes(index):
        sample, model = square(), Clicked()
        sample.index = index
        simulate(model, [sample], max_clicks=2, mode="best_random")
        return model.strokes[-1].negative

    assert torch.equal(strokes(3), strokes(3))
    assert not torch.equal(strokes(3), strokes(4))


@pytest.mark.parametrize("texts", [False, True])
def test_texts_are_given_along_when_asked_for(texts):
    model = Clicked()
    (ious,) = simulate(model, [square()], max_clicks=1, texts=texts)
    assert model.texts == ((("a square",), True) if texts else ((), False))
    assert ious.shape == (1, 1)


class Listener(Oracle):
    """Remembers which strokes and texts were asked for together."""

    def prompted(self, encoded, prompts, previous=None, rng=None):
        self.asked = getattr(self, "asked", []) + [
            (self._touched(s, p.strokes.positive[0]), len(p.strokes.positive), p.texts)
            for (s, _), p in zip(encoded, prompts, strict=True)
        ]
        self.memories = [None if last is None else last.shape for last in previous]
        return super().prompted(encoded, prompts, previous, rng)


def test_an_object_looks_at_its_own_text_only():
    model = Listener({1: 0.5, 2: 0.5, 3: 0.25})
    samples = [stripes(3), stripes(1, index=1)]
    samples[0].objects.texts, samples[1].objects.texts = ["left", "middle", "right"], ["alone"]
    found = simulate(model, samples, max_clicks=4, texts=True)
    assert model.asked[:4] == [(1, 1, ("left",)), (2, 1, ("middle",)), (3, 1, ("right",)), (1, 1, ("alone",))]
    assert model.memories == [(1, 8, 24)] * 3  # what an object remembers is its own mask
    silent = simulate(Oracle(model.speed), samples, max_clicks=4)
    for one, other in zip(found, silent, strict=True):
        np.testing.assert_array_equal(one, other)
