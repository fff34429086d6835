"""Hungarian matching: optimal, order-independent, robust against values that are not finite."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from segfoundry.modeling.losses.matcher import HungarianMatcher, MatchProblem, assign, to_host

MATCHER = HungarianMatcher(num_points=40)


def problem(queries=6, targets=3, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(shape, generator=generator)

    return MatchProblem(
        mask_embed=rand(queries, 8) - 0.5,
        features=rand(8, 5, 6) * 4 - 2,
        targets=(rand(targets, 10, 12) > 0.5).float(),
        class_cost=-rand(queries, targets),
        points=rand(40, 2),
    )


@pytest.mark.parametrize(("queries", "targets"), [(4, 3), (3, 4)])
def test_no_other_assignment_is_cheaper(queries, targets):
    p = problem(queries, targets)
    cost = MATCHER.cost(p).numpy()
    (rows, columns), size = MATCHER([p])[0], min(queries, targets)
    assert rows.tolist() == sorted(rows.tolist())
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == size
    cheapest = min(
        cost[list(r), list(c)].sum()
        for r in itertools.combinations(range(queries), size)
        for c in itertools.permutations(range(targets), size)
    )
    assert cost[rows, columns].sum() == pytest.approx(cheapest, rel=1e-6)


def test_order_of_targets_and_queries_does_not_matter():
    p = problem()
    perm, order = torch.tensor([2, 0, 1]), torch.randperm(6, generator=torch.Generator().manual_seed(1))
    moved = replace(p, targets=p.targets[perm], class_cost=p.class_cost[:, perm])
    moved = replace(moved, mask_embed=moved.mask_embed[order], class_cost=moved.class_cost[order])
    (q0, t0), (q1, t1) = MATCHER([p, moved])
    original = set(zip(q0.tolist(), t0.tolist(), strict=True))
    assert {(order[q].item(), perm[t].item()) for q, t in zip(q1, t1, strict=True)} == original


def test_a_query_equal_to_a_target_wins_it():
    p = problem(5, 1)
    mask = torch.zeros(1, 10, 12)
    mask[:, :, 6:] = 1
    features = torch.zeros(8, 5, 6)
    features[0, :, :3], features[0, :, 3:] = -9, 9
    embed = torch.zeros(5, 8)
    embed[:, 0] = torch.tensor([-1.0, 0.1, 1.0, -0.5, 0.0])
    p = replace(p, targets=mask, features=features, mask_embed=embed, class_cost=torch.zeros(5, 1))
    assert MATCHER([p])[0].tolist() == [[2], [0]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_query_that_is_not_finite_is_matched_so_that_its_loss_shows(value):
    p = problem()
    p.mask_embed[4] = value
    assert 4 in MATCHER([p])[0][0]


def test_forbidden_pairs_are_avoided():
    p = problem(4, 2)
    allowed = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]]).bool()
    queries, targets = MATCHER([replace(p, forbidden=~allowed)])[0]
    assert allowed[queries, targets].all()


def test_transfer_keeps_shapes_and_values():
    tensors = [torch.rand(2, 3), torch.rand(0, 4), torch.rand(5)]
    for host, tensor in zip(to_host(tensors), tensors, strict=True):
        assert np.array_equal(host, tensor.numpy())
    assert to_host([]) == []


def test_assign_accepts_no_targets():
    assert assign(np.zeros((4, 0), np.float32)).shape == (2, 0)
