"""Attention architecture: order of groups, who sees whom, where queries may look."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segfoundry.modeling.seem.decoder.visibility import AttentionArch, Group, cross_attention_mask, self_attention_mask
from segfoundry.utils.config.engine import load_mapping
from segfoundry.utils.errors import ConfigError


@pytest.fixture(scope="module")
def arch() -> AttentionArch:
    return AttentionArch.from_config(load_mapping({"MODEL.NAME": "seem_model_v1"}).cfg.ATTENTION_ARCH)


def group(count: int, owner: list[int] | None = None, valid: list[bool] | None = None) -> Group:
    x = torch.zeros(1, count, 4)
    as_row = lambda values: None if values is None else torch.tensor([values])  # noqa: E731
    return Group(x, x, as_row(owner), as_row(valid))


def mask_of(arch: AttentionArch, groups: dict[str, Group]) -> Tensor | None:
    names = [name for name in arch.self_groups if name in groups]
    return self_attention_mask(arch, groups, names, names)


def seen(mask: Tensor) -> list[str]:
    return ["".join("." if forbidden else "#" for forbidden in row) for row in mask[0].tolist()]


def test_groups_are_concatenated_in_the_published_order(arch: AttentionArch) -> None:
    queries = ("queries_object", "queries_grounding", "queries_spatial")
    assert arch.cross_groups == (*queries, "memories_spatial")
    assert arch.self_groups == (*queries, "tokens_grounding", "tokens_spatial", "memories_spatial")


def test_order_does_not_depend_on_the_order_of_mappings(arch: AttentionArch) -> None:
    section = load_mapping({"MODEL.NAME": "seem_model_v1"}).cfg.ATTENTION_ARCH
    turned = {name: value for name, value in reversed(section.items())}
    turned["SELF_ATTENTION"] = {kind: rows for kind, rows in reversed(section["SELF_ATTENTION"].items())}
    assert AttentionArch.from_config(turned) == arch


def test_object_queries_alone_need_no_mask(arch: AttentionArch) -> None:
    assert mask_of(arch, {"queries_object": group(5)}) is None


def test_padding_of_text_is_hidden_in_rows_and_columns(arch: AttentionArch) -> None:
    groups = {
        "queries_object": group(1),
        "queries_grounding": group(2),
        "tokens_grounding": group(3, valid=[True, True, False]),
    }
    assert seen(mask_of(arch, groups)) == ["#.....", ".####.", ".####.", ".####.", ".####.", "......"]


def test_strokes_and_memory_are_seen_by_the_queries_of_their_object(arch: AttentionArch) -> None:
    groups = {
        "queries_object": group(1),
        "queries_spatial": group(2, owner=[0, 1]),
        "tokens_spatial": group(3, owner=[0, 1, -1]),
        "memories_spatial": group(2, owner=[1, 1]),
    }
    assert seen(mask_of(arch, groups)) == [
        "#.......",
        ".#.#....",
        "..#.#.##",
        "...#....",
        "....#...",
        ".....#..",
        "......##",
        "......##",
    ]


@settings(max_examples=30, deadline=None)
@given(owners=st.lists(st.integers(-1, 3), min_size=1, max_size=6), objects=st.integers(1, 3))
def test_prompts_never_reach_object_queries(owners: list[int], objects: int) -> None:
    arch = AttentionArch.from_config(load_mapping({"MODEL.NAME": "seem_model_v1"}).cfg.ATTENTION_ARCH)
    groups = {
        "queries_object": group(2),
        "queries_spatial": group(objects, owner=list(range(objects))),
        "tokens_spatial": group(len(owners), owner=owners),
    }
    mask = mask_of(arch, groups)
    assert mask.shape == (1, 2 + objects + len(owners), 2 + objects + len(owners))
    assert not mask[:, :2, :2].any()
    assert mask[:, :2, 2:].all()
    assert mask[:, 2:, :2].all()


def test_queries_look_at_the_pixels_they_predicted() -> None:
    logits = torch.tensor([[[[-1.0, 0.0], [2.0, -3.0]]]])
    assert cross_attention_mask(logits).tolist() == [[[True, False, False, True]]]


def test_query_without_a_pixel_looks_everywhere() -> None:
    assert not cross_attention_mask(torch.full((1, 2, 3), -5.0)).any()


def test_opened_groups_see_any_object_but_no_padding(arch: AttentionArch) -> None:
    groups = {
        "queries_grounding": group(1),
        "tokens_grounding": group(1, valid=[True]),
        "tokens_spatial": group(3, owner=[0, 1, -1]),
    }
    opened = arch.opened("queries_grounding", "tokens_spatial")
    assert seen(mask_of(opened, groups))[0] == "####."
    assert seen(mask_of(arch, groups))[0] == "##..."


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("CROSS_ATTENTION", "tokens", "spatial"), True, "tokens do not read the image"),
        (("DUPLICATION", "queries", "spatial"), "queries_grounding", "queries start from queries_object"),
    ],
)
def test_sections_that_the_decoder_cannot_follow_are_refused(path: tuple, value: object, said: str) -> None:
    section = load_mapping({"MODEL.NAME": "seem_model_v1"}).cfg.ATTENTION_ARCH.clone()
    section.defrost()
    section[path[0]][path[1]][path[2]] = value
    with pytest.raises(ConfigError, match=said):
        AttentionArch.from_config(section)
