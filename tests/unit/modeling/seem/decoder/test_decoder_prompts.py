"""Prompts of the v1 decoder beyond its recorded cases: independence, reuse, empty and many, gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from segfoundry.modeling.seem.decoder.decoder_output import DecoderOutput, PromptedOutput
from segfoundry.modeling.seem.decoder.decoder_prompts import DecoderPrompts
from segfoundry.modeling.seem.decoder.query_masks import stroke_masks
from segfoundry.utils.draws import Draws

from .....support.tiny_decoder import ARCH, inputs, make, squares, strokes, texts

TWO, ONE = squares((10, 10), (30, 50)), squares((20, 70))


def previous(batch: int, objects: int) -> Tensor:
    return torch.randn(batch, objects, 16, 24, generator=torch.Generator().manual_seed(3))


def assert_close(found: PromptedOutput, expected: PromptedOutput) -> None:
    torch.testing.assert_close(found.mask_embed, expected.mask_embed, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.embed, expected.embed, atol=1e-5, rtol=1e-4)


def run(decoder, prompts: DecoderPrompts | None, rng: Draws | None = None, images=slice(None)) -> DecoderOutput:
    maps, features, classes = inputs()
    with torch.no_grad():
        return decoder([m[images] for m in maps], features[images], classes, prompts, rng)


def part(output: PromptedOutput, image: int, queries: slice = slice(None)) -> PromptedOutput:
    return PromptedOutput(output.mask_embed[image, queries], output.embed[image, queries])


def all_prompts(**options) -> DecoderPrompts:
    return DecoderPrompts(strokes(TWO, ONE, previous=previous(2, 2)), texts(5, 3), **options)


def test_object_queries_see_no_prompt() -> None:
    decoder = make()
    alone, prompted = run(decoder, None), run(decoder, all_prompts())
    torch.testing.assert_close(prompted.final.logits, alone.final.logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(prompted.masks(), alone.masks(), atol=1e-4, rtol=1e-4)


def test_prompts_are_answered_alike_without_object_queries() -> None:
    decoder = make()
    full, lean = run(decoder, all_prompts()), run(decoder, all_prompts(objects=False))
    assert lean.final.logits.shape == (2, 0, 5)
    assert lean.masks().shape == (2, 0, 16, 24)
    assert_close(lean.final.grounding, full.final.grounding)
    assert_close(lean.final.spatial, full.final.spatial)


def test_strokes_and_texts_do_not_meet() -> None:
    decoder = make()
    both = run(decoder, all_prompts())
    assert_close(both.final.spatial, run(decoder, replace(all_prompts(), text=None)).final.spatial)
    assert_close(both.final.grounding, run(decoder, replace(all_prompts(), spatial=None)).final.grounding)


def test_answer_for_an_object_does_not_depend_on_the_others() -> None:
    decoder = make()
    together = run(decoder, DecoderPrompts(strokes(TWO, ONE)))
    first = run(decoder, DecoderPrompts(strokes(TWO[:1], ONE)))
    each = ARCH.queries_per_object
    assert_close(part(together.final.spatial, 0, slice(each)), part(first.final.spatial, 0))
    # The second image has one object less than the batch has places.
    assert_close(part(together.final.spatial, 1, slice(each)), part(first.final.spatial, 1))
    torch.testing.assert_close(together.positive_means[:, :1], first.positive_means)


@pytest.mark.parametrize("with_memory", [False, True])
def test_result_of_an_image_does_not_depend_on_how_a_step_is_cut(with_memory: bool) -> None:
    decoder = make(max_spatial_len=(8, 9, 10, 11))
    strokes_of = [squares((10, 10), (30, 50), size=6), squares((20, 70), size=9)]
    memory, rng = previous(2, 2) if with_memory else None, Draws(7, 11)
    whole = run(decoder, DecoderPrompts(strokes(*strokes_of, previous=memory), texts(5, 3), positions=(4, 9)), rng)
    for image, position in enumerate((4, 9)):
        own = None if memory is None else memory[image : image + 1]
        prompt = strokes(strokes_of[image], num_objects=2, previous=own)
        prompts = DecoderPrompts(prompt, texts(5, 3, seed=2), positions=(position,))
        prompts.text.tokens, prompts.text.valid = prompts.text.tokens[[image]], prompts.text.valid[[image]]
        alone = run(decoder, prompts, rng, slice(image, image + 1))
        assert_close(part(alone.final.spatial, 0), part(whole.final.spatial, image))
        assert_close(part(alone.final.grounding, 0), part(whole.final.grounding, image))
        torch.testing.assert_close(alone.positive_means[0], whole.positive_means[image])


def test_passes_of_a_step_draw_anew() -> None:
    decoder, rng = make(), Draws(7, 11)
    outputs = [run(decoder, DecoderPrompts(strokes(TWO, ONE), draws=prefix), rng) for prefix in ("", "round0/", "")]
    first, second, again = (output.layers[0].spatial.mask_embed for output in outputs)
    assert torch.equal(first, again)
    assert not torch.allclose(first, second)


def test_without_a_source_of_draws_equal_images_have_equal_answers() -> None:
    decoder = make(max_spatial_len=(4,) * 4)
    maps, features, classes = inputs()
    same = [torch.cat([m[:1]] * 2) for m in maps]
    prompts = DecoderPrompts(strokes(TWO, TWO, previous=previous(1, 2).expand(2, -1, -1, -1)))
    output = decoder(same, torch.cat([features[:1]] * 2), classes, prompts)
    assert_close(part(output.final.spatial, 0), part(output.final.spatial, 1))


@pytest.mark.parametrize("for_rounds", [False, True])
def test_prepared_features_serve_any_number_of_rounds(for_rounds: bool) -> None:
    decoder = make()
    maps, features, classes = inputs()
    image = decoder.prepare(maps, features, for_rounds=for_rounds)
    prompts = [all_prompts(), DecoderPrompts(strokes(ONE, TWO)), all_prompts()]
    for prompt in prompts:
        found, expected = decoder(image, None, classes, prompt), decoder(maps, features, classes, prompt)
        assert torch.equal(found.final.spatial.mask_embed, expected.final.spatial.mask_embed)
        assert torch.equal(stroke_masks(found), stroke_masks(expected))


@pytest.mark.parametrize("for_rounds", [False, True])
def test_selected_images_of_prepared_features_are_those_images(for_rounds: bool) -> None:
    decoder = make()
    maps, features, classes = inputs()
    found = decoder(decoder.prepare(maps, features, for_rounds=for_rounds).select([1, 0, 1]), None, classes)
    expected = decoder(maps, features, classes)
    torch.testing.assert_close(found.masks(), expected.masks()[[1, 0, 1]], atol=1e-4, rtol=1e-4)


def test_features_that_are_not_prepared_need_mask_features() -> None:
    maps, _, classes = inputs()
    with pytest.raises(ValueError, match="mask_features"):
        make()(maps, None, classes)


def test_memory_changes_the_answer() -> None:
    decoder = make()
    first = run(decoder, DecoderPrompts(strokes(TWO, ONE)))
    second = run(decoder, DecoderPrompts(strokes(TWO, ONE, previous=previous(2, 2))))
    assert not torch.allclose(first.final.spatial.mask_embed, second.final.spatial.mask_embed, atol=1e-3)


def test_empty_stroke_has_the_mark_of_no_points_and_a_finite_answer() -> None:
    output = run(make(), DecoderPrompts(strokes(squares((-1, -1), (30, 50)), ONE)))
    assert (output.positive_means[0, 0] == -1).all()
    assert (output.positive_means[1, 1] == -1).all()  # the place that the second image leaves empty
    assert (output.positive_means[0, 1] != -1).all()
    assert stroke_masks(output).isfinite().all()


def test_no_object_at_all() -> None:
    nothing = torch.zeros(0, 64, 96, dtype=torch.bool)
    for objects in (True, False):
        output = run(make(), DecoderPrompts(strokes(nothing, nothing, previous=previous(2, 0)), objects=objects))
        assert output.final.spatial.mask_embed.shape == (2, 0, 16)
        assert output.positive_means.shape == (2, 0, 16)
        assert stroke_masks(output).shape == (2, 0, 16, 24)


def test_no_object_in_one_image() -> None:
    decoder = make()
    output = run(decoder, DecoderPrompts(strokes(TWO[:0], TWO, previous=previous(2, 2))))
    assert stroke_masks(output).isfinite().all()


@pytest.mark.parametrize("rng", [None, Draws(0, 1)])
def test_more_objects_than_memory_slots_and_than_points(rng: Draws | None) -> None:
    corners = [(row, column) for row in range(0, 60, 6) for column in range(0, 80, 4)]
    many = squares(*corners)
    assert len(many) == 200
    decoder = make(max_spatial_len=(250, 250, 250, 250))
    output = run(decoder, DecoderPrompts(strokes(many, ONE, previous=previous(2, 200))), rng)
    assert output.final.spatial.mask_embed.shape == (2, 600, 16)
    masks = stroke_masks(output)
    assert masks.shape == (2, 200, 16, 24)
    assert masks.isfinite().all()
    assert (output.positive_means[0] != -1).any(dim=1).all(), "every stroke keeps a point"


@pytest.mark.parametrize(
    ("switch", "changed", "unchanged"),
    [("texts_explain_strokes", "spatial", "grounding"), ("strokes_explain_texts", "grounding", "spatial")],
)
def test_switches_let_prompts_explain_each_other(switch: str, changed: str, unchanged: str) -> None:
    decoder = make()
    before = dict(decoder.arch.visible)
    plain, switched = run(decoder, all_prompts()), run(decoder, all_prompts(**{switch: True}))
    assert_close(getattr(switched.final, unchanged), getattr(plain.final, unchanged))
    difference = getattr(switched.final, changed).mask_embed - getattr(plain.final, changed).mask_embed
    assert difference.abs().max() > 1e-3
    assert decoder.arch.visible == before


def test_padding_of_strokes_explains_nothing() -> None:
    decoder = make()
    lonely = DecoderPrompts(strokes(ONE), texts(3), strokes_explain_texts=True)
    padded = DecoderPrompts(strokes(ONE, TWO, num_objects=2), texts(3, 3), strokes_explain_texts=True)
    padded.text.tokens = lonely.text.tokens.expand(2, -1, -1)
    alone, beside = run(decoder, lonely, images=slice(1)), run(decoder, padded)
    assert_close(part(beside.final.grounding, 0), part(alone.final.grounding, 0))


def test_gradients_reach_every_parameter_of_the_prompts() -> None:
    decoder = make()
    maps, features, classes = inputs()
    prompts = all_prompts()
    prompts.text.tokens.requires_grad_()
    features.requires_grad_()
    output = decoder(maps, features, classes, prompts)
    final = output.final
    sum(x.square().sum() for x in (final.spatial.mask_embed, final.grounding.embed, output.positive_means)).backward()
    names = ("mask_sptial_embed", "spatial_featured", "spatial_embed", "pn_indicator", "query_feat", "query_embed")
    for name, parameter in decoder.named_parameters():
        if name.startswith(names):
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    assert prompts.text.tokens.grad.abs().max() > 0
    assert features.grad.abs().max() > 0


def test_autocast_keeps_means_in_float32() -> None:
    decoder = make()
    expected = run(decoder, all_prompts())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = run(decoder, all_prompts())
    assert output.positive_means.dtype == torch.float32
    torch.testing.assert_close(output.positive_means, expected.positive_means, atol=1e-5, rtol=1e-4)
    assert stroke_masks(output).isfinite().all()


def test_compiled_decoder_takes_prompts() -> None:
    decoder, expected = make(), run(make(), all_prompts())
    decoder.compile(backend="eager")
    assert run(decoder, None).masks().shape == (2, 7, 16, 24)
    assert_close(run(decoder, all_prompts()).final.spatial, expected.final.spatial)
