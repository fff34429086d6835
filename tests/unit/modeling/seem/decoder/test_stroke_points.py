"""Strokes as points: which pixels are chosen, where they lie, what is averaged; slots of the memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segfoundry.modeling.seem.decoder.decoder_prompts import SpatialPrompt
from segfoundry.modeling.seem.decoder.memory_slots import Memory, deal_slot_owners, draw_slot_owners
from segfoundry.modeling.seem.decoder.pass_draws import PassDraws
from segfoundry.modeling.seem.decoder.stroke_points import StrokePixels, choose_pixels, stroke_means
from segfoundry.utils.draws import Draws

CPU = torch.device("cpu")


def pixels(*positive: torch.Tensor, rng: Draws | None = None) -> StrokePixels:
    objects = max(len(masks) for masks in positive)
    prompt = SpatialPrompt(list(positive), [torch.zeros_like(masks) for masks in positive], objects)
    return StrokePixels(prompt, PassDraws(rng, range(len(positive))))


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=5), limit=st.integers(1, 40), seed=st.integers(0, 99))
def test_chosen_pixels_are_distinct_ascending_and_of_every_object(sizes: list[int], limit: int, seed: int) -> None:
    owner = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    if len(owner) < limit:
        limit = len(owner)
    if not limit:
        return
    chosen = choose_pixels(owner, Draws(seed, 0).uniform("x", (len(owner),)), limit)
    assert len(chosen) == limit
    assert (chosen.diff() > 0).all()
    present = set(owner.tolist())
    if limit >= len(present):
        assert set(owner[chosen].tolist()) == present


def test_small_strokes_keep_as_many_pixels_as_large_ones() -> None:
    owner = torch.tensor([0] * 100 + [1] * 1000)
    kept = torch.zeros(2)
    for step in range(200):
        chosen = choose_pixels(owner, Draws(0, step).uniform("x", (1100,)), 20)
        kept += torch.bincount(owner[chosen], minlength=2)
    assert kept.sum() == 4000
    assert 0.44 < kept[0] / 4000 < 0.52


def test_points_lie_at_the_share_of_the_size_and_padding_at_the_corner() -> None:
    first, second = torch.zeros(1, 8, 16).bool(), torch.zeros(1, 8, 16).bool()
    first[0, 2, 4], second[0, 0, 8], second[0, 6, 0] = True, True, True
    points = pixels(first, second).points("0", None)
    assert points.places.tolist() == [[[0.25, 0.25], [0, 0]], [[0.5, 0], [0, 0.75]]]
    assert points.owner.tolist() == [[0, -1], [0, 0]]


def test_corner_pixels_of_a_map_lie_at_zero_and_one() -> None:
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    stroke = torch.zeros(1, 16, 16).bool()
    stroke[0, 0, 8] = True  # x = 0.5: the middle column
    assert pixels(stroke).points("0", None).features(ramp).item() == 2.0


def test_means_are_per_object() -> None:
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    strokes = torch.zeros(3, 16, 16).bool()
    strokes[0, 0, 0] = strokes[0, 0, 8] = strokes[1, :, 4] = True
    means = stroke_means(pixels(strokes), ramp, limit=None, empty=-1.0)
    assert means.positive[0, :, 0].tolist() == [1.0, 1.0, -1.0]
    assert (means.negative == -1).all()


def test_each_purpose_and_image_draws_its_own_pixels() -> None:
    stroke = torch.ones(1, 16, 16).bool()
    listed = pixels(stroke, stroke, rng=Draws(0, 0))
    first, again, other = (listed.points(purpose, 20).places for purpose in ("0", "0", "1"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_slots_are_dealt_out_evenly() -> None:
    owners = deal_slot_owners([1, 3, 0], 2, 7, CPU)
    assert owners[0].tolist() == [[0] * 7, [0, 0, 0, 1, 1, 2, 2], [0] * 7]
    assert torch.equal(owners[0], owners[1])
    crowded = deal_slot_owners([50], 1, 8, CPU)[0]
    assert len(set(crowded[0].tolist())) == 8 and crowded.max() < 50


def test_slots_are_drawn_anew_in_every_layer() -> None:
    owners = draw_slot_owners(PassDraws(Draws(0, 0), ()), 3, 32, 5, CPU)
    assert all((owner.diff() >= 0).all() and 0 <= owner.min() and owner.max() < 5 for owner in owners)
    assert not torch.equal(owners[0], owners[1])


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_slot_goes_by_the_mask_of_its_object(layer: int) -> None:
    previous = [torch.randn(2, 3, size) for size in (4, 9, 16)]
    owners = [torch.tensor([[0, 2, 2]])] * 3 + [torch.tensor([[0, 0, 1], [1, 1, 2]])]
    logits = Memory(previous, owners).slot_logits(layer)
    level = previous[layer % 3]
    expected = level[:, [0, 2, 2]] if layer < 3 else torch.stack([level[0, [0, 0, 1]], level[1, [1, 1, 2]]])
    assert torch.equal(logits, expected)
