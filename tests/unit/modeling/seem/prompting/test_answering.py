"""Prompts on encoded images: several per image, in batches, over rounds, in all variants."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segfoundry.utils.errors import UserError
from segfoundry.utils.structures.requests import PromptedMasks, Prompts, Request, Strokes
from segfoundry.utils.structures.samples import Batch

from .....support.prompted import DEMO, V0, bands, dots, prompted_batch, prompted_model

SIZE = (64, 64)
TOLERANCE = {"atol": 2e-5, "rtol": 1e-4}


def encode(model, images=2, size=SIZE):
    return model.eval().encode(prompted_batch([1] * images, size=size))


def stroked(count, size=SIZE):
    return dots(bands(count, size))


def logits(answers):
    return [answer.logits for answer in answers]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **TOLERANCE)


@pytest.fixture(scope="module")
def v1():
    return prompted_model()


def test_answers_are_in_order_with_scores_and_full_masks(v1):
    encoded = encode(v1)
    answers = v1.prompted(encoded, [Prompts(stroked(3), ("a cat", "the sky")), Prompts(texts=("cup",))])
    assert [answer.logits.shape for answer in answers] == [(5, 16, 16), (1, 16, 16)]
    assert all(((0 <= a.scores) & (a.scores <= 1)).all() and a.scores.shape == a.logits.shape[:1] for a in answers)
    masks = v1.full_masks(encoded, answers)
    assert [m.shape for m in masks] == [(5, 69, 67), (1, 69, 67)] and masks[0].dtype == torch.bool
    strokes_alone, texts_alone = (
        v1.prompted(v1.select(encoded, [0]), [p]) for p in (Prompts(stroked(3)), Prompts(texts=("a cat", "the sky")))
    )
    assert_same([answers[0].logits[:3], answers[0].logits[3:]], logits(strokes_alone + texts_alone))
    [nothing, _] = v1.prompted(encoded, [Prompts(), Prompts(texts=("cup",))])
    assert nothing.logits.shape == (0, 16, 16) and nothing.scores.shape == (0,)


def test_an_answer_does_not_depend_on_the_other_images(v1):
    encoded = encode(v1)
    prompts = [Prompts(stroked(3), ("a cat",)), Prompts(stroked(1))]
    together = v1.prompted(encoded, prompts)
    alone = [v1.prompted(v1.select(encoded, [i]), [p])[0] for i, p in enumerate(prompts)]
    assert_same(logits(together), logits(alone))
    turned = v1.prompted(v1.select(encoded, [1, 0, 1]), [prompts[1], prompts[0], prompts[1]])
    assert_same(logits(turned), [together[1].logits, together[0].logits, together[1].logits])


def test_images_of_different_sizes_share_a_batch(v1):
    small, large = (prompted_batch([1], size=size) for size in ((64, 64), (70, 96)))
    images = torch.zeros(2, 3, 70, 96, dtype=torch.uint8)
    images[0, :, :64, :64], images[1] = small.images[0], large.images[0]
    batch = Batch(images, [(64, 64), (70, 96)], small.samples + large.samples)
    prompts = [Prompts(stroked(2)), Prompts(stroked(2, (70, 96)), ("cup",))]
    encoded = v1.eval().encode(batch)
    answers = v1.prompted(encoded, prompts)
    for i, one in enumerate((small, large)):
        [expected] = v1.prompted(v1.encode(one), [prompts[i]])
        torch.testing.assert_close(answers[i].logits, expected.logits, **TOLERANCE)
    assert [m.shape[1:] for m in v1.full_masks(encoded, answers)] == [(69, 67), (75, 99)]
    assert [a.logits.shape[1:] for a in v1.prompted(v1.select(encoded, [1, 0]), prompts[::-1])] == [(24, 24), (16, 16)]


def test_full_masks_are_bilinear_twice(v1):
    encoded = v1.eval().encode(prompted_batch([1], size=(50, 60)))
    answer = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    [found] = v1.full_masks(encoded, [PromptedMasks(answer, torch.ones(3))])
    padded = F.interpolate(answer[None], (64, 64), mode="bilinear")[..., :50, :60]
    expected = F.interpolate(padded, (55, 63), mode="bilinear")[0]
    assert ((found == (expected > 0)) | (expected.abs() < 1e-5)).all()


def test_the_last_mask_is_remembered(v1):
    encoded = encode(v1, 1)
    prompts = [Prompts(stroked(2), ("cup",))]
    first = v1.prompted(encoded, prompts)
    second = v1.prompted(encoded, prompts, [first[0].logits[:2]])
    assert (second[0].logits[:2] - first[0].logits[:2]).abs().max() > 1e-3
    torch.testing.assert_close(second[0].logits[2], first[0].logits[2], **TOLERANCE)
    assert_same(logits(v1.prompted(encoded, prompts, [first[0].logits[:2]])), logits(second))
    both = v1.prompted(v1.select(encoded, [0, 0]), prompts * 2, [first[0].logits[:2], None])
    assert_same(logits(both), logits(second + first))


def test_hundreds_of_objects_are_answered_in_parts(v1):
    strokes = dots(bands(1, SIZE))
    many = Strokes(strokes.positive.expand(200, -1, -1).clone(), strokes.negative.expand(200, -1, -1))
    many.positive[7] = False
    encoded = encode(v1, 1)
    most = v1.answerer.most_objects
    assert most == 4
    [answer] = v1.prompted(encoded, [Prompts(many, ("cup",))], [torch.zeros(200, 16, 16)])
    assert answer.logits.shape == (201, 16, 16) and torch.isfinite(answer.logits).all()
    one_part = Prompts(Strokes(many.positive[-most:], many.negative[-most:]))
    torch.testing.assert_close(
        answer.logits[-most - 1 : -1], v1.prompted(encoded, [one_part], [torch.zeros(most, 16, 16)])[0].logits,
        **TOLERANCE,
    )  # fmt: skip
    [masks] = v1.full_masks(encoded, [answer])
    assert not masks[7].any() and answer.scores[7] == 0  # nobody pointed at it


def test_texts_may_explain_strokes_and_strokes_texts(v1):
    encoded = encode(v1, 1)
    ask = {"strokes": stroked(1), "texts": ("a cat",)}
    [plain] = v1.prompted(encoded, [Prompts(**ask)])
    [by_text] = v1.prompted(encoded, [Prompts(**ask, texts_explain_strokes=True)])
    [by_stroke] = v1.prompted(encoded, [Prompts(**ask, strokes_explain_texts=True)])
    changes = [(other.logits - plain.logits).abs().amax(dim=(1, 2)) > 1e-5 for other in (by_text, by_stroke)]
    assert [change.tolist() for change in changes] == [[True, False], [False, True]]


def test_phrases_come_with_or_without_other_results(v1):
    batch = prompted_batch([1, 1])
    texts = [["a cat", "the sky", "a cat"], []]
    both = v1.eval()(batch, request=Request(tasks=("semantic", "phrases"), texts=texts))
    alone = v1(batch, request=Request(tasks=("phrases",), texts=texts))
    assert [p.phrases.shape for p in both] == [(3, 69, 67), (0, 69, 67)] and both[0].phrases.dtype == bool
    assert both[0].semantic.shape == (69, 67) and alone[0].semantic is None
    assert np.array_equal(both[0].phrases, alone[0].phrases)
    assert np.array_equal(both[0].phrases[0], both[0].phrases[2])
    with pytest.raises(ValueError, match=r"Request\.texts"):
        v1(batch, request=Request(tasks=("phrases",)))


def test_kinds_of_prompts_and_refusals(v1):
    assert v1.prompt_kinds == {"stroke", "text"} == prompted_model(**V0).prompt_kinds
    assert prompted_model(**DEMO).prompt_kinds == {"stroke", "text", "reference"}
    encoded = encode(v1, 1)
    with pytest.raises(UserError, match="seem_model_demo only"):
        v1.reference(encoded, stroked(1))
    with pytest.raises(UserError, match="seem_model_demo only"):
        v1.prompted(encoded, [Prompts(reference=object())])
    wide = prompted_model(MODEL__DIM_PROJ=16, MODEL__DECODER__GROUNDING__ENABLED=False)
    assert wide.prompt_kinds == {"stroke"}
    with pytest.raises(UserError, match="different widths"):
        wide.prompted(encode(wide, 1), [Prompts(texts=("cup",))])


def test_v0_answers_several_objects_one_after_the_other():
    model = prompted_model(**V0)
    encoded, strokes = encode(model, 1), stroked(3)
    [together] = model.prompted(encoded, [Prompts(strokes, ("cup",))])
    each = [
        model.prompted(encoded, [Prompts(Strokes(strokes.positive[i : i + 1], strokes.negative[i : i + 1]))])[0]
        for i in range(3)
    ]
    [text] = model.prompted(encoded, [Prompts(texts=("cup",))])
    assert_same([together.logits], [torch.cat(logits([*each, text]))])
    [again] = model.prompted(encoded, [Prompts(strokes)], [together.logits[:3]])
    assert (again.logits - together.logits[:3]).abs().max() > 1e-3


def test_demo_takes_strokes_texts_and_references_of_another_image():
    model = prompted_model(**DEMO)
    encoded = encode(model)
    shown = model.reference(model.select(encoded, [1]), stroked(1))
    prompts = [Prompts(stroked(2), ("cup", "a cat"), shown), Prompts(texts=("cup",))]
    answers = model.prompted(encoded, prompts)
    assert [answer.logits.shape[0] for answer in answers] == [5, 1]
    parts = [Prompts(stroked(2)), Prompts(texts=("cup",)), Prompts(texts=("a cat",)), Prompts(reference=shown)]
    alone = [model.prompted(model.select(encoded, [0]), [part])[0].logits for part in parts]
    torch.testing.assert_close(answers[0].logits, torch.cat(alone), **TOLERANCE)
    assert model(prompted_batch([1]))[0].panoptic.ids.shape == (69, 67)
